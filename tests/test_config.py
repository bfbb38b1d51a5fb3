"""What an experiment may ask for, and how each mistake is refused."""

import ast
import dataclasses
import json
import re
import string
import subprocess
import sys
from pathlib import Path

import pytest

from scaling import config as configs
from scaling import sizes
from scaling.config import DataConfig, TaskConfig, TrainingConfig, load_config
from scaling.data.sources import CURRENCIES
from scaling.errors import UserError
from scaling.grid import load_grid
from scaling.names import (
    experiment_name,
    experiment_path,
    known_experiments,
    known_tiers,
    safe_name,
)
from scaling.reading import read_yaml
from scaling.sizes import (
    DEFAULT_FAMILY,
    PatchTSMixerShape,
    PatchTSTShape,
    known_budgets,
    load_model_config,
)

SHIPPED = Path("configs/daily/threshold_1pct.yaml")
TEXT = SHIPPED.read_text()
GRID = {"experiments": ["daily/threshold_1pct"], "budgets": ["2m"], "seeds": [42]}


def altered(tmp_path: Path, old: str, new: str) -> Path:
    """The shipped config with one thing changed."""
    assert old in TEXT
    path = tmp_path / "experiment.yaml"
    path.write_text(TEXT.replace(old, new))
    return path


def refusal(path: Path) -> str:
    """The one line a bad config is refused with."""
    with pytest.raises(ValueError) as caught:
        load_config(path)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


RATE = next(line for line in TEXT.splitlines() if "learning_rate:" in line)
BUDGET, TEST = "param_budget: 2m", "[2014-01-01, 2020-03-06]"
# One line of the shipped config, what stands in its place, and what the refusal says.
MISTAKES = [
    ("  horizon: 1\n", "", "task.horizon: required"),
    ("horizon:", "horizen:", "did you mean `horizon`?"),
    (
        "  horizon: 1",
        "  horizon: 1\n  direction: sideways",
        "task.direction: got 'sideways'; .*'up'",
    ),
    ("task:", "task: [", "line"),
    (RATE, "  learning_rate: 3e-4", "write 0.0003"),
    *(("seed: 42", f"seed: {seed}", "seed: got") for seed in ("no", "4.5", "'42'", "[1]")),
    (TEST, "[1990-01-01, 1992-12-31]", "must follow one another"),
    (TEST, "[2020-03-06, 2014-01-01]", "must end after it starts"),
    ("context_length: 64", "context_length: 60", "does not divide"),
    ("warmup: 63", "warmup: 62", "warmup is 62"),
    (BUDGET, "param_budget: 5m", f"'5m'.*{', '.join(known_budgets())}"),
    (BUDGET, f"family: lstm\n{BUDGET}", "family: got 'lstm'; allowed: patchtst, patchtsmixer$"),
    (
        BUDGET,
        "family: patchtsmixer\nparam_budget: 200m",
        "allowed for the family patchtsmixer: 200k, 600k, 2m",
    ),
    (
        BUDGET,
        f"{BUDGET}\ndata: {{prices: data/raw/QQQ.parquet}}",
        "data.prices: data/raw/QQQ.parquet does not exist",
    ),
    (
        BUDGET,
        f"{BUDGET}\ndata: {{pricess: data/raw/SPY.parquet}}",
        "data.pricess: unknown key; did you mean `prices`. allowed: prices, features, manifest",
    ),
    *(
        (
            BUDGET,
            f"{BUDGET}\ndata: {{features: data/processed/v1/{name}.parquet}}",
            rf"ends in a tier: {', '.join(known_tiers())} \(to",
        )
        for name in ("SPY_features_a21", "SPY_features", "SPY")
    ),
]


