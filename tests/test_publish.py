"""A finished study as one small file of figures, and as the tables that a page shows."""

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scaling import config as configs
from scaling import identities, publish
from scaling.errors import UserError
from scaling.judging import identity
from scaling.judging.summary import Summary, markdown, read_summary, tables
from scaling.law.judge import fit_law
from scaling.law.judged_markets import MarketRow, Markets
from scaling.law.result import read_law
from scaling.names import experiment_path
from scaling.record import read_json, write_json
from scaling.run import BASELINES, Run, RunName, TrainingDays
from scaling.sizes import load_model_config
from tests.figures.planted_axes import make_axes
from tests.figures.planted_study import (
    RUNS,
    MakeRun,
    change,
    make_study,
    networks_in,
    remake,
    spoil,
)
from tests.law.worlds import SETTINGS, surface_world

EXPERIMENT = "daily/threshold_1pct"
GRID = f"experiments: [{EXPERIMENT}]\nbudgets: [200k, 600k, 2m]\nseeds: [42, 43]\n"
CODE = "c0de"
SEED_42 = RunName(budget="2m", seed=42)
NOON = 1795521600  # 2026-11-24, 12:00 UTC


def asked(name: RunName) -> Run:
    """The run of that name as the shipped experiment asks for it, of planted data and code."""
    config = identities.with_name(configs.load_config(experiment_path(EXPERIMENT)), name)
    if name.budget == BASELINES:
        made = identities.baselines_run(config, EXPERIMENT)
    else:
        made = identities.run_of(config, load_model_config(name.budget), EXPERIMENT)
        made = replace(made, device="cpu", micro_batch=32, code=CODE)
    return replace(made, prices="d0", features="f0", labels="ab12")


