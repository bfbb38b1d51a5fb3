"""Fetching: any table becomes sound prices or is refused, and no file is replaced unasked."""

import datetime
import json
import os
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from scaling import fetch
from scaling.data.features import build_features
from scaling.data.manifest import read_manifest, verify
from scaling.data.prices import load_prices
from scaling.data.sources import normalise
from scaling.errors import UserError
from scaling.record import write_parquet
from tests.conftest import random_prices


@pytest.fixture
def prices() -> pd.DataFrame:
    return random_prices()


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    return {
        "csv": tmp_path / "mine.csv",
        "output": tmp_path / "raw" / "XYZ.parquet",
        "manifest": tmp_path / "manifest.json",
    }


def run(files: dict[str, Path], *more: str, source: tuple[str, ...] | None = None) -> None:
    source = source or ("file", str(files["csv"]))
    places = ["--output", str(files["output"]), "--manifest", str(files["manifest"])]
    fetch.main(["XYZ", "--source", *source, *places, *more])


def write_csv(prices: pd.DataFrame, path: Path) -> None:
    """Write the CSV of a usual download: capital letters, and an adjusted close."""
    table = prices.rename(columns=str.capitalize).rename_axis(index="Date")
    table.insert(4, "Adj Close", table["Close"] * 0.6)
    table.to_csv(path)


def snapshot(files: dict[str, Path]) -> list[bytes | None]:
    return [files[k].read_bytes() if files[k].exists() else None for k in ("output", "manifest")]


# A user's own file


def test_a_csv_becomes_registered_prices_without_the_adjusted_close(files, prices):
    write_csv(prices, files["csv"])
    run(files, "--licence", "MIT", "--origin", "the test")
    verify(files["output"], files["manifest"])
    pd.testing.assert_frame_equal(load_prices(files["output"]), prices, check_freq=False)
    (entry,) = read_manifest(files["manifest"])["resources"]
    assert entry["rows"] == len(prices)
    assert entry["first_date"] == str(prices.index[0].date())
    assert entry["last_date"] == str(prices.index[-1].date())
    assert entry["sources"] == [{"title": "the test"}]
    assert entry["licenses"] == [{"name": "MIT"}]


def test_equal_prices_give_equal_bytes_from_csv_and_from_parquet(files, prices, tmp_path):
    write_csv(prices, files["csv"])
    run(files)
    first = files["output"].read_bytes()
    write_parquet(tmp_path / "mine.parquet", prices.iloc[::-1].reset_index())
    again = {**files, "csv": tmp_path / "mine.parquet", "output": tmp_path / "raw/ABC.parquet"}
    run(again)
    assert again["output"].read_bytes() == first


@pytest.mark.parametrize(
    "to_text",
    [
        lambda day: f"{day:%Y-%m-%d} 00:00:00-0{5 if day.month < 4 else 4}:00",
        lambda day: f"{day:%Y-%m-%d}T16:00:00",
        lambda day: f"{day:%Y-%m-%d} 05:00:00+00:00",
    ],
    ids=["offsets that change with summer time", "time of the close", "midnight as UTC"],
)
def test_time_of_day_and_zone_are_cut_off_and_no_row_is_lost(files, prices, to_text):
    table = prices.reset_index()
    table["date"] = [to_text(day) for day in prices.index]
    table.to_csv(files["csv"], index=False)
    run(files)
    assert load_prices(files["output"]).index.equals(prices.index)


def test_a_zoned_index_keeps_the_exchanges_own_day(prices):
    zoned = prices.tz_localize("America/New_York") + 0
    zoned.index = zoned.index + pd.Timedelta(hours=20)  # already tomorrow in UTC
    assert normalise(zoned, "zoned").index.equals(prices.index)


def test_days_shifted_by_a_time_zone_are_refused(prices):
    shifted = prices.set_axis(prices.index - pd.Timedelta(hours=5))
    with pytest.raises(UserError, match="date on a weekend"):
        normalise(shifted, "shifted")