@pytest.mark.parametrize(("old", "new", "said"), MISTAKES)
def test_a_mistake_in_an_experiment_is_refused(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    assert re.search(said, refusal(altered(tmp_path, old, new)))


def test_a_missing_config_names_those_that_exist() -> None:
    with pytest.raises(UserError, match="threshold_1pct.yaml"):
        load_config("configs/daily/threshold_one.yaml")


def test_a_duplicate_key_is_refused_with_its_line(tmp_path: Path) -> None:
    message = refusal(altered(tmp_path, "seed: 42", "seed: 42\nseed: 43"))
    assert "`seed` stands twice" in message
    assert ":4:" in message


def test_a_threshold_in_percent_is_refused_with_the_fraction(tmp_path: Path) -> None:
    assert "1 % is 0.01" in refusal(altered(tmp_path, "threshold: 0.01", "threshold: 1"))


UNREADABLE = {
    "binary": b"\x80\x81\x00\xff",
    "a null byte": b"seed: 1\x00",
    "another encoding": TEXT.encode() + b"# \xe9",
    "a day that is none": TEXT.replace("2014-01-01", "2014-02-30").encode(),
    "a time that is none": b"seed: 2001-12-14t21:59:43.10+99:99",
    "a list for a key": b"? [seed]\n: 1\n",
    "a mapping for a key": b"{seed: 1}: 2\n",
    "endless nesting": b"[" * 5000,
    "a number without end": b"seed: " + b"9" * 5000,
    "a word for a number": b"seed: !!int many",
    "a command": b"seed: !!python/object/apply:os.system [touch pwned]",
    "nothing": b"",
}


@pytest.mark.parametrize("content", UNREADABLE.values(), ids=UNREADABLE)
def test_a_file_that_is_no_config_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "experiment.yaml"
    path.write_bytes(content)
    assert len(refusal(path)) < 400


def test_another_encoding_with_its_mark_is_read(tmp_path: Path) -> None:
    path = tmp_path / "experiment.yaml"
    path.write_bytes(TEXT.encode("utf-16"))
    assert load_config(path).seed == 42


# Everything that a shell, a file system or an option parser reads as more than a name.
UNSAFE = {
    *(f"a{sign}b" for sign in string.printable if not (sign.isalnum() or sign in "_.-/")),
    *("a\x00b", "a\x1bb", "ä", "\u202e", "\uff04(x)"),
    *("$(touch pwned)", "`touch pwned`", "a;touch pwned", "a|b", "a&&b", "a>b", "a<b"),
    *("", "..", "../a", "a/../b", "a/..", "-a", "a/-b", "--output=x", "a//b", "//a", "a/"),
}


@pytest.mark.parametrize("name", sorted(UNSAFE), ids=repr)
def test_a_name_that_is_more_than_a_name_is_refused(name: str) -> None:
    with pytest.raises(UserError, match="allowed: letters") as caught:
        safe_name(name, "key")
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="experiments"):
        load_grid({**GRID, "experiments": [name]})


@pytest.mark.parametrize("key", ["prices", "features", "manifest"])
@pytest.mark.parametrize("name", sorted(UNSAFE - {"", "..", "a/..", "a//b", "//a", "a/"}), ids=repr)
def test_a_path_that_is_more_than_a_path_is_refused(tmp_path: Path, key: str, name: str) -> None:
    path = tmp_path / "experiment.yaml"
    path.write_text(f"{TEXT}data: {json.dumps({key: f'{name}.parquet'})}\n")
    assert f"data.{key}: got" in refusal(path)


@pytest.mark.parametrize("name", ["a", "SPY", "BRK-B", "daily/threshold_1pct", "/tmp/a.b", "./a"])
def test_a_plain_name_is_safe(name: str) -> None:
    assert safe_name(name) == name


@pytest.mark.parametrize("name", ["$(touch pwned)", "a b", "a;b", "-a", "a'b"])
def test_a_config_file_with_an_unsafe_name_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / "configs/daily").mkdir(parents=True)
    (tmp_path / "configs/daily" / f"{name}.yaml").write_text(TEXT)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="configs: got"):
        known_experiments()


@pytest.mark.parametrize("experiment", known_experiments())
def test_every_shipped_experiment_loads_and_all_but_one_say_only_what_differs(
    experiment: str,
) -> None:
    path = experiment_path(experiment)
    assert ("extends" in read_yaml(path)) == (experiment != "daily/threshold_1pct")
    for budget in known_budgets(load_config(path).family):
        config = load_config(path, budget)
        assert config.param_budget == budget
        assert load_model_config(budget, config.family).family == config.family


def test_a_key_of_another_family_in_a_budgets_file_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shape = Path("configs/model/patchtsmixer_2m.yaml").read_text()
    (tmp_path / "patchtsmixer_2m.yaml").write_text(shape + "heads: 4\n")
    monkeypatch.setattr(sizes, "MODEL_ROOT", tmp_path)
    with pytest.raises(UserError, match="heads: unknown key; .*allowed: .*expansion_factor"):
        load_model_config("2m", "patchtsmixer")


