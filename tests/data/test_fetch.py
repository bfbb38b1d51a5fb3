"""Fetching: any table becomes sound prices or is refused, and no file is replaced unasked."""

import datetime
import json
import sys
import types
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from scaling import fetch
from scaling.data.calendars import open_days
from scaling.data.features import build_features
from scaling.data.manifest import read_manifest, verify
from scaling.data.prices import load_prices
from scaling.data.sources import normalise
from scaling.errors import UserError
from scaling.record import write_parquet
from tests.conftest import random_prices


@pytest.fixture
def prices() -> pd.DataFrame:
    """Random prices on the days on which New York was open."""
    prices = random_prices()
    days = open_days("XNYS", prices.index[0], pd.Timestamp("2003-12-31"))[: len(prices)]
    return prices.set_axis(days.as_unit("us").rename("date"))


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


def bring_in(files: dict[str, Path], prices: pd.DataFrame, *more: str) -> None:
    """Fetch the CSV of a usual download."""
    write_csv(prices, files["csv"])
    run(files, *more)


def snapshot(files: dict[str, Path]) -> list[bytes | None]:
    return [files[k].read_bytes() if files[k].exists() else None for k in ("output", "manifest")]


# A user's own file


def test_a_csv_becomes_registered_prices_without_the_adjusted_close(files, prices):
    bring_in(files, prices, "--licence", "MIT", "--origin", "the test")
    verify(files["output"], files["manifest"])
    pd.testing.assert_frame_equal(load_prices(files["output"]), prices, check_freq=False)
    (entry,) = read_manifest(files["manifest"])["resources"]
    assert entry["rows"] == len(prices)
    assert entry["first_date"] == str(prices.index[0].date())
    assert entry["last_date"] == str(prices.index[-1].date())
    assert entry["sources"] == [{"title": "the test"}]
    assert entry["licenses"] == [{"name": "MIT"}]


def test_equal_prices_give_equal_bytes_from_csv_and_from_parquet(files, prices, tmp_path):
    bring_in(files, prices)
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


def test_two_rows_of_one_day_are_refused(prices):
    hourly = prices.set_axis(prices.index[:1].append(prices.index[:-1] + pd.Timedelta(hours=1)))
    with pytest.raises(UserError, match="date twice"):
        normalise(hourly, "hourly")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "not readable as CSV"),
        ("date,open,high,low,close\n2000-01-03,1,1,1,1\n", "needed once each"),
        ("date,close,volume\n2000-01-03,1,1\n", "needed once each"),
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
    with pytest.raises(UserError, match="close not above zero"):
        bring_in(files, prices)
    run(files, "--start", "2001-01-01")
    kept = load_prices(files["output"])
    pd.testing.assert_frame_equal(kept, prices.loc["2001-01-01":], check_freq=False)


@pytest.mark.parametrize("days", [slice(None), slice(300, 320)], ids=["all", "20 days"])
def test_days_without_volume_that_no_feature_can_use_are_refused_on_entry(files, prices, days):
    prices.iloc[days, 4] = 0
    first, last = (str(prices.index[days][row].date()) for row in (0, -1))
    with pytest.raises(UserError, match=f"between {first} and {last}.*obv_change_20.*--start"):
        bring_in(files, prices)
    with pytest.raises(UserError, match="obv_change_20, adosc_3_10, vwap_20 undefined in"):
        build_features(prices)
    assert snapshot(files) == [None, None]


def test_an_index_without_volume_is_registered_as_such_with_features_that_need_none(
    files, prices, capsys
):
    with pytest.raises(UserError, match="needed once each.*volume"):
        bring_in(files, prices.drop(columns="volume"))
    run(files, "--no-volume")
    assert "XYZ_features_c14.parquet" in capsys.readouterr().out
    assert load_prices(files["output"]).equals(prices.drop(columns="volume"))
    (entry,) = read_manifest(files["manifest"])["resources"]
    assert [field["name"] for field in entry["schema"]["fields"]][-1] == "close"
    run(files, "--no-volume")
    assert "nothing changes" in capsys.readouterr().out


def test_a_volume_that_is_unwanted_is_left_out(files, prices):
    with pytest.raises(UserError, match="volume not a whole number"):
        bring_in(files, prices.assign(volume=prices["volume"] + 0.5))
    run(files, "--no-volume")
    assert "volume" not in load_prices(files["output"])


