"""The report says what the artefacts say, failures first, and stands alone."""

import json
import re
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest

from scaling import report
from scaling.errors import UserError
from scaling.figures import plots
from scaling.figures.page import FIGURES
from scaling.judging import checks, law
from scaling.judging.ladder import read_ladder
from scaling.metrics import fit_recalibration, score
from scaling.record import file_md5, provenance, read_json, write_json, write_parquet

RUNS = {"200k": 201_000, "600k": 598_000, "2m": 2_010_000}
SEEDS = (42, 43)
STUDY = {
    "experiment": "daily/planted",
    "label_hash": "ab12",
    "data_md5": "d0",
    "features_md5": "f0",
}
BASE_RATE = 0.15
CONFIG = {
    "task": {"threshold": 0.01, "horizon": 1},
    "window": {"context_length": 64, "patch_length": 8, "warmup": 63},
    "splits": {
        "train": ["1993-01-29", "2011-12-30"],
        "validation": ["2012-01-02", "2013-11-29"],
        "test": ["2013-12-02", "2015-10-30"],
    },
    "optimiser": {"learning_rate": 1e-3, "epochs": 5},
}
MODEL = {"d_model": 32, "learning_rate_multiplier": 1.0}


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


def make_artefacts(root: Path, days: int = 500) -> list[str]:
    """A whole study's files under `root`, made of planted forecasts; returns the report's flags."""
    rng = np.random.default_rng(0)
    dates = pd.bdate_range("2012-01-02", periods=2 * days)
    signal = rng.normal(size=2 * days)
    y = (rng.random(2 * days) < 1 / (1 + np.exp(2.2 - 1.2 * signal))).astype(np.int8)
    split = np.repeat(["validation", "test"], days)

    def forecast(quality: float) -> np.ndarray:
        noise = rng.normal(size=2 * days) * (1 - quality)
        return np.asarray(1 / (1 + np.exp(2.2 - 1.2 * quality * signal - 0.4 * noise)))

    drift = checks.drift_table(
        {name: rng.normal(size=(300, 4)) for name in ("train", "validation", "test")},
        ("rsi_14", "sma_200", "log_atr_14", "obv_change_20"),
    )
    flags: dict[str, list[Path]] = {"records": [], "evaluations": [], "predictions": []}
    networks = []
    for quality, (budget, parameters) in zip((0.5, 0.7, 0.8), RUNS.items(), strict=True):
        for seed in SEEDS:
            run = budget if seed == 42 else f"{budget}.seed{seed}"
            rows = pd.DataFrame({"date": dates, "split": split, "y": y, "p": forecast(quality)})
            identity = {"budget": budget, "parameters": parameters, "seed": seed}
            frame = rows.assign(**identity)
            frame = pd.concat([frame.assign(weights=w) for w in ("best", "last")])
            networks.append(frame)
            write_parquet(root / f"{run}.predictions.parquet", frame)
            metrics = judged(rows)
            loss = metrics["validation"]["log_loss"]
            evaluation = {
                **STUDY,
                **identity,
                "run": run,
                "metrics": {"best": metrics, "last": metrics},
                "checks": [
                    checks.counted_parameters(budget, parameters),
                    checks.no_gross_drift(drift),
                    checks.train_evaluate_parity(
                        loss, y[split == "validation"], rows["p"][split == "validation"], "fp32"
                    ),
                    checks.predictions_vary(rows["p"][split == "test"]),
                ],
                "drift": drift,
                **provenance(),
            }
            write_json(root / f"{run}.eval.json", evaluation)
            epochs = [
                {
                    "epoch": e,
                    "train_loss": loss + 0.1 / e,
                    "val_log_loss": loss + 0.05 * (4 - e) ** 2,
                }
                for e in range(1, 6)
            ]
            record = {
                **STUDY,
                **identity,
                "run": run,
                "config": CONFIG,
                "model": MODEL,
                "flops": 6e10 * parameters * (1 + 0.1 * (seed - 42)),
                "seconds": parameters / 1000,
                "best_epoch": 4,
                "epochs": epochs,
                "code_digest": "c0de",
                "device_name": "a <fast> CPU & more",
                "precision": "fp32",
                **provenance(),
            }
            write_json(root / f"{run}.json", record)
            for flag, suffix in zip(
                flags, ("json", "eval.json", "predictions.parquet"), strict=True
            ):
                flags[flag].append(root / f"{run}.{suffix}")
    judges = {"base_rate": np.full(2 * days, BASE_RATE), "logistic_regression": forecast(0.85)}
    baselines = pd.concat(
        pd.DataFrame({"model": name, "date": dates, "split": split, "y": y, "p": p})
        for name, p in judges.items()
    )
    write_parquet(root / "baselines.predictions.parquet", baselines)
    models = {str(name): judged(rows) for name, rows in baselines.groupby("model", sort=False)}
    write_json(root / "baselines.json", {**STUDY, "models": models})
    ladder = read_ladder(pd.concat(networks), baselines)
    files = [*flags["predictions"], root / "baselines.predictions.parquet"]
    result = law.fit_law(ladder, horizon=1, delta=0.01, samples=200)
    inputs = {str(path): file_md5(path) for path in files}
    written = {**result, "experiment": STUDY["experiment"], "inputs": inputs, **provenance()}
    write_json(root / "scaling_law.json", written)
    return [
        *("--law", str(root / "scaling_law.json")),
        *(word for flag, paths in flags.items() for word in (f"--{flag}", *map(str, paths))),
        *("--baselines", str(root / "baselines.predictions.parquet")),
        *("--baselines-record", str(root / "baselines.json")),
        *("--figures", str(root / "figures")),
        *("--output", str(root / "report.html")),
    ]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    root = tmp_path_factory.mktemp("report")
    flags = make_artefacts(root)
    report.main(flags)
    return root, flags


