"""A finished study as one small file of figures, and as the tables that a page shows."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from scaling import publish
from scaling.errors import UserError
from scaling.judging.summary import markdown, tables
from scaling.record import read_json
from tests.figures.planted_study import RUNS, change, make_study
from tests.law.worlds import surface_law, surface_world

EXPERIMENT = "daily/threshold_1pct"
GRID = f"experiments: [{EXPERIMENT}]\nbudgets: [200k, 600k, 2m]\nseeds: [42, 43]\n"
NOON = 1795521600  # 2026-11-24, 12:00 UTC


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A planted study that was trained on one day; to be read only."""
    root = tmp_path_factory.mktemp("published")
    folder = root / "results" / EXPERIMENT
    folder.mkdir(parents=True)
    make_study(folder)
    for number, run in enumerate(RUNS):
        ending = {"ending": {"status": "finished", "time": NOON + 300 * number}}
        (folder / f"{run}.metrics.jsonl").write_text(json.dumps(ending) + "\n")
    (root / "planted.yaml").write_text(GRID)
    return root


@pytest.fixture
def study(made: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(made, tmp_path / "study"))


def published(root: Path) -> dict:
    output = root / "planted.json"
    flags = ["--grid", str(root / "planted.yaml"), "--results", str(root / "results")]
    publish.main([*flags, "--output", str(output)])
    return read_json(output)


def test_a_summary_has_the_law_the_runs_and_when_and_how_long_they_were_trained(
    made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found, law = published(made), read_json(made / "results" / EXPERIMENT / "scaling_law.json")
    for key in ("verdict", "slope", "sizes", "best_network", "slope_over"):
        assert found["law"][key] == law[key]
    assert "inputs" not in found["law"]
    assert found["command"] == f"snakemake --configfile {made / 'planted.yaml'}"
    assert found["finished"] == "2026-11-24"
    assert found["training_minutes"] == pytest.approx(2 * (201 + 598 + 2010) / 60)
    assert [run["run"] for run in found["runs"]] == RUNS
    record = read_json(made / "results" / EXPERIMENT / "2m.seed43.json")
    last = found["runs"][-1]
    assert (last["budget"], last["seed"], last["train_days"]) == ("2m", 43, None)
    assert [last[key] for key in ("parameters", "flops", "seconds")] == [
        record[key] for key in ("parameters", "flops", "seconds")
    ]
    assert found["checks"] == {"made": 24, "passed": 24}
    printed = capsys.readouterr().out
    for table in tables(found):
        assert markdown(table) in printed


def test_the_table_of_a_ladder_shows_each_size_and_each_baseline(made: Path) -> None:
    head, first, _, third, rival = tables(published(made))[0]
    assert head[:4] == ["budget", "parameters", "PFLOP", "seconds"]
    assert first[:4] == ["200k", "201,000", "12.1", "201"]
    assert third[:2] == ["2M", "2,010,000"]
    size = read_json(made / "planted.json")["law"]["sizes"][0]
    low, high = size["skill_interval"]
    assert first[5] == f"{100 * size['skill']:.1f} ({100 * low:.1f} to {100 * high:.1f})"
    assert rival[0] == "logistic regression" and rival[1:4] == ["", "", ""]


def test_a_study_of_two_axes_has_a_table_of_its_cells_and_three_slopes(made: Path) -> None:
    surface = surface_law(surface_world(np.random.default_rng(1)))
    summary = published(made)
    summary["law"]["two_axes"] = {"recent": surface}
    _, cells, slopes = tables(summary)
    assert cells[0] == ["test skill, %, by training days (recent)", "500", "1000", "2000", "all"]
    assert [row[0] for row in cells[1:]] == ["200000", "600000", "2e+06", "base rate"]
    assert {len(row) for row in cells} == {5}
    axes = ["parameters (recent)", "days (recent)", "both (recent)"]
    assert [row[0] for row in slopes[1:]] == ["parameters", *axes]
    assert slopes[3][1].startswith(f"{surface['days']['slope']['estimate']:+.4f} (")


def test_a_table_in_markdown_has_no_cell_of_two_spaces() -> None:
    assert markdown([["a", "b"], ["1", ""]]) == "| a | b |\n|---|---|\n| 1 | |"


def test_a_run_that_the_law_was_not_fitted_to_is_refused(study: Path) -> None:
    change(study / "results" / EXPERIMENT / "2m.eval.json", predictions_md5="0")
    with pytest.raises(UserError, match="2m: its predictions are not those"):
        published(study)


def test_a_run_that_was_trained_again_after_its_evaluation_is_refused(study: Path) -> None:
    change(study / "results" / EXPERIMENT / "2m.json", fingerprint="another")
    with pytest.raises(UserError, match="trained again after it was evaluated"):
        published(study)


def test_a_law_of_more_runs_than_the_grid_asks_for_is_refused(study: Path) -> None:
    (study / "planted.yaml").write_text(GRID + "single_seed: [2m]\n")
    with pytest.raises(UserError, match="fit it again"):
        published(study)


def test_a_law_of_numbers_of_days_that_the_grid_does_not_ask_for_is_refused(study: Path) -> None:
    cells = [{"budget": "2m", "train_days": days, "seeds": [42]} for days in ("500", "all")]
    surface = {"draw": "recent", "cells": cells}
    change(study / "results" / EXPERIMENT / "scaling_law.json", two_axes={"recent": surface})
    with pytest.raises(UserError, match="500 recent training days"):
        published(study)


@pytest.mark.parametrize("key", ["data_md5", "label_hash"])
def test_baselines_of_other_data_than_the_runs_are_refused(study: Path, key: str) -> None:
    change(study / "results" / EXPERIMENT / "baselines.json", **{key: "another"})
    with pytest.raises(UserError, match=f"{key} is another"):
        published(study)


def test_a_training_whose_end_is_not_recorded_is_refused(study: Path) -> None:
    (study / "results" / EXPERIMENT / "2m.metrics.jsonl").unlink()
    with pytest.raises(UserError, match="does not say when the training ended"):
        published(study)


def test_a_grid_of_several_experiments_is_refused(study: Path) -> None:
    rest = GRID.partition("\n")[2]
    several = "experiments: [daily/threshold_1pct, daily/sp500_1pct]"
    (study / "planted.yaml").write_text(f"{several}\n{rest}")
    with pytest.raises(UserError, match="allowed: one experiment"):
        published(study)