def test_a_table_of_dates_and_closes_is_a_market_like_any_other(files, prices, capsys):
    prices["close"].to_csv(files["csv"])
    run(files)
    assert load_prices(files["output"]).equals(prices[["close"]])
    assert "XYZ_features_c14.parquet" in capsys.readouterr().out
    (entry,) = read_manifest(files["manifest"])["resources"]
    assert [field["name"] for field in entry["schema"]["fields"]] == ["date", "close"]
    run(files)
    assert "nothing changes" in capsys.readouterr().out


@pytest.mark.parametrize("rows", [19, 20])
def test_closes_that_do_not_move_for_20_days_are_refused_with_the_days_and_the_feature(
    files, prices, rows
):
    still = prices[["close"]].copy()
    still.iloc[300 : 300 + rows] = still.iloc[300]
    still.to_csv(files["csv"])
    first, last = (str(prices.index[row].date()) for row in (300, 299 + rows))
    allow = ("--allow", "stale", f"{first}/{last}", "held by its central bank")
    if rows == 19:
        run(files, *allow)
        assert build_features(still, "c14").notna().all(axis=None)
        return
    with pytest.raises(UserError, match=f"{first} and {last}.* bollinger_b_20_2 is undefined"):
        run(files, *allow)
    with pytest.raises(UserError, match=f"bollinger_b_20_2 undefined in 1 row.*: {last}"):
        build_features(still, "c14")
    assert snapshot(files) == [None, None]


def test_prices_of_every_day_are_refused_until_the_calendar_says_so(files, prices, capsys):
    days = pd.date_range("2000-01-03", periods=len(prices), name="date", unit="us")
    with pytest.raises(UserError, match="date on a weekend"):
        bring_in(files, prices.set_axis(days))
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
    with pytest.raises(UserError, match="gap .*: 6 day.*missing.*--calendar weekdays") as refusal:
        bring_in(files, prices)
    dates = str(refusal.value).split("gap ")[1].split(":")[0]
    run(files, "--allow", "gap", dates, "the exchange was closed", "--origin", "first")
    (entry,) = read_manifest(files["manifest"])["resources"]
    assert entry["allowed"] == [
        {"kind": "gap", "dates": dates, "reason": "the exchange was closed"}
    ]
    run(files)
    assert "nothing changes" in capsys.readouterr().out
    bring_in(files, prices.iloc[:-1], "--replace")
    assert read_manifest(files["manifest"])["resources"][0]["allowed"] == entry["allowed"]


def test_an_allowance_can_be_added_and_the_file_its_origin_and_licence_stay(files, prices):
    bring_in(files, prices, "--origin", "first", "--licence", "MIT")
    written = files["output"].read_bytes()
    run(files, "--allow", "gap", "2001-09-11/2001-09-14", "closed")
    (entry,) = read_manifest(files["manifest"])["resources"]
    assert files["output"].read_bytes() == written
    assert entry["sources"] == [{"title": "first"}]
    assert entry["licenses"] == [{"name": "MIT"}]
    assert len(entry["allowed"]) == 1


def test_adjusted_prices_are_refused_unless_the_user_says_that_they_are(files, prices):
    prices[["open", "high", "low", "close"]] *= 0.98765
    with pytest.raises(UserError, match="adjusted for dividends"):
        bring_in(files, prices)
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
    bring_in(files, prices)
    before = snapshot(files)
    other = prices.drop(prices.index[[3, 4]])
    other.iloc[10, 4] += 1
    added = prices.iloc[[-2]].set_axis(prices.index[[-1]] + pd.offsets.BDay(1))
    write_csv(pd.concat([other, added]).rename_axis(index="date"), files["csv"])
    capsys.readouterr()
    lost = f"{prices.index[3].date()}/{prices.index[4].date()}"
    run(files, "--allow", "gap", lost, "they are lost", source=("file", str(files["output"])))
    before = snapshot(files)
    capsys.readouterr()
    with pytest.raises(UserError, match="--replace"):
        run(files)
    assert snapshot(files) == before
    shown = capsys.readouterr().out.splitlines()
    assert f"  added        1 rows: {added.index[0].date()}" in shown
    assert f"  removed      2 rows: {prices.index[3].date()}, {prices.index[4].date()}" in shown
    assert f"  changed      1 rows: {other.index[10].date()}" in shown
    assert any("volume" in line and "->" in line for line in shown)