@pytest.fixture
def study(made: tuple[Path, list[str]], tmp_path: Path) -> tuple[Path, list[str]]:
    """A copy that a test may spoil."""
    root, flags = made
    shutil.copytree(root, tmp_path / "copy")
    return tmp_path / "copy", [word.replace(str(root), str(tmp_path / "copy")) for word in flags]


def change(path: Path, **values: Any) -> None:
    write_json(path, {**read_json(path), **values})


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


def read(root: Path) -> Page:
    return Page((root / "report.html").read_text())


def test_the_verdict_and_its_sentence_stand_before_any_figure(made: tuple[Path, list[str]]) -> None:
    page, found = read(made[0]), read_json(made[0] / "scaling_law.json")
    assert page.ids.index("verdict") < page.ids.index("ladder")
    assert page.text.index(found["verdict"]) < page.text.index("Test log-loss skill against")
    assert found["sentence"] in page.text


def test_a_sound_study_shows_no_failure(made: tuple[Path, list[str]]) -> None:
    page = read(made[0])
    assert "failed" not in page.ids
    assert "FAILED" not in page.text


def test_a_failed_check_of_one_run_is_marked_before_the_verdict(
    study: tuple[Path, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    root, flags = study
    path = root / "600k.seed43.eval.json"
    spoilt = [checks.counted_parameters("600k", 230_000), *read_json(path)["checks"][1:]]
    change(path, checks=spoilt)
    report.main(flags)
    page = read(root)
    assert page.ids.index("failed") < page.ids.index("verdict")
    assert page.text.index("230,000 counted") < page.text.index(
        read_json(root / "scaling_law.json")["sentence"]
    )
    assert "600k.seed43" in page.text[: page.text.index("230,000 counted")]
    assert f"{read_json(root / 'scaling_law.json')['verdict']} (void" in page.text
    assert "CHECKS FAILED: parameters match the budget" in capsys.readouterr().out


def test_every_figure_is_on_the_page_and_in_the_folder(made: tuple[Path, list[str]]) -> None:
    page = read(made[0])
    assert page.tags.count("svg") == len(FIGURES)
    for name in FIGURES:
        assert name in page.ids
        root = ElementTree.parse(made[0] / "figures" / f"{name}.svg").getroot()
        assert root.tag.endswith("svg")


def test_figure_files_are_dark_on_white_and_the_pages_take_its_own_colours(
    made: tuple[Path, list[str]],
) -> None:
    figure = (made[0] / "figures" / "ladder.svg").read_text()
    assert "fill: white" in figure
    assert plots.INK not in figure
    assert plots.PAPER not in figure
    content = (made[0] / "report.html").read_text()
    assert "fill: white" not in content
    assert "currentColor" in content


def test_the_page_names_no_address_outside_itself(made: tuple[Path, list[str]]) -> None:
    content = (made[0] / "report.html").read_text()
    page = Page(content)
    assert all(address.startswith(("#", "data:")) for address in page.addresses)
    assert "script" not in page.tags
    assert not re.findall(r"@import|url\((?!#|[\"']?#)", content)


def test_no_id_stands_twice_or_the_figures_would_clip_each_other(
    made: tuple[Path, list[str]],
) -> None:
    svg_ids = [i for i in read(made[0]).ids if re.fullmatch(r"[mp][0-9a-f]{10}", i)]
    assert svg_ids
    assert len(svg_ids) == len(set(svg_ids))


def test_the_page_is_well_formed_and_has_a_dark_and_a_paper_form(
    made: tuple[Path, list[str]],
) -> None:
    content = (made[0] / "report.html").read_text()
    assert not Page(content).open
    assert "prefers-color-scheme: dark" in content
    assert "@media print" in content
    assert plots.INK not in content  # the figures' ink and paper are the page's
    assert plots.PAPER not in content


def test_names_from_files_cannot_become_markup(made: tuple[Path, list[str]]) -> None:
    assert "a <fast> CPU & more" in read(made[0]).text
    assert "<fast>" not in (made[0] / "report.html").read_text()


def test_equal_artefacts_give_equal_bytes(study: tuple[Path, list[str]]) -> None:
    root, flags = study
    before = {p: p.read_bytes() for p in [root / "report.html", *root.glob("figures/*.svg")]}
    report.main(flags)
    assert {path: path.read_bytes() for path in before} == before


def test_the_table_shows_counted_parameters_not_labels(made: tuple[Path, list[str]]) -> None:
    for parameters in RUNS.values():
        assert f"{parameters:,}" in read(made[0]).text


@pytest.mark.parametrize("key", ["label_hash", "data_md5", "features_md5", "experiment"])
@pytest.mark.parametrize("name", ["2m.json", "2m.eval.json", "baselines.json"])
def test_files_of_two_studies_are_refused(
    study: tuple[Path, list[str]], key: str, name: str
) -> None:
    root, flags = study
    change(root / name, **{key: "another"})
    with pytest.raises(UserError, match=f"not of one study: {key}"):
        report.main(flags)


def test_predictions_that_the_law_was_not_fitted_to_are_refused(
    study: tuple[Path, list[str]],
) -> None:
    root, flags = study
    path = root / "2m.predictions.parquet"
    write_parquet(path, pd.read_parquet(path).assign(p=0.5))
    with pytest.raises(UserError, match="the law was not fitted to this file"):
        report.main(flags)


def test_a_run_that_the_law_knows_and_the_report_does_not_get_is_refused(
    study: tuple[Path, list[str]],
) -> None:
    root, flags = study
    flags.remove(str(root / "2m.eval.json"))
    with pytest.raises(UserError, match="--evaluations and the law.*2m seed 42"):
        report.main(flags)


def write_sweep(root: Path, budget: str, losses: dict[float, float], **values: Any) -> str:
    best = min(losses, key=lambda multiplier: losses[multiplier])
    sweep = {
        "kind": "sweep",
        "budget": budget,
        "training": {**CONFIG, "seed": 1000, "precision": "bf16"},
        "model": MODEL,
        "seed": 1000,
        "learning_rate": 1e-3,
        "trials": [{"multiplier": m, "val_log_loss": losses[m]} for m in sorted(losses)],
        "best_multiplier": best,
        "interior": min(losses) < best < max(losses),
        "data_md5": STUDY["data_md5"],
        "label_hash": STUDY["label_hash"],
    }
    write_json(root / f"{budget}.sweep.json", {**sweep, **values})
    return str(root / f"{budget}.sweep.json")


VALLEY = {0.5: 0.42, 1.0: 0.41, 2.0: 0.40, 4.0: 0.43}
FALLING = {0.5: 0.42, 1.0: 0.41, 2.0: 0.40}


def test_a_sweep_is_drawn_and_its_best_rate_said_beside_the_rate_that_was_trained(
    study: tuple[Path, list[str]],
) -> None:
    root, flags = study
    swept = [write_sweep(root, "2m", FALLING), write_sweep(root, "200k", VALLEY)]
    report.main([*flags, "--sweeps", *swept])
    page = read(root)
    assert "sweeps" in page.ids
    assert (root / "figures/sweeps.svg").is_file()
    assert (
        "200k: best at 0.002 of 4 tried, worse on both sides; the ladder trained it at 0.001. "
        "2m: best at 0.002 of 3 tried, at the edge of what was tried, so not a minimum yet; "
        "the ladder trained it at 0.001." in page.text
    )


def test_a_report_without_sweeps_has_no_place_for_them_and_leaves_no_old_figure(
    study: tuple[Path, list[str]],
) -> None:
    root, flags = study
    without = (root / "report.html").read_bytes()
    report.main([*flags, "--sweeps", write_sweep(root, "2m", VALLEY)])
    assert (root / "report.html").read_bytes() != without
    report.main([*flags, "--sweeps"])
    assert "sweeps" not in read(root).ids
    assert "Learning rates" not in read(root).text
    assert not (root / "figures/sweeps.svg").exists()


def test_the_sweep_figure_has_rates_on_a_log_axis_and_marks_an_edge_otherwise(
    tmp_path: Path,
) -> None:
    paths = [write_sweep(tmp_path, "200k", VALLEY), write_sweep(tmp_path, "2m", FALLING)]
    (axes,) = plots.sweeps([read_json(path) for path in paths]).axes
    valley, ring, falling, star = axes.get_lines()
    assert axes.get_xscale() == "log"
    assert list(valley.get_xdata()) == pytest.approx([5e-4, 1e-3, 2e-3, 4e-3])
    assert list(valley.get_ydata()) == list(VALLEY.values())
    assert (valley.get_label(), falling.get_label()) == ("200k", "2m")
    for mark, shape in ((ring, "o"), (star, "*")):
        assert mark.get_marker() == shape
        assert [*mark.get_xdata(), *mark.get_ydata()] == pytest.approx([2e-3, 0.40])


def test_a_sweep_still_counts_when_its_advice_was_followed(
    study: tuple[Path, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    root, flags = study
    for run in ("2m", "2m.seed43"):
        change(root / f"{run}.json", model={**MODEL, "learning_rate_multiplier": 2.0})
    report.main([*flags, "--sweeps", write_sweep(root, "2m", VALLEY)])
    assert "the ladder trained it at 0.002." in read(root).text
    assert "left out" not in capsys.readouterr().out


def otherwise(section: str, **values: Any) -> dict[str, Any]:
    return {"training": {**CONFIG, section: {**CONFIG[section], **values}}}


AGAIN = "make it again: snakemake --force results/daily/planted/2m.sweep.json"


@pytest.mark.parametrize(
    ("budget", "values", "message"),
    [
        ("2m", {"data_md5": "old"}, f"data_md5 is old, the ladder's is d0; {AGAIN}"),
        ("2m", {"label_hash": "other"}, f"label_hash is other, the ladder's is ab12; {AGAIN}"),
        ("2m", otherwise("task", horizon=5), f"task.horizon is 5, the ladder's is 1; {AGAIN}"),
        ("2m", otherwise("window", warmup=70), "window.warmup is 70, the ladder's is 63"),
        ("2m", otherwise("splits", test=["2014", "2015"]), "splits.test is ['2014', '2015']"),
        ("2m", otherwise("optimiser", epochs=9), "optimiser.epochs is 9, the ladder's is 5"),
        ("2m", {"model": {**MODEL, "d_model": 64}}, "model.d_model is 64, the ladder's is 32"),
        ("2m", {"kind": "train"}, "it is no sweep; give one, or none"),
        ("20m", {}, "it is of 20m, the ladder has 200k, 600k, 2m; drop it from the command"),
    ],
)
def test_a_sweep_of_another_study_is_left_out_in_one_line_and_spoils_nothing(
    study: tuple[Path, list[str]],
    capsys: pytest.CaptureFixture[str],
    budget: str,
    values: dict[str, Any],
    message: str,
) -> None:
    root, flags = study
    odd = write_sweep(root, budget, VALLEY, **values)
    report.main([*flags, "--sweeps", odd, write_sweep(root, "200k", VALLEY)])
    line = f"{odd} is left out: {message}"
    (said,) = [said for said in capsys.readouterr().out.splitlines() if "left out" in said]
    assert said.startswith(line)
    page = read(root)
    assert said in page.text
    assert "200k: best at 0.002" in page.text
    assert f"{budget}: best at" not in page.text
    assert "failed" not in page.ids


def test_a_sweep_that_does_not_say_what_was_trained_is_left_out(
    study: tuple[Path, list[str]],
) -> None:
    root, flags = study
    path = Path(write_sweep(root, "2m", VALLEY))
    old = {k: v for k, v in read_json(path).items() if k not in ("training", "model")}
    write_json(path, old)
    report.main([*flags, "--sweeps", str(path)])
    assert f"does not say what was trained, as older ones do not; {AGAIN}" in read(root).text
    assert "sweeps" not in read(root).ids


def test_of_two_sweeps_of_one_budget_the_second_is_left_out(
    study: tuple[Path, list[str]],
) -> None:
    root, flags = study
    path = write_sweep(root, "2m", VALLEY)
    (root / "again").mkdir()
    report.main([*flags, "--sweeps", path, write_sweep(root / "again", "2m", FALLING)])
    assert "left out: another sweep of 2m stands before it" in read(root).text
    assert "2m: best at 0.002 of 4 tried" in read(root).text


LEAKS, SOUND = [0.30, 0.31, 0.29], [-0.02, 0.01, -0.01]


def write_control(root: Path, budget: str, skills: list[float], **values: Any) -> str:
    control = {
        "kind": "shuffled control",
        "budget": budget,
        "training": {**CONFIG, "precision": "bf16"},
        "model": MODEL,
        "check": checks.shuffled_labels_teach_nothing(skills),
        **STUDY,
        "training_code_digest": "c0de",
    }
    write_json(root / f"{budget}.shuffled.json", {**control, **values})
    return str(root / f"{budget}.shuffled.json")


def test_a_control_that_learns_from_shuffled_labels_voids_the_verdict_in_the_first_lines(
    study: tuple[Path, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    root, flags = study
    given = [write_control(root, "200k", SOUND), write_control(root, "2m", LEAKS)]
    report.main([*flags, "--controls", *given])
    page, found = read(root), read_json(root / "scaling_law.json")
    assert page.ids.index("failed") < page.ids.index("verdict")
    assert page.text.index("mean skill 30.00 %") < page.text.index(found["sentence"])
    assert "shuffled labels teach nothing (2m shuffled)" in page.text
    assert f"{found['verdict']} (void" in page.text
    assert "CHECKS FAILED: shuffled labels teach nothing" in capsys.readouterr().out


def test_a_control_without_skill_is_one_more_check_that_passed(
    made: tuple[Path, list[str]], study: tuple[Path, list[str]]
) -> None:
    root, flags = study
    assert "shuffled labels" not in read(made[0]).text
    assert "4 of 4 validity checks passed" in read(made[0]).text
    report.main([*flags, "--controls", write_control(root, "200k", SOUND)])
    assert "5 of 5 validity checks passed" in read(root).text
    assert "shuffled labels teach nothing passed" in read(root).text
    assert "failed" not in read(root).ids


@pytest.mark.parametrize("skills", [LEAKS, SOUND], ids=["leaks", "sound"])
@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"data_md5": "old"}, "data_md5 is old"),
        ({"features_md5": "old"}, "features_md5 is old"),
        (otherwise("optimiser", epochs=9), "optimiser.epochs is 9"),
        ({"training_code_digest": "before"}, "training code is before, the ladder's is c0de"),
        ({"kind": "sweep"}, "it is no shuffled control"),
    ],
)
def test_a_control_of_another_study_vouches_for_nothing_and_that_is_said(
    study: tuple[Path, list[str]], skills: list[float], values: dict[str, Any], message: str
) -> None:
    root, flags = study
    path = write_control(root, "2m", skills, **values)
    report.main([*flags, "--controls", path])
    page = read(root)
    assert f"{path} is left out: {message}" in page.text
    assert page.ids.index("left-out") < page.ids.index("ladder")
    assert "4 of 4 validity checks passed" in page.text


class Visit(NamedTuple):
    """What a browser made of a page: its elements, its complaints, the hosts it asked for."""

    page: Page
    console: list[str]
    hosts: set[str]


def visit(path: Path, profile: Path) -> Visit:
    """Open a file in headless Chromium, with every request recorded and none let out."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("no Chromium here; install it with: apt-get install chromium")
    net_log = profile / "net.json"
    done = subprocess.run(
        [
            *(chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
            *("--disable-background-networking", "--disable-component-update", "--no-first-run"),
            *("--host-resolver-rules=MAP * ~NOTFOUND", "--enable-logging=stderr"),
            *(f"--user-data-dir={profile}", f"--log-net-log={net_log}", "--dump-dom"),
            path.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    events = json.loads(net_log.read_text())["events"]
    urls = [str(event.get("params", {}).get("url", "")) for event in events]
    return Visit(
        Page(done.stdout),
        [line for line in done.stderr.splitlines() if "CONSOLE" in line],
        {url.split("/")[2] for url in urls if re.match("(https?|wss?|ftp)://", url)},
    )


# Chromium asks its maker for the time, dictionaries and accounts whatever page is open.
BROWSERS_OWN = re.compile(r"(.*\.)?(google|googleapis|gvt1|gstatic)\.com")


def asked_by_the_page(seen: Visit) -> set[str]:
    return {host for host in seen.hosts if not BROWSERS_OWN.fullmatch(host)}


@pytest.mark.browser
def test_a_browser_shows_verdict_and_figures_without_errors_or_requests(
    made: tuple[Path, list[str]], tmp_path: Path
) -> None:
    seen = visit(made[0] / "report.html", tmp_path)
    assert "verdict" in seen.page.ids
    assert "failed" not in seen.page.ids
    assert seen.page.tags.count("svg") == len(FIGURES)
    assert not seen.console
    assert not asked_by_the_page(seen)


@pytest.mark.browser
def test_the_browser_test_would_see_a_request_and_an_error(tmp_path: Path) -> None:
    planted = tmp_path / "planted.html"
    planted.write_text("<img src='https://fonts.example/a.png'><script>throw Error('x')</script>")
    seen = visit(planted, tmp_path)
    assert asked_by_the_page(seen) == {"fonts.example"}
    assert seen.console
