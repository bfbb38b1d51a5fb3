"""The workflow rebuilds what depends on a change, all of it, and nothing else: real runs."""

import os
import re
import shutil
from html import unescape
from pathlib import Path

import pandas as pd
import pytest

from scaling.errors import EXIT_BAD_INPUT
from scaling.record import file_md5, read_json
from scaling.training import checkpoint
from tests.conftest import MakeOnce
from tests.miniature import make_miniature, register, run

TINY, OTHER = "results/daily/tiny/20k.ckpt", "results/daily/other/6k.ckpt"
TRAIN_TINY, TRAIN_OTHER = "train daily/tiny 20k", "train daily/other 6k"
REPORT = "results/daily/tiny/report.html"
LAW = "results/daily/tiny/scaling_law.json"
PRICES = Path("data/raw/SPY.parquet")
TINY_CONFIG = Path("configs/daily/tiny.yaml")

# Stands in for heat or a batch system: the third step of the first try brings a signal.
STOPS_ONCE = """
import signal
import sys
from pathlib import Path
_real_step, _taken = optimiser_step, []
def optimiser_step(*arguments, **options):
    _taken.append(1)
    training = sys.argv[0].endswith("train.py")  # the batch-size search takes steps, too
    if training and len(_taken) == 3 and not Path("stopped").exists():
        Path("stopped").touch()
        signal.raise_signal(signal.SIGTERM)
    return _real_step(*arguments, **options)
"""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def trained(make_once: MakeOnce) -> Path:
    """A miniature with one checkpoint of each of its two experiments, made by the workflow."""
    return make_once("workflow", lambda root: run(make_miniature(root), "snakemake", TINY, OTHER))


@pytest.fixture(scope="module")
def reported(trained: Path, make_once: MakeOnce) -> Path:
    """A copy of it with a report of one experiment, of its two budgets and one seed."""

    def make(root: Path) -> None:
        shutil.copytree(trained, root, dirs_exist_ok=True)
        replace(root / "configs/full.yaml", "seeds: [42, 43]", "seeds: [42]")
        # In processes of their own: none of them relies on what another one has imported.
        run(root, "snakemake", REPORT, forked=False)

    return make_once("workflow-reported", make)


@pytest.fixture
def study(trained: Path, tmp_path: Path) -> Path:
    """A copy of the trained miniature, to be changed at will; file times stay."""
    return Path(shutil.copytree(trained, tmp_path / "study"))


@pytest.fixture
def with_report(reported: Path, tmp_path: Path) -> Path:
    """A copy of the one with a report."""
    return Path(shutil.copytree(reported, tmp_path / "study"))


@pytest.fixture
def without_memory(with_report: Path) -> Path:
    """The same without what Snakemake remembers of it."""
    shutil.rmtree(with_report / ".snakemake")
    return with_report


def jobs(output: str) -> set[str]:
    """Jobs in Snakemake's output: rule, experiment, and budget or run."""
    parts = re.split(r"^(?:local)?(?:rule|checkpoint) (\w+):$", output, flags=re.M)
    listed = set()
    for rule, body in zip(parts[1::2], parts[2::2], strict=True):
        wildcards = re.search(r"^    wildcards: (.*)$", body, re.M)
        values = re.findall(r"\w+=([^,\n]+)", wildcards[1]) if wildcards else []
        listed.add(" ".join([rule, *values]))
    return listed


def planned(study: Path, *targets: str) -> set[str]:
    """What the next `snakemake` would do."""
    done = run(study, "snakemake", "--dry-run", *(targets or (TINY, OTHER)))
    listed = jobs(done.stdout)
    assert listed or "Nothing to be done" in done.stdout + done.stderr
    return listed


def made(study: Path, *targets: str) -> set[str]:
    """What a real `snakemake` does."""
    done = run(study, "snakemake", *(targets or (TINY, OTHER)))
    return jobs(done.stdout + done.stderr)


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {path}"
    path.write_text(text.replace(old, new))


def change_one_close(study: Path) -> pd.DataFrame:
    prices = pd.read_parquet(study / PRICES)
    row = prices.index[700]
    prices.loc[row, "close"] = (prices.loc[row, "low"] + prices.loc[row, "high"]) / 2 + 0.001
    return prices