def test_a_grid_with_a_budget_that_an_experiments_family_lacks_is_refused() -> None:
    grid = {"experiments": ["daily/threshold_1pct", "daily/threshold_1pct_patchtsmixer"]}
    assert load_grid({**grid, "budgets": ["2m"], "seeds": [1]})
    with pytest.raises(UserError, match="patchtsmixer.yaml: param_budget: got '20m'"):
        load_grid({**grid, "budgets": ["2m", "20m"], "seeds": [1]})


@pytest.mark.parametrize("path", sorted(Path("configs").glob("*.yaml")), ids=str)
def test_every_shipped_grid_loads(path: Path) -> None:
    assert load_grid(read_yaml(path), path).seeds


@pytest.mark.parametrize(
    "hole",
    [{"seeds": []}, {"seeds": [42, 42]}, {"seeds": [-1]}, {"budgets": []}, {"experiments": []}],
    ids=str,
)
def test_a_grid_of_nothing_or_of_one_thing_twice_is_refused(hole: dict[str, list[str]]) -> None:
    assert load_grid(GRID).budgets == ["2m"]
    with pytest.raises(UserError, match=next(iter(hole))):
        load_grid({**GRID, **hole})


def test_a_budget_with_fewer_seeds_has_the_first_ones_at_each_number_of_days() -> None:
    sizes, days = ["600k", "2m", "20m"], [500, "all"]
    grid = {**GRID, "budgets": sizes, "seeds": [43, 42, 44], "train_days": days}
    runs = load_grid({**grid, "fewer_seeds": {"20m": 1, "2m": 2}}).runs_of(load_config(SHIPPED))
    assert [run.written(own_seed=42) for run in runs] == [
        *("600k.days500.seed43", "600k.days500", "600k.days500.seed44"),
        *("600k.seed43", "600k", "600k.seed44"),
        *("2m.days500.seed43", "2m.days500", "2m.seed43", "2m"),
        *("20m.days500.seed43", "20m.seed43"),
    ]


@pytest.mark.parametrize(
    ("fewer", "complaint"),
    [
        ({"20m": 1}, "fewer_seeds: got 20m; allowed: budgets of this grid: 2m"),
        ({"2m": 2}, "fewer_seeds.2m: got 2; allowed: fewer than the grid's 2 seeds"),
        ({"2m": 0}, "fewer_seeds.2m: got 0"),
        (["2m"], "fewer_seeds: got ['2m']"),
    ],
    ids=str,
)
def test_fewer_seeds_than_one_or_as_many_as_the_grid_or_of_another_budget_are_refused(
    fewer: object, complaint: str
) -> None:
    with pytest.raises(UserError, match=re.escape(complaint)) as caught:
        load_grid({**GRID, "seeds": [42, 43], "fewer_seeds": fewer})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "paired",
    [
        {"experiments": ["daily/sp500_walk"]},
        {"experiments": ["daily/currencies_05pct"], "markets": [4, 14]},
        {"train_days": [500, "all"], "draw": ["blocks"]},
    ],
    ids=["walk", "markets", "blocks"],
)
def test_sizes_whose_seeds_count_together_are_not_given_different_ones(
    paired: dict[str, list[object]],
) -> None:
    grid = {**GRID, "budgets": ["200k", "2m"], "seeds": [42, 43, 44], **paired}
    with pytest.raises(UserError, match=r"full.yaml: fewer_seeds: got .* allowed: 1 for a size"):
        load_grid({**grid, "fewer_seeds": {"2m": 2}})
    assert load_grid({**grid, "fewer_seeds": {"2m": 1}})
    assert load_grid({**grid, "fewer_seeds": {"200k": 2, "2m": 2}})


def test_an_absolute_path_names_the_same_experiment() -> None:
    assert experiment_name(SHIPPED) == "daily/threshold_1pct"
    assert experiment_name(SHIPPED.resolve()) == "daily/threshold_1pct"
    assert experiment_name("/elsewhere/mine.yaml") == "mine"