def test_two_rows_of_one_day_are_refused(prices):
    hourly = prices.set_axis(prices.index[:1].append(prices.index[:-1] + pd.Timedelta(hours=1)))
    with pytest.raises(UserError, match="date twice"):
        normalise(hourly, "hourly")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "not readable as CSV"),
        ("date,open,high,low,close\n2000-01-03,1,1,1,1\n", "needed once each"),
        ("date,open,high,low,close,Close,volume\n2000-01-03,1,1,1,1,1,1\n", "needed once each"),
        ("date,open,high,low,close,volume\n", "holds no rows"),
        ("date,open,high,low,close,volume\n03/01/2000,1,1,1,1,1\n", "date: "),
        ("date,open,high,low,close,volume\n20000103,1,1,1,1,1\n", "date: "),
        (
            "date,open,high,low,close,volume\n2000-01-03,1,1,1,1,1\n,1,1,1,1,1\n",
            "date missing in 1 .*number 2",
        ),
        (
            "date,open,high,low,close,volume\n2000-01-03,1,1,1,n/k,1\n",
            "close not a finite number.*2000-01-03",
        ),
        (
            "date,open,high,low,close,volume\n2000-01-03,1,1,1,,1\n",
            "close not a finite number.*2000-01-03",
        ),
        ("date,open,high,low,close,volume\n2000-01-03,1,1,1,1,inf\n", "volume not a finite"),
        (
            "date,open,high,low,close,volume\n2000-01-03,1,1,1,1,1.5\n",
            "volume not a whole number.*2000-01-03",
        ),
    ],
)
def test_an_unusable_csv_is_one_clear_line_and_writes_nothing(files, text, fault):
    files["csv"].write_text(text)
    with pytest.raises(UserError, match=fault) as refusal:
        run(files)
    assert str(files["csv"]) in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert snapshot(files) == [None, None]


# CSV files of other forms


def write_yfinance_csv(prices: pd.DataFrame, path: Path, *tickers: str) -> None:
    """Write what `yfinance.download(...).to_csv(path)` writes: columns of two levels."""
    one = prices.rename(columns=str.capitalize)[["Close", "High", "Low", "Open", "Volume"]]
    table = pd.concat({ticker: one for ticker in tickers}, axis=1).swaplevel(axis=1)
    table.rename_axis(index="Date", columns=["Price", "Ticker"]).to_csv(path)


def test_the_csv_that_yfinance_writes_is_read_without_any_option(files, prices):
    write_yfinance_csv(prices, files["csv"], "XYZ")
    header = files["csv"].read_text().splitlines()[:3]
    assert header == ["Price,Close,High,Low,Open,Volume", "Ticker" + ",XYZ" * 5, "Date" + "," * 5]
    run(files)
    pd.testing.assert_frame_equal(load_prices(files["output"]), prices, check_freq=False)


def test_a_csv_of_yfinance_with_two_symbols_is_refused_and_both_are_named(files, prices):
    write_yfinance_csv(prices, files["csv"], "XYZ", "ABC")
    with pytest.raises(UserError, match="holds XYZ, ABC; allowed: one symbol a file"):
        run(files)


EUROPEAN = ("--delimiter", ";", "--decimal", ",", "--date-format", "%d/%m/%Y")


def test_semicolons_decimal_commas_and_days_before_months_are_read_when_named(files, prices):
    prices.to_csv(files["csv"], sep=";", decimal=",", date_format="%d/%m/%Y")
    run(files, *EUROPEAN)
    pd.testing.assert_frame_equal(load_prices(files["output"]), prices, check_freq=False)