def refused(study: Path, *words: str) -> str:
    """What a `snakemake` prints that does not succeed."""
    done = run(study, "snakemake", *words, check=False)
    assert done.returncode
    return done.stdout + done.stderr


def trainings(listed: set[str]) -> set[str]:
    return {job for job in listed if job.startswith("train ")}


def test_the_chain_from_prices_to_checkpoint_completes(trained: Path) -> None:
    md5 = file_md5(trained / PRICES)
    for target in (TINY, OTHER):
        record = checkpoint.record_of(checkpoint.load(trained / target))
        assert record["identity"]["prices"] == md5
        beside = read_json((trained / target).with_suffix(".json"))
        assert beside["identity"] == record["identity"]
        assert md5 in (trained / target).with_name("data.md5").read_text()
    assert (trained / "logs/daily/tiny/20k.train.log").read_text().count("made ") == 1


def test_the_chain_goes_on_to_the_report(reported: Path) -> None:
    assert read_json(reported / "results/daily/tiny/scaling_law.json")["kind"]
    assert (reported / REPORT).stat().st_size > 1000
    assert planned(reported, REPORT) == set()


def test_another_run_does_nothing_and_touched_prices_train_nothing(study: Path) -> None:
    times = [(study / target).stat().st_mtime_ns for target in (TINY, OTHER)]
    assert planned(study) == set()
    assert made(study) == set()
    os.utime(study / PRICES)
    assert trainings(planned(study)) == set()
    assert trainings(made(study)) == set()
    assert times == [(study / target).stat().st_mtime_ns for target in (TINY, OTHER)]


def test_features_made_again_with_the_same_result_train_nothing(study: Path) -> None:
    command = study / "scaling/prepare.py"
    replace(command, '"kind": "features",', '"kind": "features", "remade": True,')
    assert any(job.startswith("features") for job in planned(study))
    before = (study / "data/processed/v1/SPY_features_a20.json").read_bytes()
    assert trainings(made(study)) == set()
    assert (study / "data/processed/v1/SPY_features_a20.json").read_bytes() != before


def test_one_changed_price_fails_at_the_manifest_and_its_return_trains_nothing(
    study: Path,
) -> None:
    original = (study / PRICES).read_bytes()
    registered = file_md5(study / PRICES)
    change_one_close(study).to_parquet(study / PRICES)
    altered = file_md5(study / PRICES)
    shown = refused(study, TINY)
    line = next(line for line in shown.splitlines() if line.startswith("error: "))
    for part in (str(PRICES), registered, altered, "git checkout", "scaling.fetch", "--replace"):
        assert part in line
    assert "Traceback" not in shown
    assert trainings(jobs(shown)) == set()
    assert (study / TINY).is_file()
    (study / PRICES).write_bytes(original)
    assert trainings(made(study)) == set()


def test_an_intended_change_once_registered_retrains_everything_that_depends_on_it(
    study: Path,
) -> None:
    register(study, change_one_close(study))
    assert trainings(made(study)) == {TRAIN_TINY, TRAIN_OTHER}
    for target in (TINY, OTHER):
        record = checkpoint.record_of(checkpoint.load(study / target))
        assert record["identity"]["prices"] == file_md5(study / PRICES)
    assert planned(study) == set()


def test_a_changed_learning_rate_retrains_one_experiment(study: Path) -> None:
    replace(study / TINY_CONFIG, "learning_rate: 0.001", "learning_rate: 0.002")
    assert planned(study) == {TRAIN_TINY}
    assert made(study) == {TRAIN_TINY}
    record = checkpoint.record_of(checkpoint.load(study / TINY))
    assert record["identity"]["settings"]["optimiser"]["learning_rate"] == 0.002


def test_two_settings_that_swap_their_values_retrain(study: Path) -> None:
    replace(study / TINY_CONFIG, "learning_rate: 0.001", "learning_rate: 0.01")
    replace(study / TINY_CONFIG, "weight_decay: 0.01", "weight_decay: 0.001")
    assert planned(study) == {TRAIN_TINY}


