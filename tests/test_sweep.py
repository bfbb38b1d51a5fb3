"""The sweep: no minimum is claimed that has an untried neighbour, and the study's seed is kept."""

import json
import os
from pathlib import Path

import pytest

from scaling.config import load_config
from scaling.errors import UserError
from scaling.sizes import MULTIPLIERS, PatchTSTShape, load_model_config
from scaling.training.recipe import recipe_of
from scaling.training.sweep import (
    START,
    Place,
    best_of,
    confirmed,
    holds,
    multipliers,
    search,
    settled,
)
from tests.miniature import make_miniature, run

CONFIG = load_config("configs/daily/threshold_1pct.yaml")


def bowl(lowest: Place) -> dict[Place, float]:
    """What `search` tries in a world whose log-loss is lowest at one place."""

    def loss_of(place: Place) -> float:
        return 0.4 + 0.002 * sum((a - b) ** 2 for a, b in zip(place, lowest, strict=True))

    return search(loss_of, START)


@pytest.mark.parametrize("lowest", [(0, 0, 0), (2, 0, 0), (-3, 2, 1), (1, 3, -1)])
def test_the_search_walks_to_the_minimum_and_tries_all_its_neighbours(lowest: Place) -> None:
    losses = bowl(lowest)
    assert best_of(losses) == lowest
    assert settled(losses)


def test_the_search_crosses_a_plateau() -> None:
    """A decay of 0.1 does nothing, and one of 1 helps: one step up must not end the walk."""
    losses = search(lambda place: 0.39 if place[1] == 2 else 0.4 + 0.0001 * abs(place[1]), START)
    assert best_of(losses)[1] == 2


def test_a_best_recipe_with_an_untried_neighbour_is_not_settled() -> None:
    losses = bowl((0, 0, 0))
    del losses[(1, 0, 0)]
    assert not settled(losses)


def test_a_search_that_never_ends_says_that_it_has_not_settled() -> None:
    losses = search(lambda place: 1.0 - 0.01 * place[0], START)
    assert len(losses) < 60
    assert not settled(losses)


def test_a_recipe_that_was_only_lucky_gains_nothing_with_other_seeds() -> None:
    def loss_of(place: Place, seed: int = 1000) -> float:
        return 0.398 if (place, seed) == ((1, 0, 0), 1000) else 0.4

    best = best_of(search(loss_of, START))
    assert best == (1, 0, 0)
    assert confirmed(loss_of, best, [1, 2, 3]) == [0.0, 0.0, 0.0]
    assert not holds([0.0, 0.0, 0.0])


def test_a_recipe_that_helps_gains_with_other_seeds() -> None:
    gains = confirmed(
        lambda place, seed: 0.4 - 0.002 * place[0] + 1e-4 * (seed % 2), (1, 0, 0), [1, 2, 3]
    )
    assert gains == pytest.approx([0.002] * 3)
    assert holds(gains)


@pytest.mark.parametrize("gains", [[], [0.0005] * 3, [0.01, 0.01, -0.0001]])
def test_a_gain_that_is_small_or_not_with_every_seed_does_not_hold(gains: list[float]) -> None:
    assert not holds(gains)


def test_a_size_trains_with_its_own_multiple_of_the_experiments_recipe() -> None:
    shape = PatchTSTShape(
        d_model=8, layers=1, heads=2, ffn_dim=8, dropout=0.1, learning_rate_multiplier=0.5
    )
    assert recipe_of(CONFIG, shape).optimiser.learning_rate == 0.0005
    found = recipe_of(CONFIG, shape.multiplied(multipliers((1, 2, -1)))).optimiser
    assert found.learning_rate == 0.001
    assert found.weight_decay == 1.0
    assert (found.epochs, found.early_stopping_patience) == (2, 2)
    assert found.batch_size == CONFIG.optimiser.batch_size


def test_a_multiplier_that_carries_a_setting_out_of_its_range_is_one_line() -> None:
    shape = load_model_config("2m")
    beyond = shape.multiplied({"learning_rate_multiplier": 1e6})
    with pytest.raises(UserError, match="learning_rate: got 375 for 2m, the experiment's times"):
        recipe_of(CONFIG, beyond)


@pytest.mark.slow
def test_a_sweep_says_what_to_set_and_with_which_figures(tmp_path: Path) -> None:
    directory = make_miniature(tmp_path)
    target = "results/daily/tiny/6k.days300.sweep.json"
    run(directory, "snakemake", target)
    sweep = json.loads((directory / target).read_text())
    assert sweep["identity"]["name"]["days"]["train_days"] == 300
    assert sweep["best"]["val_log_loss"] == min(t["val_log_loss"] for t in sweep["trials"])
    assert all(0.01 <= tried["weight_decay"] <= 10 for tried in sweep["trials"])
    said = (directory / "logs/daily/tiny/6k.days300.sweep.log").read_text()
    again = sweep["confirmation"]["trials"]
    assert {tried["seed"] for tried in again} <= {1001, 1002, 1003}
    kept = "leave configs/model/patchtst_6k.yaml as it is"
    if not sweep["confirmation"]["holds"]:
        assert kept in said
        return
    for name in MULTIPLIERS:
        assert f"{name}: {sweep['best_multipliers'][name]:g}" in said


@pytest.mark.parametrize(
    ("was", "is_", "message"),
    [
        ("seed: 42", "seed: 1001", "seed: got 1001, which sweeps use"),
        ("weight_decay: 0.01", "weight_decay: 0.0", "weight_decay: got 0; a sweep starts between"),
    ],
)
def test_a_study_that_a_sweep_cannot_start_from_is_refused_before_any_training(
    tmp_path: Path, was: str, is_: str, message: str
) -> None:
    directory = make_miniature(tmp_path)
    config = directory / "configs/daily/tiny.yaml"
    config.write_text(config.read_text().replace(was, is_))
    command = ("python", "-m", "scaling.sweep", "--config", "configs/daily/tiny.yaml")
    done = run(
        directory,
        *command,
        *("--param-budget", "6k", "--batch-size", "y.json", "--output", "x.json"),
        check=False,
    )
    assert done.returncode == 2
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
        " --figures" in after
    )
    for output in (before, after):
        assert "scaling.sweep" not in output
        assert "scaling.shuffled_control" not in output