def test_new_days_alone_are_taken_unasked_and_a_changed_old_one_never(files, prices, capsys):
    bring_in(files, prices.iloc[:-5])
    bring_in(files, prices)
    assert load_prices(files["output"]).equals(prices)
    (entry,) = read_manifest(files["manifest"])["resources"]
    assert entry["rows"] == len(prices)
    before = snapshot(files)
    earlier, other = prices.iloc[5:], prices.copy()
    other.iloc[7, 3] = np.nextafter(other.iloc[7, 3], 0)
    later = prices.iloc[[-2]].set_axis(prices.index[[-1]] + pd.offsets.BDay(1))
    for table in (earlier, pd.concat([other, later]).rename_axis(index="date")):
        write_parquet(files["csv"].with_suffix(".parquet"), table)
        with pytest.raises(UserError, match="--replace"):
            run(files, source=("file", str(files["csv"].with_suffix(".parquet"))))
    assert snapshot(files) == before
    assert "changed      1 rows" in capsys.readouterr().out


def test_the_same_prices_again_change_nothing(files, prices, capsys):
    bring_in(files, prices, "--origin", "first")
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
    bring_in(files, prices, "--origin", "first", "--licence", "MIT")
    before = snapshot(files)
    files["output"].unlink()
    with pytest.raises(UserError, match="--replace"):
        bring_in(files, prices.iloc[:-1])
    bring_in(files, prices)
    assert snapshot(files) == before


def test_the_command_that_the_manifest_check_names_registers_an_edited_file(files, prices):
    bring_in(files, prices)
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
    bring_in(files, prices)
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


@pytest.mark.parametrize(
    "source", [("google",), ("file",), ("yahoo", "more"), ("file", "a", "b"), ("ecb",)]
)
def test_an_unknown_source_is_refused_with_those_allowed(files, source):
    with pytest.raises(UserError, match="allowed: yahoo, or file PATH, or ecb PATH"):
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


@pytest.mark.parametrize(
    "options",
    [["--source", "file", "x.csv"], ["--source", "yahoo", "--output", "data/raw/A.parquet"]],
)
def test_several_symbols_of_one_file_or_to_one_file_are_refused(here, options):
    with pytest.raises(UserError, match="got the symbols ABC, XYZ; allowed: one, or several"):
        fetch.main(["ABC", "XYZ", *options])


# The European Central Bank's reference rates


def ecb_file(path: Path, days: pd.DatetimeIndex) -> Path:
    """Write a file as the ECB does: units per euro, newest day first, N/A, a comma at the end."""
    random = np.random.default_rng(0)
    steps = random.normal(0, 0.005, (len(days), 2)).cumsum(axis=0)
    rates = pd.DataFrame(np.exp(steps) * [1.1, 130], days, ["USD", "JPY"])
    rates = rates.round({"USD": 4, "JPY": 2})
    rates["OLD"] = rates["USD"].where(days < "1999-06-01")
    rates["GAP"] = rates["USD"].drop(days[100:103]).reindex(days)
    lines = rates.iloc[::-1].to_csv(na_rep="N/A", date_format="%Y-%m-%d").splitlines()
    path.write_text("".join(f"{line},\n" for line in ["Date" + lines[0], *lines[1:]]))
    return path


@pytest.fixture
def fixings(here) -> pd.DatetimeIndex:
    return open_days("XECB", pd.Timestamp("1999-01-04"), pd.Timestamp("2000-12-29"))


def registered(name: str) -> pd.DataFrame:
    return load_prices(f"data/raw/{name}.parquet")


def test_the_ecbs_file_gives_the_euro_price_of_each_currency_named(here, fixings):
    path = ecb_file(here / "eurofxref-hist.csv", fixings)
    published = pd.read_csv(path, index_col="Date", parse_dates=True).sort_index()
    with zipfile.ZipFile(here / "eurofxref-hist.zip", "w") as archive:
        archive.write(path, path.name)
    fetch.main(["--source", "ecb", str(here / "eurofxref-hist.zip"), "USD", "JPY"])
    for name in ("USD", "JPY"):
        assert (registered(name)["close"].to_numpy() == 1 / published[name].to_numpy()).all()
        assert registered(name).index.equals(fixings.as_unit("us").rename("date"))
    for entry in read_manifest("data/manifest.json")["resources"]:
        assert entry["calendar"] == "XECB" and entry["allowed"] == []
        assert "European Central Bank" in entry["sources"][0]["title"]
        assert "1 / " in entry["sources"][0]["title"]
        assert "ECB" in entry["licenses"][0]["name"]


