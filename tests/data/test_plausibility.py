"""Plausibility: each known mistake is planted in the real SPY prices and found by kind and day."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from scaling.data.calendars import open_days
from scaling.data.manifest import read_manifest, registered_entry
from scaling.data.plausibility import (
    Finding,
    find_implausible,
    join_allowed,
    refuse_implausible,
    summarise,
    unexplained,
)
from scaling.data.prices import check_prices, load_prices
from scaling.errors import UserError
from tests.conftest import random_prices

MANIFEST = Path(__file__).parents[2] / "data/manifest.json"
QUOTES = ["open", "high", "low", "close"]
REGISTERED = [entry["path"] for entry in read_manifest(MANIFEST)["resources"]]
Plant = Callable[[pd.DataFrame], pd.DataFrame]


def registered(path: str) -> tuple[pd.DataFrame, dict]:
    known = registered_entry(MANIFEST.parent / path, MANIFEST)
    assert known is not None
    return load_prices(MANIFEST.parent / path, known["calendar"]), known


@pytest.fixture(scope="module")
def entry() -> dict:
    return registered("raw/SPY.parquet")[1]


@pytest.mark.parametrize("path", REGISTERED)
def test_the_registered_prices_hold_nothing_that_the_manifest_does_not_explain(path):
    prices, known = registered(path)
    assert known["adjusted"] is False
    assert unexplained(prices, known) == []


@pytest.mark.parametrize("path", REGISTERED)
def test_every_allowance_of_the_manifest_explains_something_odd_in_the_prices(path):
    prices, known = registered(path)
    for item in known["allowed"]:
        assert item["kind"] in ("outlier", "stale", "volume")
        others = [other for other in known["allowed"] if other != item]
        assert unexplained(prices, {**known, "allowed": others}) != []


@pytest.mark.parametrize("seed", range(5))
def test_a_random_walk_in_cents_holds_nothing_implausible(seed):
    assert find_implausible(random_prices(seed=seed)) == []


# One mistake each: what it does to the prices, the kind that must be found, and a day within it


def times_ten(*columns: str, row: int = 4000) -> Plant:
    def plant(prices: pd.DataFrame) -> pd.DataFrame:
        prices.loc[prices.index[row], list(columns)] *= 10
        return prices

    return plant


def low_without_a_digit(prices: pd.DataFrame) -> pd.DataFrame:
    prices.loc[prices.index[4000], "low"] /= 10
    return prices


def month_in_another_unit(prices: pd.DataFrame) -> pd.DataFrame:
    prices.loc[prices.index[4000:4020], QUOTES] *= 100
    return prices


def forgotten_split(prices: pd.DataFrame) -> pd.DataFrame:
    prices.loc[prices.index[4000] :, QUOTES] /= 2
    return prices.round(2)


def copied_rows(prices: pd.DataFrame) -> pd.DataFrame:
    prices.iloc[3970:4030] = prices.iloc[1000:1060].to_numpy()
    return prices


def copied_rows_at_the_level_of_their_new_place(prices: pd.DataFrame) -> pd.DataFrame:
    level = prices["close"].iloc[3970] / prices["close"].iloc[1000]
    prices.iloc[3970:4030, :4] = (prices.iloc[1000:1060, :4] * level).round(2).to_numpy()
    return prices


def stale_rows(prices: pd.DataFrame) -> pd.DataFrame:
    prices.iloc[3990:4005] = prices.iloc[3990].to_numpy()
    return prices


def around_the_close(prices: pd.DataFrame) -> pd.DataFrame:
    """Stretch high and low so that they hold the close, as `check_prices` demands."""
    prices["high"] = prices[["high", "close"]].max(axis=1)
    prices["low"] = prices[["low", "close"]].min(axis=1)
    return prices


def stale_closes(prices: pd.DataFrame) -> pd.DataFrame:
    prices.iloc[3990:4005, 3] = prices["close"].iloc[3990]
    return around_the_close(prices)


def tenth_of(prices: pd.DataFrame) -> np.ndarray:
    return np.r_[False, np.random.default_rng(0).random(len(prices) - 1) < 0.1]


def rows_filled_forward(prices: pd.DataFrame) -> pd.DataFrame:
    return prices[~tenth_of(prices)].reindex(prices.index, method="ffill")


def closes_filled_forward(prices: pd.DataFrame) -> pd.DataFrame:
    prices["close"] = prices["close"].mask(tenth_of(prices)).ffill()
    return around_the_close(prices)


def closes_of_the_day_before(prices: pd.DataFrame) -> pd.DataFrame:
    prices["close"] = prices["close"].shift()
    return around_the_close(prices.iloc[1:].copy())


def rows_a_weekday_late(prices: pd.DataFrame) -> pd.DataFrame:
    return prices.set_axis((prices.index + pd.offsets.BDay(1)).rename("date"))


def missing_month(prices: pd.DataFrame) -> pd.DataFrame:
    return prices.drop(prices.loc["2008-12"].index)


def dividend_factors(prices: pd.DataFrame) -> np.ndarray:
    """A dividend of 0.45 % every 63 days, as the adjusted closes of a vendor discount it."""
    return 0.9955 ** (np.arange(len(prices))[::-1] // 63)


def adjusted_rows(prices: pd.DataFrame) -> pd.DataFrame:
    prices[QUOTES] = prices[QUOTES].mul(dividend_factors(prices), axis=0)
    return prices


def adjusted_closes(prices: pd.DataFrame) -> pd.DataFrame:
    prices["close"] *= dividend_factors(prices)
    return around_the_close(prices)


def no_volume(prices: pd.DataFrame) -> pd.DataFrame:
    prices.iloc[4000, 4] = 0
    return prices


@pytest.mark.parametrize(
    ("plant", "kind", "says"),
    [
        (times_ten(*QUOTES), "outlier", "high 891.5 is"),
        (times_ten("high", "close"), "outlier", "high 891.5 is"),
        (times_ten("high", "open"), "outlier", "high 891.5 is"),
        (times_ten("high"), "outlier", "high 891.5 is"),
        (low_without_a_digit, "outlier", "low 8.629 is"),
        (month_in_another_unit, "outlier", "another unit"),
        (forgotten_split, "outlier", "or a split"),
        (copied_rows, "copied", "60 closes move as those of 1997-01-14 to 1997-04-09"),
        (
            copied_rows_at_the_level_of_their_new_place,
            "copied",
            "60 closes move as those of 1997-01-14 to 1997-04-09",
        ),
        (stale_rows, "stale", "15 equal closes"),
        (stale_closes, "stale", "15 equal closes"),
        (rows_filled_forward, "stale", "open, high, low and close of the day before"),
        (closes_filled_forward, "stale", "of 250 closes equal the one before"),
        (closes_of_the_day_before, "late", "those of the day before"),
        (rows_a_weekday_late, "closed", "calendar XNYS is closed"),
        (missing_month, "gap", "2008-12-01/2008-12-31: 22 day(s) in a row are missing"),
        (adjusted_rows, "adjusted", "adjusted for dividends"),
        (adjusted_closes, "adjusted", "of the prices in close"),
        (no_volume, "volume", "no volume on 1 day"),
    ],
)
def test_a_planted_mistake_that_leaves_every_row_sound_is_refused_by_kind_and_day(
    spy, entry, plant, kind, says
):
    spoiled = check_prices(plant(spy.copy()), "planted")
    with pytest.raises(UserError, match=f"planted: .*{kind} ") as refusal:
        refuse_implausible(spoiled, entry, "planted")
    assert "\n" not in str(refusal.value)
    first, last = str(spy.index[3950].date()), str(spy.index[4050].date())
    found = [f for f in unexplained(spoiled, entry) if f.kind == kind and says in str(f)]
    assert any(f.first <= last and f.last >= first for f in found)


@pytest.mark.parametrize("row", [0, 1, 2, -3, -2, -1])
def test_a_price_ten_times_too_high_is_found_at_the_ends_of_the_table_too(spy, entry, row):
    spoiled = times_ten(*QUOTES, row=row)(spy.copy())
    assert str(spy.index[row].date()) in summarise(unexplained(spoiled, entry))


def every_day(prices: pd.DataFrame) -> pd.DataFrame:
    """The same rows as those of a market that trades on weekends too."""
    days = pd.date_range("2000-01-03", periods=len(prices), name="date", unit="us")
    return prices.set_axis(days)


def test_a_market_of_every_day_knows_neither_holidays_nor_ticks_but_gaps() -> None:
    prices = every_day(random_prices())
    assert find_implausible(prices, calendar="every_day") == []
    prices[QUOTES] *= 0.98765
    assert find_implausible(prices, calendar="every_day") == []
    lost = prices.drop(prices.index[300:302])
    assert [str(f) for f in find_implausible(lost, calendar="every_day")] == [
        "gap 2000-10-29/2000-10-30: 2 day(s) in a row are missing on which a market of the "
        "calendar every_day is open"
    ]


# Fixings: one price a day, quoted to five or six digits, as units of one currency per another


def fixings(digits: int = 5) -> pd.DataFrame:
    """A random walk that is quoted as the ECB does, turned into euro per unit."""
    days = open_days("XECB", pd.Timestamp("1999-01-04"), pd.Timestamp("2004-12-31"))
    steps = np.random.default_rng(0).normal(0, 0.004, len(days))
    rates = [float(f"{rate:.{digits}g}") for rate in 1.1 * np.exp(steps.cumsum())]
    index = days.as_unit("us").rename("date")
    return check_prices(pd.DataFrame({"close": 1 / np.array(rates)}, index), "fixings")


@pytest.mark.parametrize("digits", [5, 6])
def test_fixings_of_few_digits_are_no_adjusted_prices_either_way_up(digits):
    prices = fixings(digits)
    assert find_implausible(prices, calendar="XECB") == []
    assert find_implausible(1 / prices, calendar="XECB") == []
    assert [f.kind for f in find_implausible(prices * 0.98765, calendar="XECB")] == ["adjusted"]


def test_a_fixing_may_be_that_of_the_day_before_but_not_for_a_week():
    prices = fixings()
    again = prices.copy()
    again.iloc[100:104] = again.iloc[100]
    again.iloc[200] = again.iloc[199]
    assert find_implausible(again, calendar="XECB") == []
    again.iloc[104] = again.iloc[100]
    assert [f.kind for f in find_implausible(again, calendar="XECB")] == ["stale"]


@pytest.mark.parametrize(
    ("plant", "kind"),
    [
        (lambda p: p * np.where(np.arange(len(p)) == 700, 10, 1)[:, None], "outlier"),
        (lambda p: p * np.where(np.arange(len(p)) < 700, 100, 1)[:, None], "outlier"),
        (lambda p: p.drop(p.index[640]), "gap"),
        (lambda p: p.set_axis(p.index + pd.offsets.BDay(1)), "closed"),
    ],
    ids=["ten times too high", "another unit", "a lost day", "a day late"],
)
def test_a_planted_mistake_in_fixings_is_found(plant, kind):
    assert kind in {f.kind for f in find_implausible(plant(fixings()), calendar="XECB")}


def test_one_lost_day_is_found_where_the_calendar_is_known_and_four_weekdays_where_not(spy, entry):
    (one,) = unexplained(spy.drop(pd.Timestamp("2008-12-08")), entry)
    assert str(one).startswith("gap 2008-12-08: 1 day(s) in a row are missing")
    unknown = {**entry, "calendar": "weekdays"}
    found = [(f.first, f.last) for f in unexplained(spy, unknown)]
    assert found == [("2001-09-11", "2001-09-14")]
    lost = spy.drop(spy.loc["2008-12-08":"2008-12-10"].index)
    assert len(unexplained(lost, unknown)) == 1
    lost = spy.drop(spy.loc["2008-12-08":"2008-12-11"].index)
    assert len(unexplained(lost, unknown)) == 2


@pytest.mark.parametrize("day", ["2001-09-12", "2012-10-29", "2018-12-05", "2007-01-02"])
def test_a_row_on_a_day_when_the_exchange_was_closed_is_found(spy, entry, day):
    """The attacks of 2001, hurricane Sandy, and the funerals of two presidents."""
    before = spy.loc[:day].iloc[[-1]] + [0.01, 0.01, 0.01, 0.01, 1]
    surplus = pd.concat([spy, before.set_axis([pd.Timestamp(day)])]).sort_index()
    surplus = surplus.astype({"volume": "int64"}).rename_axis(index="date")
    found = [f for f in unexplained(surplus, entry) if f.kind == "closed"]
    assert [(f.first, f.last) for f in found] == [(day, day)]


# What is allowed


GAP = {"kind": "gap", "dates": "2001-09-11/2001-09-14", "reason": "closed"}  # among weekdays


@pytest.mark.parametrize(
    "other",
    [
        {"kind": "outlier"},
        {"dates": "2001-09-11"},
        {"dates": "2001-09-12/2001-09-14"},
        {"dates": "2002-09-11/2002-09-14"},
    ],
)
def test_an_allowance_of_another_kind_or_of_other_days_explains_nothing(spy, other):
    assert "gap" not in {f.kind for f in unexplained(spy, {"allowed": [GAP]})}
    assert "gap" in {f.kind for f in unexplained(spy, {"allowed": [{**GAP, **other}]})}


@pytest.mark.parametrize(
    "item",
    [
        {**GAP, "kind": "anything"},
        {**GAP, "dates": "September 2001"},
        {**GAP, "dates": "2001-09-11/2001-09-12/2001-09-14"},
        {**GAP, "dates": None},
        {**GAP, "reason": " "},
        {"kind": "gap", "dates": "2001-09-11"},
        "gap",
    ],
)
def test_an_allowance_without_a_known_kind_days_and_a_reason_is_refused(spy, item):
    with pytest.raises(UserError, match="needed: kind .*, dates .* and a reason"):
        unexplained(spy, {"allowed": [item]})


def test_an_allowance_given_again_replaces_the_former_one():
    joined = join_allowed([GAP], [("gap", GAP["dates"], "attacks"), ("late", "2001-12-25", "x")])
    assert [item["reason"] for item in joined] == ["attacks", "x"]
    assert json.loads(json.dumps(joined)) == joined


def test_many_findings_of_one_kind_are_one_line_with_the_first_days_and_a_count():
    findings = [Finding("gap", f"2001-09-{d:02}", f"2001-09-{d:02}", "lost") for d in range(1, 10)]
    days = ", ".join(f"2001-09-{d:02}" for d in range(2, 7))
    assert summarise(findings) == f"gap 2001-09-01: lost (8 more: {days}, …)"