def test_the_file_name_says_what_the_task_asks() -> None:
    others_in_other_years = {"development_1pct", "currencies_development", "sp500_walk"}
    for experiment in {*known_experiments()} - {f"daily/{name}" for name in others_in_other_years}:
        config = load_config(experiment_path(experiment))
        task, markets = config.task, config.data.markets
        several = "currencies" if {m.name for m in markets} <= {*CURRENCIES} else "markets"
        asset = markets[0].name if len(markets) == 1 else several
        name = {"up": "threshold", "down": "fall", "either": "move"}[task.direction]
        name = name if asset == "SPY" else asset.lower()
        name += f"_{100 * task.threshold:g}pct".replace(".", "")
        name += f"_{task.horizon}d" if task.horizon > 1 else ""
        name += f"_{config.family}" if config.family != DEFAULT_FAMILY else ""
        assert experiment == f"daily/{name}"
        for market in markets:
            assert market.prices.stem == market.name
            assert market.features.name == f"{market.name}_features_{config.data.tier}.parquet"


MARKETS = "data: {assets: [SP500, NASDAQ], judged: [SP500]}\n"


def markets(folder: Path, old: str = "", new: str = "") -> Path:
    path = folder / "markets.yaml"
    path.write_text(TEXT + MARKETS.replace(old, new))
    return path