def test_a_changed_model_shape_retrains_that_budget(study: Path) -> None:
    replace(study / "configs/model/patchtst_6k.yaml", "ffn_dim: 50", "ffn_dim: 52")
    assert planned(study) == {TRAIN_OTHER, "find_batch_size daily/other 6k"}


def test_a_recipe_of_its_own_trains_that_size_again_and_searches_no_batch_size(study: Path) -> None:
    config = study / "configs/daily/other.yaml"
    config.write_text(config.read_text() + "recipes: {6k: {learning_rate: 0.0005}}\n")
    assert planned(study) == {TRAIN_OTHER}


# A line of the library, another in its place, and the jobs that this plans for the report.
CHANGES = {
    ("betas=(0.9, 0.95)", "betas=(0.9, 0.96)"): {"train", "evaluate", "fit_law", "report"},
    ("SMALLEST_LOGIT_SPREAD = 0.05", "SMALLEST_LOGIT_SPREAD = 0.06"): {
        "evaluate",
        "fit_law",
        "report",
    },
    ("LogisticRegression(C=penalty", "LogisticRegression(C=2 * penalty"): {
        "baselines",
        "fit_law",
        "report",
    },
    ('"svg.hashsalt"', '"svg.salt"'): {"report"},
}


def test_a_changed_definition_plans_what_depends_on_it_and_nothing_else(with_report: Path) -> None:
    sources = {path: path.read_text() for path in (with_report / "scaling").rglob("*.py")}
    trained = (" 6k", " 20k")
    of_each = {"train": trained, "evaluate": trained, "baselines": (" baselines",)}
    for change, listed in CHANGES.items():
        (module,) = [path for path, text in sources.items() if change[0] in text]
        module.write_text(sources[module].replace(*change))
        expected = {f"{job} daily/tiny{name}" for job in listed for name in of_each.get(job, ("",))}
        assert planned(with_report, REPORT) == expected, change
        module.write_text(sources[module])
    assert planned(with_report, REPORT) == set()


def test_the_page_of_a_single_size_is_refused_before_anything_is_trained(study: Path) -> None:
    (study / "configs/full.yaml").write_text(
        "experiments: [daily/tiny]\nbudgets: [6k]\nseeds: [42, 43]\n"
    )
    shown = refused(study, "--dry-run")
    assert "budgets: got 6k; allowed: two sizes or more" in shown
    assert "snakemake results/daily/threshold_1pct/2m.ckpt" in shown


TWO_AXES = """
experiments: [daily/tiny]
budgets: [6k]
seeds: [42, 43]
train_days: [300, all]
draw: [recent, blocks]
"""


def test_a_grid_of_days_plans_a_training_and_baselines_for_each_and_trains_them(
    study: Path,
) -> None:
    (study / "configs/full.yaml").write_text(TWO_AXES)
    names = ("", ".days300", ".blocks300")
    runs = {f"6k{days}{seed}" for days in names for seed in ("", ".seed43")}
    baselines = {f"baselines{days}" for days in names}
    assert planned(study, REPORT) == {
        *(f"{job} daily/tiny {name}" for job in ("train", "evaluate") for name in runs),
        *(f"baselines daily/tiny {name}" for name in baselines),
        *("find_batch_size daily/tiny 6k", "fit_law daily/tiny", "report daily/tiny"),
    }
    wanted = ("6k.days300", "6k.blocks300.seed43", "baselines.blocks300", "baselines")
    suffixes = ("eval.json", "eval.json", "json", "json")
    files = [f"results/daily/tiny/{n}.{s}" for n, s in zip(wanted, suffixes, strict=True)]
    run(study, "snakemake", *files)
    assert planned(study, *files) == set()
    recent, blocks = (read_json(study / f"results/daily/tiny/{n}.json") for n in wanted[:2])
    assert [made["identity"]["name"]["days"] for made in (recent, blocks)] == [
        {"train_days": 300, "draw": draw} for draw in ("recent", "blocks")
    ]
    drawn, whole = (read_json(study / f"results/daily/tiny/{name}.json") for name in wanted[2:])
    assert drawn["models"] != whole["models"]
    rows = pd.read_parquet(study / "results/daily/tiny/6k.blocks300.seed43.predictions.parquet")
    said = rows[["seed", "train_days", "draw", "counted_days"]].drop_duplicates()
    assert said.values.tolist() == [[43, "300", "blocks", 300]]
    # All of them are judged by one base rate, that of the whole block.
    assert len({made["train_base_rate"] for made in (recent, blocks, drawn, whole)}) == 1

    replace(study / "configs/full.yaml", "train_days: [300, all]", "train_days: [301, all]")
    assert planned(study, *files) == set()
    shown = refused(study, "-n", "results/daily/tiny/6k.days0300.ckpt")
    assert "6k.days0300: no name of a run" in shown


