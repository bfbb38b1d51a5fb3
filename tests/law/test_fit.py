"""The command writes the law of a study with what it was made of, or refuses in one line."""

import json
import re
from pathlib import Path

import pandas as pd
import pytest

from scaling import fit
from scaling.errors import UserError
from scaling.judging import identity
from scaling.law.bootstrap import BOOTSTRAP_SEED
from scaling.record import write_parquet
from scaling.run import RunName
from tests.figures.planted_study import planted
from tests.law.worlds import study, study_of_days

ROOT = Path(__file__).parents[2]


def write(path, rows, budget, seed):
    """Predictions that say which run they are of, as `scaling.evaluate` writes them."""
    write_parquet(path, rows, planted(RunName(budget=budget, seed=seed)).as_json())


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    # Whether the runs are outdated is asked in tests/judging/test_identity.py.
    monkeypatch.setattr(identity, "refuse_outdated", lambda runs, config: None)
    networks, baselines = study()
    config = tmp_path / "experiment.yaml"
    text = (ROOT / "configs/daily/threshold_1pct.yaml").read_text()
    table = "  transfer: configs/transfer/patchtst.json\n"
    assert table in text
    config.write_text(text.replace(table, "  delta: 0.02\n  bootstrap_samples: 250\n"))
    paths = []
    for (budget, seed), rows in networks.groupby(["budget", "seed"]):
        paths.append(str(tmp_path / f"{budget}.seed{seed}.predictions.parquet"))
        write(paths[-1], rows, budget, seed)
    reference = tmp_path / "baselines.predictions.parquet"
    baselines.to_parquet(reference)
    return config, paths, reference, tmp_path / "scaling_law.json"


def command(config, paths, reference, output):
    study_flags = ["--config", str(config), "--predictions", *paths]
    return [*study_flags, "--baselines", str(reference), "--output", str(output)]


def test_the_command_writes_the_law_with_the_config_s_delta_and_what_it_was_made_of(files, capsys):
    fit.main(command(*files))
    result = json.loads(files[-1].read_text())
    assert result["settings"] == {
        **{"horizon": 1, "delta_fraction": 0.02, "samples": 250},
        **{"experiments": 1, "recipes": [], "seed": BOOTSTRAP_SEED, "folds": [], "drawn": False},
    }
    ladder = result["ladder"]
    assert ladder["axes"]["parameters"]["verdict"] == "improves"
    assert ladder["best_network"]["budget"] == "2m"
    assert len(result["inputs"]) == 7
    assert {"git_commit", "versions"} <= set(result["provenance"])
    assert {"code", "law"} <= set(result["made_by"])
    assert [run["name"]["seed"] for run in result["runs"]] == [42, 43] * 3
    printed = capsys.readouterr().out
    assert ladder["sentence"] in printed
    assert printed.splitlines()[-1].startswith(f"Wrote {files[-1]}.")


def test_the_command_adjusts_for_the_experiments_of_the_grid_and_refuses_fewer_than_one(files):
    fit.main([*command(*files), "--experiments", "7"])
    result = json.loads(files[-1].read_text())
    assert result["ladder"]["best_network"]["comparisons"] == 14
    with pytest.raises(UserError, match="--experiments: got 0"):
        fit.main([*command(*files), "--experiments", "0"])


def test_the_command_refuses_a_study_without_validation_rows(files):
    for path in files[1]:
        rows = pd.read_parquet(path)
        name = re.fullmatch(r"(\w+)\.seed(\d+)\..*", Path(path).name)
        write(path, rows[rows["split"] == "test"], name[1], int(name[2]))
    with pytest.raises(UserError, match="no validation rows"):
        fit.main(command(*files))


def test_the_command_refuses_a_file_named_twice_and_leaves_no_output(files):
    config, paths, reference, output = files
    with pytest.raises(UserError, match="twice"):
        fit.main(command(config, [*paths, paths[0]], reference, output))
    assert not output.exists()


def test_the_command_refuses_rows_outside_the_config_s_test_block(files):
    config = files[0]
    config.write_text(config.read_text().replace("2014-01-01", "2015-01-01"))
    with pytest.raises(UserError, match="evaluate again with this config"):
        fit.main(command(*files))


def test_the_command_refuses_a_file_that_is_no_parquet(files):
    files[2].write_text("hello")
    with pytest.raises(UserError, match="not a parquet file"):
        fit.main(command(*files))


@pytest.mark.parametrize(
    "flags", [[], ["--table", "a.csv", "--config", "b.yaml"], ["--config", "b.yaml"]]
)
def test_the_command_wants_a_study_or_a_table_and_not_half_of_each(flags):
    with pytest.raises(UserError, match="--table alone"):
        fit.main([*flags, "--output", "law.json"])


@pytest.fixture
def files_of_days(files, tmp_path):
    config, _, reference, output = files
    networks, baselines = study_of_days(draws=("recent", "blocks"))
    mixed = networks.assign(train_days=networks["train_days"].astype(str))
    paths = []
    for (budget, seed), rows in mixed.groupby(["budget", "seed"]):
        paths.append(str(tmp_path / f"{budget}.seed{seed}.days.predictions.parquet"))
        write(paths[-1], rows, budget, seed)
    baselines.assign(train_days=baselines["train_days"].astype(str)).to_parquet(reference)
    return config, paths, reference, output


def test_the_command_gives_a_study_of_two_axes_a_law_for_each_draw(files_of_days, capsys):
    fit.main(command(*files_of_days))
    result = json.loads(files_of_days[-1].read_text())
    assert list(result["surfaces"]) == ["recent", "blocks"]
    printed = capsys.readouterr().out
    for draw, law in result["surfaces"].items():
        assert law["draw"] == draw
        assert law["sentence"] in printed
        assert len(law["cells"]) == 9
        assert list(law["baselines"]) == ["base_rate", "logistic_regression"]


def test_the_two_axes_leave_the_ladder_of_the_whole_block_as_it_is(files, files_of_days):
    fit.main(command(*files_of_days))
    both = json.loads(files_of_days[-1].read_text())
    networks, baselines = study_of_days(draws=("recent", "blocks"))
    paths = []
    for (budget, seed), rows in networks[networks["train_days"] == "all"].groupby(
        ["budget", "seed"]
    ):
        paths.append(files[2].parent / f"{budget}.{seed}.alone.predictions.parquet")
        alone = rows.drop(columns=["train_days", "draw", "counted_days"])
        write(paths[-1], alone, budget, seed)
    baselines[baselines["train_days"] == "all"].drop(
        columns=["train_days", "draw", "counted_days"]
    ).to_parquet(files[2])
    fit.main(command(files[0], map(str, paths), files[2], files[3]))
    alone = json.loads(files[3].read_text())
    for cell in (*both["ladder"]["cells"], *alone["ladder"]["cells"]):
        del cell["counted_days"]
    assert both["ladder"] == alone["ladder"]