def test_the_names_of_several_markets_give_their_files(tmp_path: Path) -> None:
    config = load_config(markets(tmp_path, "judged", "tier: c14, judged"))
    assert [(market.name, market.judged) for market in config.data.markets] == [
        ("SP500", True),
        ("NASDAQ", False),
    ]
    assert config.data.markets[1].prices == Path("data/raw/NASDAQ.parquet")
    features = Path("data/processed/v1/NASDAQ_features_c14.parquet")
    assert config.data.markets[1].features == features


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("judged: [SP500]", "judged: [DAX]", "data: judged: got DAX; allowed: SP500, NASDAQ"),
        ("judged: [SP500]", "judged: []", "data.judged: "),
        (", judged: [SP500]", "", "data.judged: required, and not given"),
        ("[SP500, NASDAQ]", "[SP500, SP500]", "data: assets: SP500 stands twice; keep one"),
        ("[SP500, NASDAQ]", "[SP500, QQQ]", "data.assets: data/raw/QQQ.parquet does not exist"),
        ("[SP500, NASDAQ]", "[SP500, ../x]", "data.assets.1: got '../x'"),
        ("[SP500, NASDAQ]", "[SP500, a/b]", "data.assets.1: got 'a/b'"),
        ("judged", "tier: a21, judged", "data: tier: got a21; allowed: a20, c14"),
        ("judged", "tier: external, judged", "data: tier: got external; allowed: a20, c14"),
        (
            "judged",
            "prices: data/raw/SPY.parquet, judged",
            "data.prices: unknown key; allowed: assets, judged, tier",
        ),
        ("judged", "asset: SPY, judged", "data.asset: unknown key; did you mean `assets`"),
    ],
)
def test_a_wrong_list_of_markets_is_one_line(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    assert re.search(message, refusal(markets(tmp_path, old, new)))


@pytest.mark.parametrize(
    ("task", "question"),
    [
        ((0.01, 1, "up"), "the close rises by 1 % or more within one day"),
        ((0.025, 3, "down"), "the close falls by 2.5 % or more within 3 days"),
        ((0.07, 20, "either"), "the close rises or falls by 7 % or more within 20 days"),
    ],
)
def test_a_question_is_worded_in_one_sentence(task: tuple[float, int, str], question: str) -> None:
    assert TaskConfig(*task).question() == question  # type: ignore[arg-type]


# --- an experiment that builds on another ----------------------------------------------------


def extending(folder: Path, text: str, name: str = "mine") -> Path:
    """A file in `configs/daily` of a folder of its own, beside the shipped one that it extends."""
    daily = folder / "configs/daily"
    daily.mkdir(parents=True, exist_ok=True)
    (daily / SHIPPED.name).write_text(TEXT)
    (daily / f"{name}.yaml").write_text(text)
    return daily / f"{name}.yaml"


BASE = "extends: daily/threshold_1pct.yaml\n"


@pytest.fixture
def below(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose `configs` are read; the data stay those of the repository."""
    monkeypatch.setattr(configs, "CONFIG_ROOT", tmp_path / "configs")
    return tmp_path


def test_an_experiment_is_the_one_that_it_extends_but_for_what_it_says(below: Path) -> None:
    path = extending(below, f"{BASE}task: {{horizon: 3}}\nseed: 7\n")
    shipped = load_config(SHIPPED)
    task = dataclasses.replace(shipped.task, horizon=3)
    assert load_config(path) == dataclasses.replace(shipped, task=task, seed=7)


def test_a_file_that_is_extended_may_extend_another(below: Path) -> None:
    extending(below, f"{BASE}task: {{horizon: 3}}\n", "middle")
    path = extending(below, "extends: daily/middle.yaml\ntask: {direction: down}\n")
    assert load_config(path).task == TaskConfig(threshold=0.01, horizon=3, direction="down")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("extends: daily/none.yaml\n", "extends: got 'daily/none.yaml'; allowed: a file below"),
        ("extends: [a, b]\n", r"extends: got \['a', 'b'\]; allowed: a file below"),
        ("extends: daily/mine.yaml\n", "mine.yaml extends .*mine.yaml: a circle"),
        (f"{BASE}seed: 42\n", "seed is 42 as in .*threshold_1pct.yaml without it; drop this key"),
        (f"{BASE}task: {{horizon: 1}}\n", "task.horizon is 1 as in .*drop this key"),
        (f"{BASE}optimiser: {{epoch: 9}}\n", "optimiser.epoch: unknown key; did you mean `epochs`"),
        (
            f"{BASE}window: {{patch_length: 7}}\n",
            "window: patch_length 7 does not .*window stands in .*/threshold_1pct.yaml",
        ),
    ],
)
def test_what_cannot_be_extended_is_one_line(below: Path, text: str, message: str) -> None:
    assert re.search(message, refusal(extending(below, text)))


def test_a_circle_over_two_files_is_refused(below: Path) -> None:
    extending(below, "extends: daily/mine.yaml\n", "other")
    assert "a circle" in refusal(extending(below, "extends: daily/other.yaml\n"))


def test_a_message_names_the_file_that_a_key_came_from(below: Path) -> None:
    path = extending(below, f"{BASE}seed: 7\n")
    base = path.with_name(SHIPPED.name)
    base.write_text(TEXT.replace("horizon: 1", "horizon: 0"))
    assert "task.horizon: got 0; " in refusal(path)
    assert f"(task.horizon stands in {base})" in refusal(path)
    assert f"{path}: task.horizon" in refusal(path)
    extending(below, f"{BASE}seed: -7\n")
    base.write_text(TEXT)
    assert "stands in" not in refusal(path)


def fields_of(schema: type, prefix: str = "") -> list[str]:
    """Leaf fields of a config dataclass: `optimiser.batch_size` and so on."""
    found = []
    for field in dataclasses.fields(schema):
        if dataclasses.is_dataclass(field.type):
            found += fields_of(field.type, f"{prefix}{field.name}.")
        else:
            found.append(prefix + field.name)
    return found


LIBRARY = [path.read_text() for path in Path("scaling").rglob("*.py") if path.name != "config.py"]


def attributes_read(sources: list[str]) -> set[tuple[str, str]]:
    """Every (owner, attribute) read: `config.optimiser.epochs` is also `optimiser`'s `epochs`."""
    read = set()
    for node in (node for source in sources for node in ast.walk(ast.parse(source))):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            owner = node.value
            if isinstance(owner, ast.Name):
                read.add((owner.id, node.attr))
            elif isinstance(owner, ast.Attribute):
                read.add((owner.attr, node.attr))
    return read


# The blocks are read by their names in dataset.split_samples, and a size's own recipe and the
# folds of a walk in config.py itself.
READ_OTHERWISE = {
    *("splits.train", "splits.validation", "splits.test"),
    *("recipes", "origin", "walk_forward"),
}


# What a config is called where it is read; a section also goes by its own name.
OWNERS = {
    TrainingConfig: {"config"},
    DataConfig: {"data", "market"},
    PatchTSTShape: {"model", "shape"},
    PatchTSMixerShape: {"model", "shape"},
}


def unread(schema: type, sources: list[str]) -> list[str]:
    """The fields of a config that no source reads from something called like that config."""
    read = attributes_read(sources)
    found = []
    for field in fields_of(schema):
        *section, name = field.split(".")
        if not any((owner, name) in read for owner in OWNERS[schema] | set(section)):
            found.append(field)
    return [field for field in found if field not in READ_OTHERWISE]


@pytest.mark.parametrize("schema", OWNERS)
def test_no_field_is_read_by_nothing(schema: type) -> None:
    assert unread(schema, LIBRARY) == []


@pytest.mark.parametrize(
    ("schema", "field", "readers"),
    [
        (TrainingConfig, "optimiser.epochs", ("optimiser.epochs", "config.epochs")),
        (TrainingConfig, "seed", ("config.seed",)),
        (PatchTSTShape, "dropout", ("shape.dropout", "model.dropout")),
    ],
)
def test_a_field_whose_name_is_read_from_something_else_only_is_noticed(
    schema: type, field: str, readers: tuple[str, ...]
) -> None:
    name = field.split(".")[-1]
    planted = LIBRARY
    for reader in readers:
        planted = [source.replace(reader, f"progress.{name}") for source in planted]
    assert ("progress", name) in attributes_read(planted)
    assert unread(schema, planted) == [field]


CURRENCIES_GRID = {**GRID, "experiments": ["daily/currencies_05pct"], "seeds": [42]}


def test_a_grid_of_markets_has_each_number_and_all_of_them() -> None:
    grid = load_grid({**CURRENCIES_GRID, "markets": [1, 4, 14]})
    runs = grid.runs_of(load_config("configs/daily/currencies_05pct.yaml"))
    names = [run.written(own_seed=42) for run in runs]
    assert names == ["2m.markets1", "2m.markets4", "2m"]


def test_more_markets_than_an_experiment_has_are_refused_with_its_file() -> None:
    with pytest.raises(UserError, match="currencies_05pct.yaml: markets: got 15; allowed"):
        load_grid({**CURRENCIES_GRID, "markets": [15]})
    with pytest.raises(UserError, match="threshold_1pct.yaml: markets: got 4; allowed.*: none"):
        load_grid({**GRID, "markets": [4]})


def test_a_grid_has_one_axis_beside_the_parameters() -> None:
    with pytest.raises(UserError, match="markets: got .* beside train_days"):
        load_grid({**CURRENCIES_GRID, "markets": [4, 14], "train_days": [500, "all"]})


def test_a_grid_has_each_number_of_days_in_each_draw_and_all_days_once() -> None:
    axes = {"train_days": [500, "all"], "draw": ["recent", "blocks"]}
    grid = load_grid({**GRID, "seeds": [42, 43], **axes})
    names = [run.written(own_seed=42) for run in grid.runs_of(load_config(SHIPPED))]
    assert names == [
        *("2m.days500", "2m.days500.seed43", "2m.blocks500", "2m.blocks500.seed43"),
        *("2m", "2m.seed43"),
    ]


@pytest.mark.parametrize(
    ("axes", "complaint"),
    [
        ({"train_days": [0]}, "train_days.0: got 0; allowed: a number of days above 0, or `all`"),
        ({"train_days": [-5]}, "train_days.0: got -5"),
        ({"train_days": [500.0]}, "train_days.0: got 500.0"),
        ({"train_days": [True]}, "train_days.0: got True"),
        ({"train_days": ["500"]}, "train_days.0: got '500'"),
        ({"train_days": ["most"]}, "train_days.0: got 'most'"),
        ({"train_days": 500}, "train_days: got 500"),
        ({"train_days": []}, "train_days: got"),
        ({"train_days": [500, 500]}, "train_days: 500 stands twice"),
        ({"train_days": [500, 1000]}, "allowed: numbers of days with `all` among them"),
        ({"train_days": [500], "draw": ["oldest"]}, "draw.0: got 'oldest'"),
        ({"train_days": [500], "draw": []}, "draw: got"),
        ({"draw": ["blocks"]}, "train_days has no number of days to draw"),
        ({"train_days": ["all"], "draw": ["recent", "blocks"]}, "no number of days to draw"),
    ],
    ids=str,
)
def test_an_axis_of_days_that_means_nothing_is_refused(
    axes: dict[str, object], complaint: str
) -> None:
    with pytest.raises(UserError, match=re.escape(complaint)) as caught:
        load_grid({**GRID, **axes})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("line", ["train_days: 500", "draw: blocks", "days: {train_days: 500}"])
def test_an_experiment_chooses_no_days_itself(tmp_path: Path, line: str) -> None:
    path = tmp_path / "experiment.yaml"
    path.write_text(f"{TEXT}{line}\n")
    assert "not allowed in an experiment; put it into a grid" in refusal(path)


def test_importing_the_config_imports_no_heavy_package() -> None:
    code = (
        "import sys, scaling.config, scaling.data.manifest, scaling.record, scaling.metrics;"
        "heavy = {'torch', 'transformers', 'mlflow', 'wandb', 'pandas'};"
        "sys.exit(' '.join(heavy & set(sys.modules)) or 0)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