def test_a_budget_with_a_single_seed_is_planned_judged_and_reported_with_one(study: Path) -> None:
    with (study / "configs/full.yaml").open("a") as grid:
        grid.write("fewer_seeds: {20k: 1}\n")
    runs = ("6k", "6k.seed43", "20k")
    assert {job for job in planned(study, REPORT) if job.startswith("evaluate")} == {
        f"evaluate daily/tiny {name}" for name in runs
    }
    run(study, "snakemake", REPORT)
    law = read_json(study / "results/daily/tiny/scaling_law.json")
    cells = law["ladder"]["cells"]
    assert {cell["budget"]: cell["seeds"] for cell in cells} == {"6k": [42, 43], "20k": [42]}
    assert law["ladder"]["axes"]["parameters"]["verdict"] == "inconclusive"
    assert "one seed only for 20k" in (study / REPORT).read_text()


def test_a_grid_that_is_given_replaces_the_default_one_whole(study: Path) -> None:
    with (study / "configs/full.yaml").open("a") as default:
        default.write("train_days: [300, all]\nfewer_seeds: {20k: 1}\n")
    (study / "mine.yaml").write_text(
        "experiments: [daily/tiny]\nbudgets: [6k, 20k]\nseeds: [42, 43]\n"
    )
    listed = planned(study, REPORT, "--configfile", "mine.yaml")
    runs = ("6k", "6k.seed43", "20k", "20k.seed43")
    assert {job for job in listed if job.startswith("evaluate")} == {
        f"evaluate daily/tiny {name}" for name in runs
    }


def test_a_grid_of_days_ends_in_a_page_that_answers_both_questions(study: Path) -> None:
    (study / "configs/full.yaml").write_text(
        "experiments: [daily/tiny]\nbudgets: [6k, 20k]\nseeds: [42]\ntrain_days: [300, all]\n"
    )
    run(study, "snakemake")
    surfaces = read_json(study / "results/daily/tiny/scaling_law.json")["surfaces"]
    assert list(surfaces) == ["recent"]
    assert surfaces["recent"]["sentence"] in unescape((study / REPORT).read_text())
    drawn = {path.stem for path in (study / "results/daily/tiny/figures").iterdir()}
    assert {"ladder", "two_axes", "loss_by_size", "skill_map"} <= drawn
    assert not drawn & {"ensembles", "draws"}
    assert planned(study) == set()


def test_without_snakemakes_memory_what_is_outdated_is_made_again_and_the_plan_says_why(
    without_memory: Path,
) -> None:
    study = without_memory
    assert planned(study, REPORT) == set()
    replace(study / "scaling/judging/checks.py", "LOGIT_SPREAD = 0.05", "LOGIT_SPREAD = 0.06")
    replace(study / TINY_CONFIG, "bootstrap_samples: 200", "bootstrap_samples: 300")
    done = run(study, "snakemake", "--dry-run", REPORT)
    assert jobs(done.stdout) == {
        *("evaluate daily/tiny 6k", "evaluate daily/tiny 20k"),
        *("fit_law daily/tiny", "report daily/tiny"),
    }
    for line in ("6k.eval.json: code is ", "law.bootstrap_samples is 200, not 300"):
        assert line in done.stderr
    assert done.stderr.count("made again: results/daily/tiny/") == 3


