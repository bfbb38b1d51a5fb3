"""The command writes the law of a study with what it was made of, or refuses in one line."""

import json
from pathlib import Path

import pytest

from scaling import fit
from scaling.errors import UserError
from scaling.judging import identity
from scaling.law.bootstrap import BOOTSTRAP_SEED
from scaling.record import write_parquet
from scaling.run import RunName
from tests.figures.planted_study import planted
from tests.law.worlds import study, study_of_days


def write(folder, networks):
    """Predictions that say which run they are of, as `scaling.evaluate` writes them; the paths."""
    paths = []
    for (budget, seed), rows in networks.groupby(["budget", "seed"]):
        paths.append(str(folder / f"{budget}.seed{seed}.predictions.parquet"))
        write_parquet(paths[-1], rows, planted(RunName(budget=budget, seed=seed)).as_json())
    return paths


@pytest.fixture
def files(tmp_path, monkeypatch):
    # Whether the runs are outdated is asked in tests/judging/test_identity.py.
    monkeypatch.setattr(identity, "refuse_outdated", lambda runs, config: None)
    networks, baselines = study()
    config = tmp_path / "experiment.yaml"
    text = Path("configs/daily/threshold_1pct.yaml").read_text()
    table = "  transfer: configs/transfer/patchtst.json\n"
    assert table in text
    config.write_text(text.replace(table, "  delta: 0.02\n  bootstrap_samples: 250\n"))
    reference = tmp_path / "baselines.predictions.parquet"
    baselines.to_parquet(reference)
    return config, write(tmp_path, networks), reference, tmp_path / "scaling_law.json"


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
    assert result["made_by"]["experiments"] == 7
    with pytest.raises(UserError, match="--experiments: got 0"):
        fit.main([*command(*files), "--experiments", "0"])


def test_the_command_refuses_a_study_without_validation_rows(files):
    networks, _ = study()
    write(files[-1].parent, networks[networks["split"] == "test"])
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


def test_the_command_gives_a_study_of_two_axes_a_law_for_each_draw(files, capsys):
    *_, reference, output = files
    networks, baselines = (
        frame.assign(train_days=frame["train_days"].astype(str))
        for frame in study_of_days(draws=("recent", "blocks"))
    )
    write(output.parent, networks)
    baselines.to_parquet(reference)
    fit.main(command(*files))
    result = json.loads(output.read_text())
    assert list(result["surfaces"]) == ["recent", "blocks"]
    printed = capsys.readouterr().out
    for draw, law in result["surfaces"].items():
        assert law["draw"] == draw
        assert law["sentence"] in printed
        assert all(f"warning: {warning}" in printed for warning in law["warnings"])
        assert len(law["cells"]) == 9
        assert list(law["baselines"]) == ["base_rate", "logistic_regression"]
