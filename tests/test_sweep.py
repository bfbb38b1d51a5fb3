"""The sweep: the same random recipes at every size, and no finding that is luck."""

import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scaling.config import load_config
from scaling.errors import EXIT_BAD_INPUT, EXIT_STOPPED
from scaling.record import read_json, write_json
from scaling.sizes import load_model_config
from scaling.training import search
from scaling.training.search import FACTORS, HIGHEST_DROPOUT, SEEDS, compared, drawn, own_settings
from scaling.training.trainer import Stopped
from tests.miniature import build_features, make_miniature, run, run_here

CONFIG = load_config("configs/daily/threshold_1pct.yaml")
OWN = own_settings(CONFIG, load_model_config("200k"))


def test_the_experiments_own_recipe_is_the_first_and_the_others_lie_within_the_bounds() -> None:
    own, *others = drawn(OWN)
    assert own == OWN
    assert len({str(settings) for settings in others}) == len(others) == 12
    for settings in others:
        assert 0 <= settings.dropout <= HIGHEST_DROPOUT
        for name, (low, high) in FACTORS.items():
            ratio = asdict(settings)[name] / asdict(OWN)[name]
            assert 0.99 * low <= ratio <= 1.01 * high


def test_every_size_has_the_same_recipes() -> None:
    assert drawn(OWN) == drawn(own_settings(CONFIG, load_model_config("20m")))


def test_more_recipes_begin_with_the_same_ones() -> None:
    assert drawn(OWN, 20)[:13] == drawn(OWN)


def test_another_experiment_has_its_own_recipe_first_and_the_same_multiples_of_it() -> None:
    twice = drawn(replace(OWN, learning_rate=2 * OWN.learning_rate))
    for one, other in zip(drawn(OWN), twice, strict=True):
        assert other.learning_rate == pytest.approx(2 * one.learning_rate, rel=0.02)


def test_a_recipe_that_is_better_with_every_seed_holds() -> None:
    losses = np.array([[0.40, 0.41, 0.42, 0.43], [0.39, 0.4001, 0.41, 0.4199], [0.5] * 4])
    found = compared(losses)
    assert (found["best"], found["holds"]) == (1, True)
    assert found["gain"] == pytest.approx(0.01, abs=1e-4)


def test_the_lowest_of_many_recipes_that_are_all_alike_holds_as_rarely_as_stated() -> None:
    generator = np.random.default_rng(0)
    worlds = (generator.normal(0.4, 0.003, (13, 4)) for _ in range(1000))
    assert sum(compared(world)["holds"] for world in worlds) <= 50


def test_where_the_own_recipe_is_the_best_nothing_is_gained() -> None:
    found = compared(np.array([[0.39, 0.40, 0.39], [0.41, 0.40, 0.42]]))
    assert (found["best"], found["gain"], found["holds"]) == (0, 0.0, False)


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A miniature of one epoch with features, and the micro-batch that a search would find."""
    directory = make_miniature(tmp_path)
    config = directory / "configs/daily/tiny.yaml"
    config.write_text(config.read_text().replace("epochs: 2", "epochs: 1"))
    build_features(directory)
    write_json(directory / "found.json", {"micro_batch": 32})
    return directory


ASKED = ("--config", "configs/daily/tiny.yaml", "--param-budget", "6k", "--train-days", "300")
FILES = ("--batch-size", "found.json", "--output", "x.sweep.json")


def test_a_sweep_that_was_stopped_trains_only_what_is_missing(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "drawn", lambda own: drawn(own, 1))
    real, taken = search.trial, []

    def stopping(*given: Any) -> Any:
        taken.append(1)
        if len(taken) > 5:
            raise Stopped("asked to", 0)
        return real(*given)

    with monkeypatch.context() as patch:
        patch.setattr(search, "trial", stopping)
        assert run_here(study, "sweep", *ASKED, *FILES, check=False).returncode == EXIT_STOPPED
    printed = run_here(study, "sweep", *ASKED, *FILES).stdout
    sweep = read_json(study / "x.sweep.json")
    assert printed.count(", seed ") == len(sweep["recipes"]) * len(SEEDS) - 5
    assert sweep["identity"]["name"]["days"]["train_days"] == 300
    assert all(len(recipe["val_log_losses"]) == len(SEEDS) for recipe in sweep["recipes"])
    means = [np.mean(recipe["val_log_losses"]) for recipe in sweep["recipes"]]
    assert sweep["best"] == int(np.argmin(means))
    assert not list(study.glob("*.trials"))


@pytest.mark.parametrize(
    ("was", "is_", "message"),
    [
        ("seed: 42", "seed: 1001", "seed: got 1001, which sweeps use"),
        ("weight_decay: 0.01", "weight_decay: 0.0", "weight_decay: got 0, of which nothing"),
    ],
)
def test_a_study_that_a_sweep_cannot_start_from_is_refused_before_any_training(
    study: Path, was: str, is_: str, message: str
) -> None:
    config = study / "configs/daily/tiny.yaml"
    config.write_text(config.read_text().replace(was, is_))
    done = run_here(study, "sweep", *ASKED, *FILES, check=False)
    assert done.returncode == EXIT_BAD_INPUT
    assert message in done.stderr


@pytest.mark.slow
def test_the_report_takes_the_sweeps_and_controls_that_exist_and_builds_none(
    tmp_path: Path,
) -> None:
    directory = make_miniature(tmp_path)
    dry_run = ("snakemake", "--dry-run", "--printshellcmds", "results/daily/tiny/report.html")
    results = directory / "results/daily/tiny"
    before = run(directory, *dry_run).stdout
    assert "scaling.report" in before
    results.mkdir(parents=True)
    for name in ("6k.sweep.json", "20k.shuffled.json"):
        assert name not in before
        # Older than all that it depends on, and made by no rule: an input would be made again.
        (results / name).write_text("{}")
        os.utime(results / name, (0, 0))
    after = run(directory, *dry_run).stdout
    assert (
        "--sweeps results/daily/tiny/6k.sweep.json --controls results/daily/tiny/20k.shuffled.json"
        " --ages  --figures" in after
    )
    for output in (before, after):
        assert "scaling.sweep" not in output
        assert "scaling.shuffled_control" not in output