def test_without_snakemakes_memory_an_old_model_never_passes_for_the_one_of_a_changed_config(
    without_memory: Path,
) -> None:
    study = without_memory
    replace(study / TINY_CONFIG, "learning_rate: 0.001", "learning_rate: 0.002")
    target = "results/daily/tiny/6k.eval.json"
    assert made(study, target) == {"train daily/tiny 6k", "evaluate daily/tiny 6k"}
    for suffix in ("json", "eval.json"):
        found = read_json(study / f"results/daily/tiny/6k.{suffix}")["identity"]
        assert found["settings"]["optimiser"]["learning_rate"] == 0.002
    assert planned(study, target) == set()
    # Its law by hand is refused as long as the other size is the old one.
    shown = refused(study, "--allowed-rules", "fit_law", "--force", LAW)
    assert "20k.ckpt: optimiser.learning_rate is 0.001, not 0.002; train again" in shown
    assert "Traceback" not in shown


def test_what_no_weight_depends_on_retrains_nothing(study: Path) -> None:
    replace(study / TINY_CONFIG, "mlflow: false", "mlflow: true, wandb_project: another")
    for path, added in (
        ("scaling/figures/plots.py", "\nprint()\n"),
        ("scaling/machine/guard.py", "\nprint()\n"),
        ("scaling/tracking/local.py", "\nprint()\n"),
        (TINY_CONFIG, "thermal: {critical: 93.0}\ncheckpoint_minutes: 3.0\n"),
    ):
        assert (study / path).is_file()
        with (study / path).open("a") as stream:
            stream.write(added)
    assert planned(study) == set()


@pytest.mark.parametrize(
    ("path", "old", "new", "complaint"),
    [
        (str(TINY_CONFIG), "learning_rate: 0.001", "learning_rat: 0.001", "`learning_rate`?"),
        ("configs/model/patchtst_6k.yaml", "heads: 2", "heads: 3", "heads 3 does not divide"),
        ("configs/full.yaml", "budgets: [6k, 20k]", "budgets: [5m]", "family patchtst: 6k, 20k"),
        ("configs/full.yaml", "daily/other", "daily/none", "daily/none.yaml: no such file"),
    ],
)
def test_a_broken_config_is_one_line_and_exit_code_2(
    study: Path, path: str, old: str, new: str, complaint: str
) -> None:
    replace(study / path, old, new)
    failed = run(study, "snakemake", "--dry-run", TINY, check=False)
    assert failed.returncode == EXIT_BAD_INPUT
    shown = failed.stdout + failed.stderr
    assert "Traceback" not in shown
    # Python's own warnings, which `environment` lets through, are no part of the message.
    lines = [line for line in shown.splitlines() if "error" in line.lower()]
    assert len(lines) == 1
    assert lines[0].startswith("error: ") and complaint in lines[0]


def test_a_run_named_with_the_configs_own_seed_is_refused_with_its_right_name(study: Path) -> None:
    shown = refused(study, "results/daily/tiny/20k.seed42.ckpt")
    assert "20k.seed42: seed 42 is the config's own; its run is named `20k`" in shown


def test_planning_the_whole_grid_imports_no_torch(study: Path) -> None:
    command = ("python", "-X", "importtime", "-m", "snakemake", "--dry-run")
    done = run(study, *command, "results/daily/tiny/scaling_law.json")
    imported = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines()}
    assert "scaling.config" in imported
    assert not {name for name in imported if name.split(".")[0] in ("torch", "transformers")}
    assert len(trainings(jobs(done.stdout))) == 3


def test_a_stopped_training_is_retried_goes_on_and_keeps_its_log(study: Path) -> None:
    with (study / "scaling/training/trainer.py").open("a") as stream:
        stream.write(STOPS_ONCE)
    target = "results/daily/tiny/6k.ckpt"
    at_once = ("--set-resources", "train:cool_down=0", "--", target)
    assert "train daily/tiny 6k" in made(study, "--cores", "1", *at_once)
    log = (study / "logs/daily/tiny/6k.train.history").read_text()
    assert "stopped: SIGTERM; the same command resumes at step 3" in log
    assert "resumed at step 3 of 50" in log
    assert log.splitlines()[-2].split(" ", 2)[2].startswith(f"made {target}")
