"""The files of a study that nobody trained: planted forecasts, judged and fitted as the real ones.

What a planted network says is truth mixed with noise, so the larger ones are better.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scaling import report
from scaling.config import EarningsConfig, TaskConfig, as_dict
from scaling.judging import checks
from scaling.judging.run_files import file_digests
from scaling.law.beyond_volatility import with_what_is_beyond_volatility
from scaling.law.bootstrap import Settings
from scaling.law.judge import fit_study
from scaling.law.result import as_json
from scaling.law.table import read_rows, read_tables
from scaling.metrics import fit_recalibration, score
from scaling.record import (
    file_md5,
    identity_of_parquet,
    provenance,
    read_json,
    write_json,
    write_parquet,
)
from scaling.run import ALL_DAYS, BASELINES, Run, RunName, TrainingDays, Values
from scaling.training.search import compared

PARAMETERS = {"200k": 201_000, "600k": 598_000, "2m": 2_010_000}
QUALITIES = {"200k": 0.5, "600k": 0.7, "2m": 0.8}
SEEDS = (42, 43)
DAYS = 500
EXPERIMENT = "daily/planted"
BASE_RATE = 0.15
SETTINGS: dict[str, Any] = {
    "family": "patchtst",
    "task": {"threshold": 0.01, "horizon": 1},
    "window": {"context_length": 64, "patch_length": 8, "warmup": 63},
    "splits": {
        "train": ["1993-01-29", "2011-12-30"],
        "validation": ["2012-01-02", "2013-11-29"],
        "test": ["2013-12-02", "2015-10-30"],
    },
    "optimiser": {"learning_rate": 1e-3, "epochs": 5, "weight_decay": 0.01},
}
RECIPE = SETTINGS["optimiser"]
MODEL = {"d_model": 32, "dropout": 0.1, "initial_deviation": 0.02}


VOLATILITY_CHECK = checks.check(
    "volatility baselines do not see the future", True, "no forecast changes", "none", "a leak"
)
MakeRun = Callable[[RunName], Run]


def planted(name: RunName) -> Run:
    """The run of that name, made with what all runs of a planted study are made with."""
    network = name.budget != BASELINES
    return Run(
        experiment=EXPERIMENT,
        name=name,
        settings=SETTINGS,
        model=MODEL if network else {},
        code="c0de" if network else "ba5e",
        versions={"torch": "2.8"} if network else {},
        device="cpu" if network else None,
        precision="fp32" if network else None,
        micro_batch=32 if network else None,
        prices="d0",
        features="f0",
        labels="ab12",
    )


def run_of(budget: str, seed: int) -> str:
    return budget if seed == SEEDS[0] else f"{budget}.seed{seed}"


RUNS = [run_of(budget, seed) for budget in PARAMETERS for seed in SEEDS]


def judged(rows: pd.DataFrame) -> dict[str, Any]:
    """Metrics as `evaluate` writes them, of prediction rows with both splits."""
    validation, test = (rows[rows["split"] == block] for block in ("validation", "test"))
    recalibration = fit_recalibration(validation["y"], validation["p"])
    return {
        "recalibration": recalibration._asdict(),
        "validation": score(validation["y"], validation["p"], BASE_RATE),
        "test": score(test["y"], test["p"], BASE_RATE),
        "test_recalibrated": score(test["y"], recalibration(test["p"]), BASE_RATE),
    }


class Market:
    """Labels of validation and test days, and forecasts of a chosen quality.

    With `assets`, the same rows are those of fewer days of several markets.
    """

    def __init__(self, assets: Sequence[str] = ()) -> None:
        self.rng = np.random.default_rng(0)
        self.signal = self.rng.normal(size=2 * DAYS)
        chance = 1 / (1 + np.exp(2.2 - 1.2 * self.signal))
        self.days = pd.DataFrame(
            {
                "date": pd.bdate_range("2012-01-02", periods=2 * DAYS),
                "split": np.repeat(["validation", "test"], DAYS),
                "y": (self.rng.random(2 * DAYS) < chance).astype(np.int8),
            }
        )
        if assets:
            count = 2 * DAYS // len(assets)
            dates = pd.bdate_range("2012-01-02", periods=count).repeat(len(assets))
            self.days = self.days.assign(date=dates, asset=[*assets] * count)
        rises = self.days["y"].to_numpy()
        falls = (1 - rises) * (np.arange(2 * DAYS) % 8 == 0)
        quiet = np.where(np.arange(2 * DAYS) % 2, 0.003, -0.002)
        self.outcomes = {
            "rises": rises,
            "falls": falls.astype(np.int8),
            "next_return": np.where(rises, 0.012, np.where(falls, -0.015, quiet)),
        }

    def forecast(self, quality: float) -> pd.DataFrame:
        noise = self.rng.normal(size=2 * DAYS) * (1 - quality)
        said = 1 / (1 + np.exp(2.2 - 1.2 * quality * self.signal - 0.4 * noise))
        return self.days.assign(p=said)

    def constant(self, p: float) -> pd.DataFrame:
        return self.days.assign(p=p)

    def drift(self) -> list[dict[str, Any]]:
        features = {b: self.rng.normal(size=(300, 4)) for b in ("train", "validation", "test")}
        names = ("rsi_14", "sma_200", "log_atr_14", "obv_change_20")
        return checks.drift_table(features, names)


def write_run(
    root: Path,
    budget: str,
    seed: int,
    rows: pd.DataFrame,
    drift: list[dict[str, Any]],
    days: TrainingDays = ALL_DAYS,
    make_run: MakeRun = planted,
) -> None:
    """Record, predictions and evaluation of one run; rows of two axes say their training days."""
    parameters = PARAMETERS[budget]
    made = make_run(RunName(budget=budget, days=days, seed=seed))
    run = made.name.written(SEEDS[0])
    known = {**made.titles(run), "parameters": parameters, "identity": made.as_json()}
    checkpoint, predictions = root / f"{run}.ckpt", root / f"{run}.predictions.parquet"
    checkpoint.write_text(f"weights of {run}")
    frame = rows.assign(parameters=parameters, **made.name.columns())
    frame = pd.concat([frame.assign(weights=weights) for weights in ("mean", "last")])
    write_parquet(predictions, frame, made.as_json())
    metrics = judged(rows)
    loss = metrics["validation"]["log_loss"]
    validation, test = (rows[rows["split"] == block] for block in ("validation", "test"))
    evaluation = {
        **known,
        "train_base_rate": BASE_RATE,
        **file_digests(checkpoint, predictions),
        "metrics": {"mean": metrics, "last": metrics},
        "checks": [
            checks.counted_parameters(budget, parameters),
            checks.no_gross_drift(drift),
            checks.train_evaluate_parity(loss, validation["y"], validation["p"], "fp32"),
            checks.predictions_vary(test["p"]),
        ],
        "drift": drift,
        **provenance(),
    }
    write_json(root / f"{run}.eval.json", evaluation)
    record = {
        **known,
        "initial_weights": f"weights of {run}",
        "sample_order": f"order of {seed}",
        "parameters_without_embeddings": parameters - 1_000,
        "train_base_rate": BASE_RATE,
        "flops": 6e10 * parameters * (1 + 0.1 * (seed - 42)),
        "seconds": parameters / 1000,
        "first_step": 1.2,
        "clipped": 0.4,
        "validation": {"log_loss": loss},
        "looks": [
            {"epoch": e, "train_loss": 0.4 + 0.1 / e, "val_log_loss": loss + 0.05 * (4 - e) ** 2}
            for e in range(1, 6)
        ],
        "device_name": "a <fast> CPU & more",
        "threads": 1,
        **provenance(),
    }
    write_json(root / f"{run}.json", record)


def baselines_in(root: Path) -> list[Path]:
    return sorted(root.glob("baselines*.predictions.parquet"))


def networks_in(root: Path) -> list[Path]:
    """The smallest size first."""
    found = set(root.glob("*.predictions.parquet")) - set(baselines_in(root))
    return sorted(found, key=lambda path: (PARAMETERS[path.name.partition(".")[0]], path.name))


def write_law(root: Path) -> None:
    """Fit the law to the prediction files in `root`."""
    predictions, baselines = networks_in(root), baselines_in(root)
    runs = [Run.of(identity_of_parquet(path), path) for path in predictions]
    rows = read_rows(predictions), read_rows(baselines)
    fitted = fit_study(read_tables(*rows), Settings(1, 0.01, samples=200), runs[0].experiment)
    rules = EarningsConfig()
    law = replace(
        with_what_is_beyond_volatility(fitted, *rows, TaskConfig(**SETTINGS["task"]), rules),
        made_by={"earnings": as_dict(rules)},
        runs=[run.as_json() for run in runs],
        inputs={str(path): file_md5(path) for path in (*predictions, *baselines)},
        provenance=provenance(),
    )
    write_json(root / "scaling_law.json", as_json(law))


def write_baselines(
    root: Path, rows: Mapping[str, pd.DataFrame], days: TrainingDays, make_run: MakeRun
) -> None:
    """Record and predictions of the baselines of some training days."""
    seed = 0 if days.draw == "recent" else SEEDS[0]
    made = make_run(RunName(budget=BASELINES, days=days, seed=seed))
    name = made.name.written(own_seed=seed)
    parts = pd.concat(part.assign(model=model) for model, part in rows.items())
    said = {k: v for k, v in made.name.columns().items() if k not in ("budget", "seed")}
    write_parquet(root / f"{name}.predictions.parquet", parts.assign(**said), made.as_json())
    content = {
        **made.titles(name),
        "identity": made.as_json(),
        "train_base_rate": BASE_RATE,
        "models": {model: judged(part) for model, part in rows.items()},
        "checks": [VOLATILITY_CHECK],
    }
    write_json(root / f"{name}.json", content)


def make_study(root: Path, make_run: MakeRun = planted, assets: Sequence[str] = ()) -> None:
    """All files of a study, as the workflow names them; `assets` are its judged markets."""
    market = Market(assets)
    drift = market.drift()
    for budget, quality in QUALITIES.items():
        for seed in SEEDS:
            write_run(root, budget, seed, market.forecast(quality), drift, make_run=make_run)
    rows = {
        "base_rate": market.constant(BASE_RATE),
        "garch": market.forecast(0.4),
        "logistic_regression": market.forecast(0.85),
    }
    rows = {name: part.assign(**market.outcomes) for name, part in rows.items()}
    write_baselines(root, rows, ALL_DAYS, make_run)
    write_law(root)


def flags_of(root: Path) -> list[str]:
    """What `python -m scaling.report` is given."""
    runs = [path.name.removesuffix(".predictions.parquet") for path in networks_in(root)]
    rivals = [str(path) for path in baselines_in(root)]

    def files(suffix: str) -> list[str]:
        return [str(root / f"{run}.{suffix}") for run in runs]

    return [
        *("--law", str(root / "scaling_law.json")),
        *("--records", *files("json")),
        *("--evaluations", *files("eval.json")),
        *("--predictions", *files("predictions.parquet")),
        *("--baselines", *rivals),
        *("--baselines-record", *(p.replace(".predictions.parquet", ".json") for p in rivals)),
        *("--figures", str(root / "figures")),
        *("--output", str(root / "report.html")),
    ]


def change(path: Path, **values: Any) -> None:
    write_json(path, {**read_json(path), **values})


def spoil(path: Path, change_it: Callable[[dict[str, Any]], None]) -> None:
    """Change what a JSON file says in place."""
    content = read_json(path)
    change_it(content)
    write_json(path, content)


def rewrite(path: Path, frame: pd.DataFrame) -> None:
    """Other predictions, which say that they are of the same run."""
    write_parquet(path, frame, identity_of_parquet(path)["identity"])


def remake(path: Path, key: str, value: Any) -> None:
    """A file that was made with something else: `settings.optimiser.epochs`, `name.seed`."""
    spoil(path, lambda content: put(content["identity"], key, value))


def put(content: dict[str, Any], key: str, value: Any) -> None:
    """Another value under a dotted key."""
    holder, last = _place(content, key)
    holder[last] = value


def nudge(content: dict[str, Any], key: str) -> None:
    """Change a number under a dotted key by more than rounding would."""
    holder, last = _place(content, key)
    holder[last] += 1e-6


def _place(content: Any, key: str) -> tuple[Any, str | int]:
    """What holds the value of a dotted key, such as `cells.0.skill`, and its own key there."""
    *sections, last = (int(part) if part.isdigit() else part for part in key.split("."))
    for section in sections:
        content = content[section]
    return content, last


# --- files that a study may have -------------------------------------------------------------

# Validation log-losses of three recipes, the experiment's own first, with three seeds each.
BETTER = ((0.41, 0.42, 0.43), (0.40, 0.4101, 0.42), (0.45, 0.46, 0.44))
NO_BETTER = ((0.41, 0.42, 0.43), (0.40, 0.43, 0.42), (0.45, 0.46, 0.44))
NOTHING: Values = {}
LEAKS, SOUND, NOISY = [0.30, 0.31, 0.29], [-0.002, 0.001, -0.001], [-0.02, 0.01, -0.01]


def write_sweep(
    root: Path,
    budget: str,
    losses: Sequence[Sequence[float]],
    odd: Values = NOTHING,
    **values: Any,
) -> str:
    """A sweep whose recipes had these validation losses by seed; returns its path."""
    recipes = [
        {**{key: value * 2**i for key, value in RECIPE.items()}, "val_log_losses": list(by_seed)}
        | {"initial_deviation": 0.02 * 2**i, "dropout": 0.1 * i}
        for i, by_seed in enumerate(losses)
    ]
    sweep = {
        "kind": "sweep",
        "budget": budget,
        "identity": _identity(budget, {"code": "5eeb", **odd}),
        "seeds": [1000, 1001, 1002],
        "recipes": recipes,
        **compared(np.array(losses)),
    }
    write_json(root / f"{budget}.sweep.json", {**sweep, **values})
    return str(root / f"{budget}.sweep.json")


def write_control(
    root: Path, budget: str, skills: list[float], odd: Values = NOTHING, **values: Any
) -> str:
    """A shuffled control whose permutations had these skills; returns its path."""
    control = {
        "kind": "shuffled control",
        "budget": budget,
        "identity": _identity(budget, odd),
        "check": checks.shuffled_labels_teach_nothing(*control_losses(skills)),
    }
    write_json(root / f"{budget}.shuffled.json", {**control, **values})
    return str(root / f"{budget}.shuffled.json")


def control_losses(
    skills: Sequence[float], noise: float = 0.0, days: int = DAYS
) -> tuple[np.ndarray, np.ndarray, Settings]:
    """Losses of permutations with these skills, those of the base rate, and how to resample.

    `noise` is the deviation of a day's difference to the base rate, the same for all permutations.
    """
    rng = np.random.default_rng(0)
    base, odd = rng.uniform(0.2, 0.6, days), rng.normal(size=days)
    losses = base * (1 - np.array(skills)[:, None]) + noise * (odd - odd.mean())
    return losses, base, Settings(1, 0.01, samples=300)


def _identity(budget: str, odd: Values) -> dict[str, Any]:
    """What a run on another device was made with, but for the `odd` values by dotted key."""
    made = planted(RunName(budget=budget, seed=SEEDS[0])).as_json() | {"precision": "bf16"}
    for key, value in odd.items():
        put(made, key, value)
    return made


# --- the page as a reader meets it -----------------------------------------------------------


class Page(HTMLParser):
    """Tags, ids, visible text in order, and every address the page names."""

    VOID = frozenset({"meta", "link", "br", "img"})

    def __init__(self, content: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.words: list[str] = []
        self.addresses: list[str] = []
        self.tags: list[str] = []
        self.open: list[str] = []
        self.feed(content)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(str(value))
            if name in ("src", "href", "xlink:href", "action", "data"):
                self.addresses.append(str(value))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def read_page(root: Path) -> Page:
    return Page((root / "report.html").read_text())


def reported(root: Path, *options: str) -> Page:
    """The page that a report of the study makes."""
    report.main([*flags_of(root), *options])
    return read_page(root)