def test_a_newer_file_of_the_ecb_adds_its_days_to_each_currency(here, fixings, capsys):
    path = ecb_file(here / "rates.csv", fixings)
    whole = path.read_text().splitlines()
    path.write_text("\n".join([whole[0], *whole[11:]]))
    fetch.main(["--source", "ecb", str(path), "USD", "JPY"])
    before = registered("USD")
    path.write_text("\n".join(whole))
    fetch.main(["USD", "JPY", "--source", "ecb", str(path)])
    assert registered("USD").iloc[:-10].equals(before)
    assert "added       10 rows" in capsys.readouterr().out
    entry, _ = read_manifest("data/manifest.json")["resources"]
    assert entry["last_date"] == "2000-12-29" and "2000-12-29" in entry["sources"][0]["title"]


def test_a_rate_that_the_ecb_changed_later_is_refused_and_the_other_currency_taken(here, fixings):
    path = ecb_file(here / "rates.csv", fixings)
    fetch.main(["--source", "ecb", str(path), "USD", "JPY"])
    old, lines = registered("USD"), path.read_text().splitlines()
    day, rate, *others = lines[200].split(",")
    lines[200] = ",".join([day, str(round(float(rate) + 0.0001, 4)), *others])
    path.write_text("\n".join(lines))
    with pytest.raises(UserError, match="failed: USD .*brought in: JPY"):
        fetch.main(["--source", "ecb", str(path), "USD", "JPY"])
    assert registered("USD").equals(old)


def test_a_currency_that_ended_has_its_own_days_and_one_with_a_gap_is_refused(here, fixings):
    path = ecb_file(here / "rates.csv", fixings)
    fetch.main(["--source", "ecb", str(path), "OLD"])
    assert str(registered("OLD").index[-1].date()) == "1999-05-31"
    first, last = (str(fixings[row].date()) for row in (100, 102))
    with pytest.raises(UserError, match=f"gap {first}/{last}: 3 day"):
        fetch.main(["--source", "ecb", str(path), "GAP"])


@pytest.mark.parametrize("text", ["", "Datum,USD\n", "Date,usd\n1999-01-04,1\n", "<html>"])
def test_a_file_that_is_not_the_ecbs_is_one_clear_line(here, text):
    Path("rates.csv").write_text(text)
    with pytest.raises(UserError, match=r"rates.csv: (not readable as CSV|has no )") as refusal:
        fetch.main(["--source", "ecb", "rates.csv", "USD"])
    assert "\n" not in str(refusal.value)
    Path("rates.zip").write_text(text)
    with pytest.raises(UserError, match="rates.zip: not readable as CSV"):
        fetch.main(["--source", "ecb", "rates.zip", "USD"])


def test_a_currency_that_the_file_lacks_is_refused_with_those_it_has(here, fixings):
    path = ecb_file(here / "rates.csv", fixings)
    with pytest.raises(UserError, match="has no XYZ; allowed: .* USD, JPY, OLD, GAP"):
        fetch.main(["--source", "ecb", str(path), "XYZ"])
    with pytest.raises(UserError, match="failed: GBP, HUF, .*brought in: USD, JPY"):
        fetch.main(["--source", "ecb", str(path)])


# Calendars


def test_prices_of_new_york_need_no_word_about_september_2001(files, capsys):
    spy = pd.read_parquet(Path(fetch.__file__).parents[1] / "data/raw/SPY.parquet")
    bring_in(files, spy.loc["2000":"2009"])
    assert read_manifest(files["manifest"])["resources"][0]["calendar"] == "XNYS"
    with pytest.raises(UserError, match="gap 2001-09-11/2001-09-14: 4 day.*calendar weekdays"):
        run(files, "--calendar", "weekdays")


def test_the_calendar_once_given_holds_for_later_fetches(files, prices, capsys):
    prices = prices.loc[:"2001-08"].drop(prices.index[[50, 51]])
    with pytest.raises(UserError, match="gap"):
        bring_in(files, prices)
    run(files, "--calendar", "weekdays")
    run(files)
    assert "nothing changes" in capsys.readouterr().out