@pytest.mark.parametrize(
    ("left_out", "named"), [(0, "--delimiter"), (2, "--decimal ,"), (4, "--date-format")]
)
def test_each_option_that_is_missing_is_named_by_the_refusal(files, prices, left_out, named):
    prices.to_csv(files["csv"], sep=";", decimal=",", date_format="%d/%m/%Y")
    with pytest.raises(UserError, match=named):
        run(files, *EUROPEAN[:left_out], *EUROPEAN[left_out + 2 :])
    assert snapshot(files) == [None, None]


def test_rows_before_start_are_left_out_unchecked(files, prices):
    prices.loc[:"2000-12-31"] = 0
    write_csv(prices, files["csv"])
    with pytest.raises(UserError, match="close not above zero"):
        run(files)
    run(files, "--start", "2001-01-01")
    kept = load_prices(files["output"])
    pd.testing.assert_frame_equal(kept, prices.loc["2001-01-01":], check_freq=False)


@pytest.mark.parametrize("days", [slice(None), slice(300, 320)], ids=["all", "20 days"])
def test_days_without_volume_that_no_feature_can_use_are_refused_on_entry(files, prices, days):
    prices.iloc[days, 4] = 0
    first, last = (str(prices.index[days][row].date()) for row in (0, -1))
    write_csv(prices, files["csv"])
    with pytest.raises(UserError, match=f"between {first} and {last}.*obv_change_20.*--start"):
        run(files)
    with pytest.raises(UserError, match="obv_change_20"):
        build_features(prices)
    assert snapshot(files) == [None, None]


def test_an_index_without_volume_is_registered_as_such_with_features_that_need_none(
    files, prices, capsys
):
    write_csv(prices.drop(columns="volume"), files["csv"])
    with pytest.raises(UserError, match="needed once each.*volume"):
        run(files)
    run(files, "--no-volume")
    assert "XYZ_features_c14.parquet" in capsys.readouterr().out
    assert (load_prices(files["output"])["volume"] == 0).all()
    (entry,) = read_manifest(files["manifest"])["resources"]
    assert (entry["volume"], entry["calendar"]) == (False, "weekdays")
    run(files, "--no-volume")
    assert "nothing changes" in capsys.readouterr().out


def test_a_volume_that_is_unwanted_is_left_out(files, prices):
    write_csv(prices.assign(volume=prices["volume"] + 0.5), files["csv"])
    with pytest.raises(UserError, match="volume not a whole number"):
        run(files)
    run(files, "--no-volume")
    assert (load_prices(files["output"])["volume"] == 0).all()


def test_prices_of_every_day_are_refused_until_the_calendar_says_so(files, prices, capsys):
    days = pd.date_range("2000-01-03", periods=len(prices), name="date", unit="us")
    write_csv(prices.set_axis(days), files["csv"])
    with pytest.raises(UserError, match="date on a weekend"):
        run(files)
    run(files, "--calendar", "every_day")
    assert read_manifest(files["manifest"])["resources"][0]["calendar"] == "every_day"
    pd.testing.assert_frame_equal(
        load_prices(files["output"], "every_day"), prices.set_axis(days), check_freq=False
    )
    capsys.readouterr()
    run(files, "--calendar", "every_day")
    assert "nothing changes" in capsys.readouterr().out


# Implausible prices


def test_implausible_prices_are_refused_by_kind_and_day_and_nothing_is_written(files, prices):
    prices.iloc[300, :4] *= 10
    write_csv(prices, files["csv"])
    day = prices.index[300].date()
    with pytest.raises(UserError, match=f"outlier {day}: .*--allow KIND DATES REASON"):
        run(files)
    assert snapshot(files) == [None, None]


