"""`judge_ladder` judges predictions of models that were trained elsewhere, as `fit` judges ours."""

from pathlib import Path

import pandas as pd
import pytest

from scaling import judge_ladder
from scaling.config import LawConfig
from scaling.errors import UserError
from scaling.law.bootstrap import Settings
from scaling.law.judge import fit_study
from scaling.law.result import StudyLaw, read_law
from scaling.law.table import read_tables
from tests.law.worlds import BASE_RATE, SIZES, study

FLAGS = ["--base-rate", str(BASE_RATE), "--horizon", "1", "--output", "law.json"]
COLUMNS = ["budget", "parameters", "seed", "date", "label", "probability"]


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def their_rows(split: str = "test", **changes: int) -> pd.DataFrame:
    """A ladder as another project would write it down: no split, no weights, other names."""
    networks, _ = study(**changes)
    chosen = networks[(networks["split"] == split) & (networks["weights"] == "mean")]
    return chosen.rename(columns={"y": "label", "p": "probability"})[COLUMNS]


def judge(rows: pd.DataFrame, *flags: str) -> StudyLaw:
    rows.to_csv("theirs.csv", index=False)
    judge_ladder.main([*FLAGS, "--predictions", "theirs.csv", "--page", "law.html", *flags])
    return read_law("law.json")


def test_rows_give_the_verdict_that_a_study_of_our_own_would_get() -> None:
    networks, baselines = study()
    settings = Settings(1, LawConfig().delta, LawConfig().bootstrap_samples)
    tables = read_tables(networks, baselines[baselines["model"] == "base_rate"])
    law, found = fit_study(tables, settings).ladder, judge(their_rows()).ladder
    assert found.parameters.verdict == "improves"
    assert found.parameters == law.parameters
    assert [cell.skill for cell in found.cells] == [cell.skill for cell in law.cells]


def test_parquet_and_several_files_give_what_one_csv_gives() -> None:
    rows = their_rows()
    found = judge(rows)
    paths = []
    for budget, own in rows.groupby("budget"):
        own.rename(columns={"label": "y", "probability": "p"}).to_parquet(f"{budget}.parquet")
        paths.append(f"{budget}.parquet")
    judge_ladder.main([*FLAGS, "--predictions", *paths, "--output", "again.json"])
    again = read_law("again.json")
    assert set(again.inputs) == set(paths)
    assert again.ladder == found.ladder
    assert not Path("again.html").exists()


def test_without_validation_rows_the_largest_size_meets_the_baselines_whatever_the_test_says() -> (
    None
):
    rows = their_rows()
    other = {"2m": "200k", "200k": "2m", "600k": "600k"}  # now the smallest is the best on test
    rows["budget"] = rows["budget"].map(other)
    rows["parameters"] = rows["budget"].map(SIZES)
    found = judge(rows)
    assert found.ladder.parameters.verdict == "inverse scaling"
    assert found.best_network.budget == "2m"
    assert "the largest network (2m)" in found.ladder.sentence
    assert [cell.validation_log_loss for cell in found.ladder.cells] == [None] * 3


def test_validation_rows_choose_the_size_that_meets_the_baselines() -> None:
    test, validation = their_rows(), their_rows("validation")
    worse = validation["budget"] == "2m"
    validation.loc[worse, "probability"] = 1 - validation.loc[worse, "probability"]
    rows = pd.concat([test.assign(split="test"), validation.assign(split="validation")])
    found = judge(rows)
    assert found.best_network.budget == "600k"
    assert "the best network on validation (600k)" in found.ladder.sentence


def test_baselines_of_theirs_stand_beside_the_base_rate() -> None:
    _, baselines = study()
    own = baselines[(baselines["model"] != "base_rate") & (baselines["split"] == "test")]
    own[["model", "date", "y", "p"]].to_csv("baselines.csv", index=False)
    found = judge(their_rows(), "--baselines", "baselines.csv")
    assert set(found.best_network.against) == {"base_rate", "logistic_regression"}
    baselines.to_csv("baselines.csv", index=False)
    with pytest.raises(UserError, match="leave it out, --base-rate gives it"):
        judge(their_rows(), "--baselines", "baselines.csv")