def lay_out(root: Path, make: Callable[[Path, MakeRun], None], grid: str) -> None:
    """A planted study of a shipped experiment, trained on one day, and its grid."""
    folder = root / "results" / EXPERIMENT
    folder.mkdir(parents=True)
    make(folder, asked)
    for number, predictions in enumerate(networks_in(folder)):
        run = predictions.name.removesuffix(".predictions.parquet")
        ending = {"ending": {"status": "finished", "time": NOON + 300 * number}}
        (folder / f"{run}.metrics.jsonl").write_text(json.dumps(ending) + "\n")
    (root / "planted.yaml").write_text(grid)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of sizes and seeds; to be read only."""
    root = tmp_path_factory.mktemp("published")
    lay_out(root, make_study, GRID)
    return root


@pytest.fixture
def study(made: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(made, tmp_path / "study"))


@pytest.fixture(autouse=True)
def now(monkeypatch: pytest.MonkeyPatch) -> None:
    """The data and the code are those that the planted records name."""
    monkeypatch.setattr(identity, "verified_data", lambda config: ("d0", "f0"))
    monkeypatch.setattr(identities, "code_digest", lambda entry, family=None: CODE)


def published(root: Path, *more: str) -> Summary:
    output = root / "planted.json"
    flags = ["--grid", str(root / "planted.yaml"), "--results", str(root / "results")]
    publish.main([*flags, "--output", str(output), *more])
    return read_summary(output)


def test_a_summary_has_the_law_the_runs_and_when_and_how_long_they_were_trained(
    made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found, law = published(made), read_law(made / "results" / EXPERIMENT / "scaling_law.json")
    assert found.law.ladder == law.ladder
    assert found.law.inputs == {}
    assert found.law.provenance.keys() == {"git_commit"}
    assert found.command == f"snakemake --configfile {made / 'planted.yaml'}"
    assert found.finished == "2026-11-24"
    assert found.training_minutes == pytest.approx(2 * (201 + 598 + 2010) / 60)
    assert [run["run"] for run in found.runs] == RUNS
    record = read_json(made / "results" / EXPERIMENT / "2m.seed43.json")
    last = found.runs[-1]
    assert (last["budget"], last["seed"], last["train_days"]) == ("2m", 43, "all")
    assert [last[key] for key in ("parameters", "flops", "seconds")] == [
        record[key] for key in ("parameters", "flops", "seconds")
    ]
    assert found.checks == {"made": 25, "passed": 25}  # four of each run, one of the baselines
    printed = capsys.readouterr().out
    for table in tables(found):
        assert markdown(table) in printed


def test_the_figure_of_slopes_names_every_study_beside_the_output(study: Path) -> None:
    written = asdict(published(study))
    (study / "another.json").write_text(json.dumps(written))
    published(study, "--slopes", str(study / "slopes.svg"))
    drawn = (study / "slopes.svg").read_text()
    assert "another, 200k to 2M" in drawn and "planted, 200k to 2M" in drawn


def test_the_table_of_a_ladder_shows_each_size_and_each_baseline(made: Path) -> None:
    head, first, _, third, *rivals = tables(published(made))[0]
    assert head[:4] == ["budget", "parameters", "PFLOP", "seconds"]
    assert first[:4] == ["200k", "201,000", "12.1", "201"]
    assert third[:2] == ["2M", "2,010,000"]
    size = read_summary(made / "planted.json").law.ladder.cells[0]
    low, high = size.skill_interval95
    assert first[5] == f"{100 * size.skill:.1f} ({100 * low:.1f} to {100 * high:.1f})"
    assert [rival[0] for rival in rivals] == ["garch", "logistic regression"]
    assert all(rival[1:4] == ["", "", ""] for rival in rivals)


def test_a_study_of_several_markets_has_a_row_of_each_and_comes_back_as_it_was_written(
    made: Path,
) -> None:
    summary = published(made)
    assert summary.markets is None
    row = MarketRow(1250, 250, {"200k": [0.1, 0.2], "2m": [0.3]}, {"random_forest": 0.05})
    several = replace(summary, markets=Markets({"ABC": row, "XYZ": row}, correlation=0.3))
    _, table, slopes = tables(several)
    names = ["200k", "2M", "random forest"]
    assert table[0] == ["test skill, %", "test days", "positive, %", *names]
    assert table[1] == ["ABC", "1,250", "20.0", "15.0", "30.0", "5.0"]
    assert slopes[0][0] == "axis"
    write_json(made / "several.json", asdict(several))
    assert read_summary(made / "several.json") == several


def test_a_study_of_two_axes_has_a_table_of_its_cells_and_three_slopes(made: Path) -> None:
    surface = fit_law(surface_world(np.random.default_rng(1)), SETTINGS)
    summary = published(made)
    law = replace(summary.law, surfaces={"recent": surface})
    _, cells, slopes = tables(replace(summary, law=law))
    assert cells[0] == ["test skill, %, by training days (recent)", "500", "1000", "2000", "all"]
    assert [row[0] for row in cells[1:]] == ["200000", "600000", "2e+06", "base rate"]
    assert {len(row) for row in cells} == {5}
    axes = ["parameters (recent)", "days (recent)", "both (recent)"]
    assert [row[0] for row in slopes[1:]] == ["parameters", *axes]
    assert slopes[3][1].startswith(f"{surface.samples.slope.estimate:+.4f} (")


def test_the_runs_of_two_axes_are_published_in_the_order_of_their_grid(tmp_path: Path) -> None:
    grid = GRID.replace("[42, 43]", "[43, 42]") + "train_days: [all, 500]\n"
    days = (500, "all")
    lay_out(tmp_path, lambda folder, made: make_axes(folder, days=days, make_run=made), grid)
    found = published(tmp_path)
    of_2m = ["2m.seed43", "2m", "2m.days500.seed43", "2m.days500"]
    assert [run["run"] for run in found.runs][-4:] == of_2m
    assert [(run["seed"], run["train_days"]) for run in found.runs][-4:] == [
        *((43, "all"), (42, "all")),
        *((43, "500"), (42, "500")),
    ]
    whole = read_json(tmp_path / "results" / EXPERIMENT / "baselines.json")["models"]
    skills = {name: scores["test_skill"] for name, scores in found.baselines.items()}
    assert skills == {name: model["test"]["log_loss_skill"] for name, model in whole.items()}


def test_a_table_in_markdown_has_no_cell_of_two_spaces() -> None:
    assert markdown([["a", "b"], ["1", ""]]) == "| a | b |\n|---|---|\n| 1 | |"


# --- what the report refuses is not published ------------------------------------------------


def refused(study: Path, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        published(study)
    assert "\n" not in str(caught.value)


# What a row of a published table is made of.
SCORES = [("validation", "log_loss_skill"), ("test", "log_loss_skill"), ("test", "auc")]


@pytest.mark.parametrize(("block", "score"), SCORES)
@pytest.mark.parametrize(
    ("file", "models", "model"),
    [("2m.eval.json", "metrics", "mean"), ("baselines.json", "models", "logistic_regression")],
)
def test_a_changed_score_of_a_network_or_a_baseline_is_refused(
    study: Path, file: str, models: str, model: str, block: str, score: str
) -> None:
    def flatter(made: dict[str, Any]) -> None:
        made[models][model][block][score] += 1e-6

    spoil(study / "results" / EXPERIMENT / file, flatter)
    refused(study, f"{file}: says {block} {score} .*its predictions give .*--force")


def test_a_run_of_older_code_is_refused(study: Path) -> None:
    folder = study / "results" / EXPERIMENT
    for path in (folder / "2m.json", folder / "2m.eval.json"):
        remake(path, "code", "another")
    law = read_json(folder / "scaling_law.json")
    for made in law["runs"]:
        made["code"] = "another" if made["name"] == asked(SEED_42).as_json()["name"] else CODE
    write_json(folder / "scaling_law.json", law)
    refused(study, "2m.ckpt: code is another, not c0de; train again: snakemake --force")


# --- what the grid asks for ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("grid", "odd"),
    [
        (GRID + "fewer_seeds: {2m: 1}\n", "2m seed 43"),
        (GRID.replace("[42, 43]", "[42, 43, 44]"), "200k seed 44, 2m seed 44, 600k seed 44"),
    ],
    ids=["more", "fewer"],
)
def test_a_law_of_more_or_fewer_runs_than_the_grid_asks_for_is_refused(
    study: Path, grid: str, odd: str
) -> None:
    (study / "planted.yaml").write_text(grid)
    refused(study, f"do not name the same runs: {odd}; fit the law again")


def test_a_law_of_numbers_of_days_that_the_grid_does_not_ask_for_is_refused(study: Path) -> None:
    law = study / "results" / EXPERIMENT / "scaling_law.json"
    on_some = asked(replace(SEED_42, days=TrainingDays(500)))
    change(law, runs=[*read_json(law)["runs"], on_some.as_json()])
    refused(study, "do not name the same runs: 2m seed 42 on 500 recent training days; fit")


def test_a_law_that_was_adjusted_for_another_grid_is_refused(study: Path) -> None:
    law = study / "results" / EXPERIMENT / "scaling_law.json"
    change(law, settings=read_json(law)["settings"] | {"experiments": 7})
    refused(study, "was adjusted for 7 experiments")


@pytest.mark.parametrize("hole", [{"law": {}}, {"unknown": 1}], ids=["law", "key"])
def test_what_is_no_summary_says_so_and_what_to_do(study: Path, hole: dict[str, object]) -> None:
    published(study)
    change(study / "planted.json", **hole)
    with pytest.raises(UserError, match="planted.json: no summary of a study.*publish it again"):
        read_summary(study / "planted.json")


def test_a_training_whose_end_is_not_recorded_is_refused(study: Path) -> None:
    (study / "results" / EXPERIMENT / "2m.metrics.jsonl").unlink()
    refused(study, "does not say when the training ended")


def test_a_grid_of_several_experiments_is_refused(study: Path) -> None:
    rest = GRID.partition("\n")[2]
    several = "experiments: [daily/threshold_1pct, daily/sp500_1pct]"
    (study / "planted.yaml").write_text(f"{several}\n{rest}")
    refused(study, "allowed: one experiment")