def test_what_is_allowed_stands_in_the_manifest_and_holds_for_later_fetches(files, prices, capsys):
    prices = prices.drop(prices.index[300:306])
    write_csv(prices, files["csv"])
    with pytest.raises(UserError, match="gap .*weekdays in a row are missing") as refusal:
        run(files)
    dates = str(refusal.value).split("gap ")[1].split(":")[0]
    run(files, "--allow", "gap", dates, "the exchange was closed", "--origin", "first")
    (entry,) = read_manifest(files["manifest"])["resources"]
    assert entry["allowed"] == [
        {"kind": "gap", "dates": dates, "reason": "the exchange was closed"}
    ]
    run(files)
    assert "nothing changes" in capsys.readouterr().out
    write_csv(prices.iloc[:-1], files["csv"])
    run(files, "--replace")
    assert read_manifest(files["manifest"])["resources"][0]["allowed"] == entry["allowed"]


def test_an_allowance_can_be_added_and_the_file_its_origin_and_licence_stay(files, prices):
    write_csv(prices, files["csv"])
    run(files, "--origin", "first", "--licence", "MIT")
    written = files["output"].read_bytes()
    run(files, "--allow", "gap", "2001-09-11/2001-09-14", "closed")
    (entry,) = read_manifest(files["manifest"])["resources"]
    assert files["output"].read_bytes() == written
    assert entry["sources"] == [{"title": "first"}]
    assert entry["licenses"] == [{"name": "MIT"}]
    assert len(entry["allowed"]) == 1


def test_adjusted_prices_are_refused_unless_the_user_says_that_they_are(files, prices):
    prices[["open", "high", "low", "close"]] *= 0.98765
    write_csv(prices, files["csv"])
    with pytest.raises(UserError, match="adjusted for dividends"):
        run(files)
    run(files, "--adjusted")
    assert read_manifest(files["manifest"])["resources"][0]["adjusted"] is True


@pytest.mark.parametrize("character", list(" $`'\"\\|&;<>()*?[]{}!#~%^=,:@\n"))
def test_a_name_that_a_shell_might_interpret_is_refused(files, prices, character):
    write_csv(prices, files["csv"])
    with pytest.raises(UserError, match="allowed in the path of a data file"):
        run({**files, "output": files["output"].with_name(f"X{character}Z.parquet")})
    assert snapshot(files) == [None, None]


# What changes, and --replace


def test_a_registered_file_is_not_replaced_unasked_and_the_changes_are_shown(files, prices, capsys):
    write_csv(prices, files["csv"])
    run(files)
    before = snapshot(files)
    other = prices.drop(prices.index[[3, 4]])
    other.iloc[10, 4] += 1
    added = prices.iloc[[-2]].set_axis(prices.index[[-1]] + pd.Timedelta(days=3))
    write_csv(pd.concat([other, added]).rename_axis(index="date"), files["csv"])
    capsys.readouterr()
    with pytest.raises(UserError, match="--replace"):
        run(files)
    assert snapshot(files) == before
    shown = capsys.readouterr().out.splitlines()
    assert f"  added        1 rows: {added.index[0].date()}" in shown
    assert f"  removed      2 rows: {prices.index[3].date()}, {prices.index[4].date()}" in shown
    assert f"  changed      1 rows: {other.index[10].date()}" in shown
    assert any("volume" in line and "->" in line for line in shown)


def test_with_replace_the_new_prices_are_written_and_registered(files, prices):
    write_csv(prices, files["csv"])
    run(files)
    write_csv(prices.iloc[:-1], files["csv"])
    run(files, "--replace")
    verify(files["output"], files["manifest"])
    assert len(load_prices(files["output"])) == len(prices) - 1


def test_the_same_prices_again_change_nothing(files, prices, capsys):
    write_csv(prices, files["csv"])
    run(files, "--origin", "first")
    before = snapshot(files)
    run(files, "--origin", "second")
    assert snapshot(files) == before
    assert "nothing changes" in capsys.readouterr().out


def test_a_file_that_nobody_registered_is_not_overwritten_unasked(files, prices):
    write_csv(prices, files["csv"])
    write_parquet(files["output"], prices.iloc[:-5])
    before = snapshot(files)
    with pytest.raises(UserError, match="--replace"):
        run(files)
    assert snapshot(files) == before


