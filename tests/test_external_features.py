"""A study on a feature table made elsewhere: every door takes it, and says what it cannot check."""

import json
from pathlib import Path

import pandas as pd
import pytest

from scaling import check_data, export, find_batch_size, predict, prepare
from scaling.config import load_config
from scaling.errors import UserError
from scaling.judging.study_files import merged_checks
from scaling.record import file_md5, read_json
from scaling.training.cost import epoch_windows
from tests.trained_study import (
    CONFIG,
    FEATURES,
    MANIFEST,
    PRICES,
    checks_of,
    evaluate_it,
    register_prices,
    train_it,
    write_config,
)

TABLE = Path("data/raw/SPY_features_external.parquet")
LEAK = "features do not see the future"


def take_in(table: pd.DataFrame, *options: str) -> None:
    """Register a table as the study's features."""
    table.to_parquet("mine.parquet")
    files = ["--prices", str(PRICES), "--manifest", str(MANIFEST), "--output", str(TABLE)]
    prepare.main([*files, "--table", "mine.parquet", *options])


def mine() -> pd.DataFrame:
    """The study's features under other names, without the first 11 days."""
    table = pd.read_parquet(FEATURES).iloc[11:]
    return table.set_axis([f"mine_{n}" for n in range(table.shape[1])], axis=1)


@pytest.fixture
def own(study: Path) -> Path:
    """The small study, trained again on the table."""
    take_in(mine())
    write_config(data={"features": str(TABLE)})
    train_it("results/mine.ckpt")
    return study


def test_an_evaluation_says_that_look_ahead_could_not_be_checked(
    own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluation = evaluate_it("results/mine.ckpt", "mine")
    checks = checks_of(evaluation)
    assert checks[LEAK]["passed"] is None
    assert str(TABLE) in checks[LEAK]["found"]
    assert "models do not see the future" not in checks
    assert checks["windows end on their day"]["passed"] is True
    assert evaluation["identity"]["features"] == file_md5(TABLE)
    said = capsys.readouterr().out
    assert f"COULD NOT BE CHECKED, {LEAK}" in said
    assert "CHECK FAILED" not in said
    assert f"{len(checks) - 1} of {len(checks)} checks passed" in said


def test_a_shift_after_loading_is_found_in_a_table_made_elsewhere(
    own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "scaling.data.dataset.load_features", lambda path: pd.read_parquet(path).shift(-1).ffill()
    )
    train_it("results/shifted.ckpt")
    found = checks_of(evaluate_it("results/shifted.ckpt", "shifted"))["windows end on their day"]
    assert found["passed"] is False
    assert "mine_0" in found["found"]


def test_the_card_of_an_export_says_so_with_and_without_an_evaluation(own: Path) -> None:
    said = f"`{TABLE}`, MD5 `{file_md5(TABLE)}`). Whether they\nknow days after their own could not"
    for name in ("plain", "judged"):
        export.main(["--checkpoint", "results/mine.ckpt", "--to", name])
        card = Path(name, "README.md").read_text()
        assert said in card
        assert "scaling/data/tiers" not in card
        evaluation = evaluate_it("results/mine.ckpt", "mine")
    passed = len(evaluation["checks"]) - 1
    assert f"{passed} of {passed + 1} validity checks of the evaluation passed" in card


def test_a_forecast_says_so(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    predict.main(["--checkpoint", "results/mine.ckpt"])
    lines = capsys.readouterr().out.splitlines()
    assert "whether they see the future could not be checked" in lines[2]
    predict.main(["--checkpoint", "results/mine.ckpt", "--json"])
    assert json.loads(capsys.readouterr().out)["look_ahead_could_be_checked"] is False


def test_newer_days_are_forecast_once_the_table_has_them(
    own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prices, table = pd.read_parquet(PRICES), mine()
    days = pd.bdate_range(prices.index[-1], periods=6, name="date", unit="us")[1:]
    register_prices(pd.concat([prices, prices.iloc[-5:].set_axis(days)]))
    with pytest.raises(UserError, match="register it: python -m scaling.prepare"):
        predict.main(["--checkpoint", "results/mine.ckpt"])
    take_in(pd.concat([table, table.iloc[-5:].set_axis(days)]), "--replace")
    capsys.readouterr()
    predict.main(["--checkpoint", "results/mine.ckpt"])
    assert f"at the close of {days[-1].date()}" in capsys.readouterr().out


def test_a_table_that_was_altered_or_is_not_registered_is_refused(own: Path) -> None:
    stamp = ["--config", str(CONFIG), "--output", "data.md5"]
    check_data.main(stamp)
    (mine() * 2).to_parquet(TABLE)
    again = f"python -m scaling.prepare --table {TABLE} --prices {PRICES} --manifest {MANIFEST}"
    with pytest.raises(UserError, match=f"MD5 is .*{again} --output {TABLE} --replace"):
        check_data.main(stamp)
    write_config(data={"features": "data/raw/OTHER_features_external.parquet"})
    with pytest.raises(UserError, match="does not exist.*scaling.prepare --help"):
        check_data.main(stamp)
    TABLE.rename("data/raw/OTHER_features_external.parquet")
    with pytest.raises(UserError, match="not registered in .* --table"):
        check_data.main(stamp)


@pytest.mark.slow
def test_search_and_plan_count_the_channels_and_days_of_the_table(study: Path) -> None:
    take_in(mine())
    table = write_config(data={"features": str(TABLE)})
    find_batch_size.main(["--config", str(table), "--output", "search.json", "--max", "8"])
    assert read_json("search.json")["feature_names"] == list(mine().columns)
    train, validation = epoch_windows(load_config(table))
    assert (train + 11, validation) == epoch_windows(load_config(write_config()))


def test_a_check_that_could_not_be_made_is_neither_passed_nor_failed() -> None:
    def merged(*passed: bool | None) -> tuple[bool | None, list[str]]:
        runs = [
            {"run": f"{n}", "checks": [{"name": LEAK, "passed": p, "found": f"{p}"}]}
            for n, p in enumerate(passed)
        ]
        (check,) = merged_checks(runs)
        assert check["found"] == str(check["passed"])
        return check["passed"], check["runs"]

    assert merged(None, None) == (None, [])
    assert merged(True, None) == (None, [])
    assert merged(None, True) == (None, [])
    assert merged(None, False, True) == (False, ["1"])
    assert merged(False, None) == (False, ["0"])