def test_models_without_replicates_are_never_more_than_inconclusive() -> None:
    found = judge(their_rows(seeds=(1,)))
    assert found.ladder.parameters.verdict == "inconclusive"
    assert "one seed only for 200k, 600k, 2m" in found.ladder.warnings[0]
    assert "the largest network (2m, one seed, so on these days alone)" in found.ladder.sentence


def test_the_page_says_the_verdict_and_that_nothing_else_is_known(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = their_rows()
    rows["budget"] = rows["budget"].replace("2m", "<b>big")
    found = judge(rows)
    page = Path("law.html").read_text()
    assert found.ladder.parameters.verdict in page
    assert found.ladder.sentence.replace("<b>", "&lt;b&gt;") in page
    assert "<b>big" not in page
    assert "No validity checks were made" in page
    assert page.count("<svg") == 3
    for heading in ("Learning curves", "Drift of the features", "Checks", "Size and cost"):
        assert f"<h2>{heading}</h2>" not in page
    for heading in ("Against the baselines", "All models", "The law", "Calibration", "Provenance"):
        assert f"<h2>{heading}</h2>" in page
    assert found.inputs["theirs.csv"] in page
    assert found.ladder.sentence in capsys.readouterr().out


@pytest.mark.parametrize(
    ("column", "value", "match"),
    [
        ("probability", 1.2, "p in row 4 .* is 1.2; allowed: a probability from 0 to 1"),
        ("probability", None, "p in row 4"),
        ("label", 2, "y in row 4 .* allowed: 0 or 1"),
        ("date", "2014-13-01", "date in row 4 .* is 2014-13-01"),
        ("date", "2014-01-07 16:00", "date in row 4 .* without time of day"),
        ("parameters", "2M", "parameters in row 4 .* is 2M; allowed: a whole number above 0"),
        ("seed", 1.5, "seed in row 4"),
        ("budget", None, "budget in row 4"),
    ],
)
def test_an_impossible_value_is_refused_with_its_row(
    column: str, value: object, match: str
) -> None:
    rows = their_rows().astype({column: object})
    if column == "date":
        rows["date"] = rows["date"].astype(str).str[:10]
    rows.iloc[3, rows.columns.get_loc(column)] = value
    with pytest.raises(UserError, match=match):
        judge(rows)
    assert not Path("law.json").exists()


def test_a_file_that_is_no_table_of_such_rows_is_refused() -> None:
    with pytest.raises(UserError, match="no column p; needed: budget"):
        judge(their_rows().drop(columns="probability"))
    with pytest.raises(UserError, match="two columns for y"):
        judge(their_rows().assign(y=0))
    with pytest.raises(UserError, match="no rows"):
        judge(their_rows().iloc[:0])
    Path("theirs.parquet").write_text("hello")
    rows = their_rows()
    rows.assign(date=rows["date"].dt.tz_localize("UTC")).to_parquet("zoned.parquet")
    for files, complaint in (
        (["zoned.parquet"], "without time of day or time zone"),
        (["theirs.parquet"], "not a readable CSV"),
        (["theirs.parquet", "theirs.parquet"], "theirs.parquet is given twice"),
    ):
        with pytest.raises(UserError, match=complaint):
            judge_ladder.main([*FLAGS, "--predictions", *files])


@pytest.mark.parametrize(
    "flags", [("--base-rate", "17"), ("--base-rate", "0"), ("--horizon", "0"), ("--delta", "0")]
)
def test_a_number_outside_its_bounds_is_refused(flags: tuple[str, str]) -> None:
    with pytest.raises(UserError, match=f"{flags[0]}: got"):
        judge(their_rows(), *flags)