def test_a_lost_file_is_fetched_again_unasked_only_with_the_registered_numbers(files, prices):
    write_csv(prices, files["csv"])
    run(files, "--origin", "first", "--licence", "MIT")
    before = snapshot(files)
    files["output"].unlink()
    write_csv(prices.iloc[:-1], files["csv"])
    with pytest.raises(UserError, match="--replace"):
        run(files)
    write_csv(prices, files["csv"])
    run(files)
    assert snapshot(files) == before


def test_the_command_that_the_manifest_check_names_registers_an_edited_file(files, prices):
    write_csv(prices, files["csv"])
    run(files)
    prices.iloc[20, 4] += 1
    write_parquet(files["output"], prices)
    with pytest.raises(UserError) as refusal:
        verify(files["output"], files["manifest"])
    command = str(refusal.value).split("python -m scaling.fetch ")[1].split()
    with pytest.raises(UserError, match="--replace"):
        fetch.main([word for word in command if word != "--replace"])
    fetch.main(command)
    verify(files["output"], files["manifest"])


def test_a_damaged_file_on_disk_can_be_replaced(files, prices, capsys):
    write_csv(prices, files["csv"])
    run(files)
    files["output"].write_bytes(b"damaged")
    run(files, "--replace")
    verify(files["output"], files["manifest"])
    assert "cannot be compared" in capsys.readouterr().out


def test_an_output_outside_the_manifests_directory_is_refused_and_nothing_written(
    files, prices, tmp_path
):
    write_csv(prices, files["csv"])
    files["manifest"] = tmp_path / "elsewhere" / "manifest.json"
    with pytest.raises(UserError, match="outside"):
        run(files)
    assert snapshot(files) == [None, None]


@pytest.mark.parametrize("source", [("google",), ("file",), ("yahoo", "more"), ("file", "a", "b")])
def test_an_unknown_source_is_refused_with_those_allowed(files, source):
    with pytest.raises(UserError, match="allowed: yahoo, or file PATH"):
        run(files, source=source)


def test_a_missing_source_file_is_refused(files):
    with pytest.raises(UserError, match="no such file"):
        run(files)


# Yahoo: a stand-in has the signature of yfinance 1.x


class Yahoo(types.ModuleType):
    """A stand-in that answers `download` with a fixed table and keeps the arguments.

    A dict has an answer for each symbol.
    """

    def __init__(self, answer: pd.DataFrame | None | Exception | dict[str, Any]) -> None:
        super().__init__("yfinance")
        self.answer, self.asked = answer, {}

    def download(
        self,
        tickers,
        start=None,
        end=None,
        *,
        auto_adjust=True,
        multi_level_index=True,
        progress=True,
        threads=True,
    ):
        self.asked = dict(locals())
        answer = self.answer.get(tickers) if isinstance(self.answer, dict) else self.answer
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def yahoo(monkeypatch, prices) -> Yahoo:
    table = prices.rename(columns=str.capitalize).rename_axis(index="Date", columns="Price")
    table["Adj Close"] = table["Close"] * 0.6
    module = Yahoo(table[["Adj Close", "Close", "High", "Low", "Open", "Volume"]])
    monkeypatch.setitem(sys.modules, "yfinance", module)
    return module


def test_yahoo_is_asked_for_unadjusted_prices_from_an_explicit_day_to_yesterday(
    files, prices, yahoo
):
    run(files, source=("yahoo",))
    assert yahoo.asked["tickers"] == "XYZ"
    assert yahoo.asked["auto_adjust"] is False
    assert yahoo.asked["multi_level_index"] is False
    assert yahoo.asked["start"] == "1993-01-29"
    ends = datetime.date.fromisoformat(yahoo.asked["end"])  # Yahoo leaves this day itself out
    assert abs(ends - datetime.date.today()) <= datetime.timedelta(days=1)
    pd.testing.assert_frame_equal(load_prices(files["output"]), prices, check_freq=False)
    assert "Yahoo" in json.dumps(read_manifest(files["manifest"])["resources"])


