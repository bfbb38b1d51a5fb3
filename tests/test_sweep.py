"""The learning-rate sweep: same number of trials per rung, and no optimum at an edge unsaid."""

import json
import os
from pathlib import Path

import pytest

from scaling.training.sweep import FACTORS, best_of
from tests.miniature import make_miniature, run


def test_the_best_multiplier_is_interior_only_between_two_others() -> None:
    assert best_of({0.5: 0.4, 1.0: 0.3, 2.0: 0.5}) == (1.0, True)
    assert best_of({0.5: 0.2, 1.0: 0.3, 2.0: 0.5}) == (0.5, False)
    assert best_of({0.5: 0.4, 1.0: 0.3, 2.0: 0.1}) == (2.0, False)


@pytest.mark.slow
def test_a_sweep_tries_every_factor_and_says_what_to_set(tmp_path: Path) -> None:
    directory = make_miniature(tmp_path)
    target = "results/daily/tiny/6k.sweep.json"
    run(directory, "snakemake", target)
    sweep = json.loads((directory / target).read_text())
    tried = [trial["multiplier"] for trial in sweep["trials"]]
    assert set(FACTORS) <= set(tried)
    losses = {trial["multiplier"]: trial["val_log_loss"] for trial in sweep["trials"]}
    assert sweep["best_multiplier"] == min(losses, key=lambda m: losses[m])
    assert sweep["interior"] == (min(tried) < sweep["best_multiplier"] < max(tried))
    assert (
        "next: set learning_rate_multiplier"
        in (directory / "logs/daily/tiny/6k.sweep.log").read_text()
    )


def test_a_sweep_with_the_studys_own_seed_is_refused(tmp_path: Path) -> None:
    directory = make_miniature(tmp_path)
    command = ("python", "-m", "scaling.sweep", "--config", "configs/daily/tiny.yaml")
    done = run(
        directory,
        *command,
        *("--param-budget", "6k", "--seed", "42", "--batch-size", "y.json", "--output", "x.json"),
        check=False,
    )
    assert done.returncode == 2
    assert "study's own" in done.stderr


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
