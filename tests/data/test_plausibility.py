"""Plausibility: each known mistake is planted in the real SPY prices and found by kind and day."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

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

ROOT = Path(__file__).parents[2]
MANIFEST = ROOT / "data/manifest.json"
QUOTES = ["open", "high", "low", "close"]
REGISTERED = [entry["path"] for entry in read_manifest(MANIFEST)["resources"]]
Plant = Callable[[pd.DataFrame], pd.DataFrame]


@pytest.fixture(scope="module")
def spy() -> pd.DataFrame:
    return load_prices(ROOT / "data/raw/SPY.parquet")


@pytest.fixture(scope="module")
def entry() -> dict:
    found = registered_entry(ROOT / "data/raw/SPY.parquet", MANIFEST)
    assert found is not None
    return found


@pytest.mark.parametrize("path", REGISTERED)
def test_the_registered_prices_hold_nothing_that_the_manifest_does_not_explain(path):
    known = registered_entry(MANIFEST.parent / path, MANIFEST)
    assert known["adjusted"] is False
    assert unexplained(load_prices(MANIFEST.parent / path), known) == []


@pytest.mark.parametrize("path", REGISTERED)
def test_every_allowance_of_the_manifest_explains_something(path):
    prices, known = (
        load_prices(MANIFEST.parent / path),
        registered_entry(MANIFEST.parent / path, MANIFEST),
    )
    for item in known["allowed"]:
        others = [other for other in known["allowed"] if other != item]
        assert unexplained(prices, {"allowed": others}) != []


def test_the_allowed_days_of_spy_are_september_2001_and_the_flash_crash(spy):
    found = {(f.kind, f.first, f.last) for f in find_implausible(spy)}
    assert found == {
        ("gap", "2001-09-11", "2001-09-14"),
        ("outlier", "2010-05-06", "2010-05-06"),
    }


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
        (rows_a_weekday_late, "late", "Good Friday or Christmas Day"),
        (missing_month, "gap", "2008-12-01/2009-01-01: 24 weekdays in a row are missing"),
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


def test_closes_of_the_day_before_are_refused_even_earlier_when_high_and_low_stay(spy):
    spoiled = spy.assign(close=spy["close"].shift()).iloc[1:]
    with pytest.raises(UserError, match="high below open, close or low"):
        check_prices(spoiled, "planted")


def every_day(prices: pd.DataFrame) -> pd.DataFrame:
    """The same rows as those of a market that trades on weekends too."""
    days = pd.date_range("2000-01-03", periods=len(prices), name="date", unit="us")
    return prices.set_axis(days)


def test_a_market_of_every_day_knows_neither_holidays_nor_ticks_but_gaps() -> None:
    prices = every_day(random_prices())
    assert find_implausible(prices) == []
    prices[QUOTES] *= 0.98765
    assert find_implausible(prices) == []
    lost = prices.drop(prices.index[300:304])
    assert [str(f) for f in find_implausible(lost)] == [
        "gap 2000-10-29/2000-11-01: 4 days in a row are missing (at most 3)"
    ]
    assert find_implausible(prices.drop(prices.index[300:303])) == []


def test_prices_registered_without_volume_are_not_asked_for_one() -> None:
    prices = random_prices().assign(volume=0)
    assert [f.kind for f in unexplained(prices, {})] == ["volume"]
    assert unexplained(prices, {"volume": False}) == []


def test_a_week_that_was_lost_is_found_and_a_long_weekend_is_not(spy, entry):
    lost = spy.drop(spy.loc["2008-12-08":"2008-12-12"].index)
    assert [f.kind for f in unexplained(lost, entry)] == ["gap"]
    assert unexplained(spy.drop(spy.loc["2008-12-08":"2008-12-10"].index), entry) == []


def test_prices_declared_as_adjusted_need_not_lie_on_ticks(spy, entry):
    spoiled = adjusted_rows(spy.copy())
    assert {f.kind for f in unexplained(spoiled, entry)} == {"adjusted"}
    assert unexplained(spoiled, {**entry, "adjusted": True}) == []


# What is allowed


GAP = {"kind": "gap", "dates": "2001-09-11/2001-09-14", "reason": "closed"}


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