def test_the_first_day_asked_for_can_be_chosen_and_must_be_a_day(files, yahoo):
    run(files, "--start", "1999-03-10", source=("yahoo",))
    assert yahoo.asked["start"] == "1999-03-10"
    with pytest.raises(UserError, match="--start yesterday: not a date"):
        run(files, "--start", "yesterday", source=("yahoo",))


@pytest.mark.parametrize("answer", [None, pd.DataFrame(), ConnectionError("no network")])
def test_no_answer_from_yahoo_is_a_failure_and_writes_nothing(files, yahoo, answer):
    yahoo.answer = answer
    with pytest.raises(UserError, match="Yahoo Finance, XYZ: .*--source file PATH"):
        run(files, source=("yahoo",))
    assert snapshot(files) == [None, None]


def test_a_missing_value_from_yahoo_is_refused_and_its_day_named(files, yahoo, prices):
    yahoo.answer.loc[prices.index[9], "Close"] = np.nan
    with pytest.raises(UserError, match=f"close not a finite number.*{prices.index[9].date()}"):
        run(files, source=("yahoo",))
    assert snapshot(files) == [None, None]


def test_without_yfinance_the_user_is_told_what_to_install(files, monkeypatch):
    monkeypatch.setitem(sys.modules, "yfinance", None)
    with pytest.raises(UserError, match=r"pip install -e '\.\[yahoo\]'"):
        run(files, source=("yahoo",))


# Several symbols


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """An empty folder to work in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_several_symbols_are_each_registered_under_their_own_name(here, yahoo):
    yahoo.answer = {"ABC": yahoo.answer, "XYZ": yahoo.answer.iloc[:-5]}
    fetch.main(["ABC", "XYZ", "ABC", "--source", "yahoo"])
    entries = read_manifest("data/manifest.json")["resources"]
    assert [entry["path"] for entry in entries] == ["raw/ABC.parquet", "raw/XYZ.parquet"]
    assert entries[0]["rows"] == entries[1]["rows"] + 5
    assert "XYZ" in entries[1]["sources"][0]["title"]


@pytest.mark.parametrize("answer", [None, ConnectionError("no network"), "unsound"])
def test_a_symbol_that_fails_does_not_lose_the_others(here, yahoo, capsys, prices, answer):
    unsound = yahoo.answer.copy()
    unsound.loc[prices.index[9], "Close"] = -1
    failing = unsound if isinstance(answer, str) else answer
    yahoo.answer = {"BAD": failing, "ABC": yahoo.answer, "XYZ": yahoo.answer}
    with pytest.raises(UserError, match=r"failed: BAD \(see above\); brought in: ABC, XYZ"):
        fetch.main(["ABC", "BAD", "XYZ", "--source", "yahoo"])
    assert "BAD: failed: Yahoo Finance, BAD: " in capsys.readouterr().out
    entries = read_manifest("data/manifest.json")["resources"]
    assert [entry["path"] for entry in entries] == ["raw/ABC.parquet", "raw/XYZ.parquet"]


def test_a_symbol_that_fails_ends_in_exit_code_2(here):
    command = [sys.executable, "-m", "scaling.fetch", "ABC", "X$Z", "--source", "yahoo"]
    root = Path(fetch.__file__).parents[1]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(root)}, check=False)
    assert done.returncode == 2


@pytest.mark.parametrize(
    "options",
    [["--source", "file", "x.csv"], ["--source", "yahoo", "--output", "data/raw/A.parquet"]],
)
def test_several_symbols_of_one_file_or_to_one_file_are_refused(here, options):
    with pytest.raises(UserError, match="got the symbols ABC, XYZ; allowed: several symbols with"):
        fetch.main(["ABC", "XYZ", *options])
