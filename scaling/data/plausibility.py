"""Prices in which every row is sound and which are still hardly true, found by kind and day.

`check_prices` refuses rows that contradict themselves. The checks here look for the mistakes that
it cannot see: a wrong digit, copied rows, stale quotes, lost days, closes of another day, dividends
taken out. Each threshold lies beyond what the registered markets ever did (the S&P 500 in 42 years,
SPY in 27, the NASDAQ composite in 20), except on the few days that the manifest allows with a
reason.

Two mistakes leave no trace in a single table and are not found: a whole table whose rows were each
moved to the date of the next row, and adjusted prices that were rounded to cents afterwards.
"""

import datetime
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from pandas.tseries.holiday import GoodFriday
from scipy.spatial import cKDTree

from scaling.data.prices import PRICE_COLUMNS, SHOWN
from scaling.errors import UserError

Frame = pd.DataFrame
# What a check yields: the first day, the last day, and what was found there.
Found = Iterator[tuple[str, str, str]]
QUOTES = list(PRICE_COLUMNS[:4])

# The local spread of a day is the median absolute return of the 121 days around it, scaled to a
# standard deviation. Below 0.1 % it counts as 0.1 %, so that the neighbours of stale quotes are no
# outliers.
SPREAD_DAYS, SMALLEST_SPREAD = 121, 0.001
# Local spreads between a price and the median close of the five days around it. Only crashes that
# turned within days reach 9, such as October 1987 (9.2) and 6 May 2010 (11.3). A price ten times
# too high is more than 60 away, even in 2008.
LARGEST_DEVIATION = 9.0
# Local spreads of one return that does not revert. 19 October 1987 is 15.2. A forgotten 2:1 split
# is 46 where the spread is 1.5 %, and a unit ten times larger is 150.
LARGEST_RETURN = 20.0
# Ten returns in a row that agree within 2 basis points, which is the rounding of a price of 50 to
# cents. By chance fewer than one table in a million holds two such sequences.
COPIED_RETURNS, COPIED_WITHIN = 10, 2e-4
# SPY has at most 3 equal closes in a row, and among 250 closes at most 15 equal to the one before.
STALE_CLOSES, UNCHANGED_WINDOW, UNCHANGED_SHARE = 5, 250, 0.1
# Since 1982 New York missed four weekdays in a row only once, in September 2001.
MISSING_DAYS = 4
# Rank correlation within a year of (close - open) with (middle of high and low - open). It is 0.80
# to 0.93. Closes of the day before give 0.21 at most, or 0.42 if high and low were stretched to
# hold them.
SMALLEST_FIT, FIT_ROWS = 0.65, 20
# Exchanges quote in cents, and until 2001 New York quoted in fractions down to 1/64. Yahoo rounds
# to float32. All registered prices lie on such ticks; a price times a dividend factor does not.
TICKS, ROUNDING, OFF_TICK_SHARE = (0.01, 1 / 64), 1.2e-7, 0.5


@dataclass(frozen=True)
class Finding:
    """Something implausible, on the days from `first` to `last` (ISO dates)."""

    kind: str
    first: str
    last: str
    found: str

    def __str__(self) -> str:
        days = self.first if self.first == self.last else f"{self.first}/{self.last}"
        return f"{self.kind} {days}: {self.found}"


def find_implausible(
    prices: Frame, *, adjusted: bool = False, volume: bool = True
) -> list[Finding]:
    """Everything implausible in prices that passed `check_prices`, ordered by kind.

    The ticks of an exchange are not expected of prices that are `adjusted` for dividends, nor is
    volume of prices that are registered without.
    """
    left_out = [_off_tick] * adjusted + [_no_volume] * (not volume)
    return [
        Finding(kind, *found)
        for kind, check in CHECKS.items()
        if check not in left_out
        for found in check(prices)
    ]


def unexplained(prices: Frame, entry: Mapping[str, Any]) -> list[Finding]:
    """The findings that the manifest's entry of these prices does not explain.

    An item `{"kind": ..., "dates": ..., "reason": ...}` in the entry's `allowed` explains the
    findings of that kind that lie wholly within `dates`, which is one ISO date or two joined by a
    slash. Raises `UserError` for an item of another form.
    """
    allowed = [_read_allowed(item) for item in entry.get("allowed", [])]
    return [
        finding
        for finding in find_implausible(
            prices, adjusted=entry.get("adjusted", False), volume=entry.get("volume", True)
        )
        if not any(
            kind == finding.kind and first <= finding.first and finding.last <= last
            for kind, first, last in allowed
        )
    ]


def refuse_implausible(prices: Frame, entry: Mapping[str, Any], where: str) -> None:
    """Raise a `UserError` of one line if anything in the prices is `unexplained`."""
    if findings := unexplained(prices, entry):
        raise UserError(
            f"{where}: {summarise(findings)}; mend the source, or, if it is true, say so in the "
            "manifest with: --allow KIND DATES REASON"
        )


def summarise(findings: Iterable[Finding]) -> str:
    """One line: the first finding of each kind, and the first days of the others of that kind."""
    by_kind: dict[str, list[Finding]] = {}
    for finding in findings:
        by_kind.setdefault(finding.kind, []).append(finding)
    lines = []
    for first, *others in by_kind.values():
        days = ", ".join(other.first for other in others[:SHOWN])
        more = f" ({len(others)} more: {days}{', …' if len(others) > SHOWN else ''})"
        lines.append(f"{first}{more if others else ''}")
    return "; ".join(lines)


def join_allowed(
    former: Iterable[Mapping[str, str]], given: Iterable[tuple[str, str, str]]
) -> list[Mapping[str, str]]:
    """The `allowed` list `former` with the `given` (kind, dates, reason) added or renewed."""
    items = [*former, *({"kind": k, "dates": d, "reason": why} for k, d, why in given)]
    return list({_read_allowed(item): item for item in items}.values())


def _read_allowed(item: Mapping[str, Any]) -> tuple[str, str, str]:
    try:
        days = [datetime.date.fromisoformat(day).isoformat() for day in item["dates"].split("/")]
        sound = item["kind"] in CHECKS and len(days) <= 2 and bool(item["reason"].strip())
    except (AttributeError, KeyError, TypeError, ValueError):
        sound = False
    if not sound:
        raise UserError(
            f"allowed: got {item}; needed: kind ({', '.join(CHECKS)}), dates (a day such as "
            "1987-10-19, or two joined by a slash) and a reason"
        )
    return item["kind"], days[0], days[-1]


def _runs(flagged: Any) -> list[tuple[int, int]]:
    """Each stretch of true rows, as its first row and the row after its last."""
    edges = np.diff(np.asarray(flagged, dtype=np.int8), prepend=0, append=0)
    starts, stops = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    return list(zip(starts.tolist(), stops.tolist(), strict=True))


def _days(table: Frame, start: int, stop: int) -> tuple[str, str]:
    return str(table.index[start])[:10], str(table.index[stop - 1])[:10]


def _trades_every_day(prices: Frame) -> bool:
    """Whether there are rows on weekends, which `check_prices` allows to no other market."""
    return bool((pd.DatetimeIndex(prices.index).day_of_week >= 5).any())


def _outliers(prices: Frame) -> Found:
    close = np.log(prices["close"].to_numpy())
    returns = pd.Series(close).diff().abs()
    spread = 1.4826 * returns.rolling(SPREAD_DAYS, center=True, min_periods=20).median()
    spread = spread.clip(lower=SMALLEST_SPREAD)
    around = pd.Series(close).rolling(5, center=True, min_periods=3).median()
    quotes = np.log(prices[QUOTES].to_numpy())
    away = np.abs(quotes - around.to_numpy()[:, None]) / spread.to_numpy()[:, None]
    deviating = away.max(axis=1) > LARGEST_DEVIATION
    for start, stop in _runs(deviating):
        row, column = np.unravel_index(away[start:stop].argmax(), (stop - start, len(QUOTES)))
        row += start
        yield (
            *_days(prices, start, stop),
            f"{QUOTES[column]} {np.exp(quotes[row, column]):g} is {away[row, column]:.1f} local "
            f"spreads from the closes around it, {np.exp(around[row]):g} (at most "
            f"{LARGEST_DEVIATION:g})",
        )
    leap = returns / spread
    reverting = deviating | np.roll(deviating, 1)  # the return into an outlier, and the one back
    for start, stop in _runs((leap > LARGEST_RETURN) & ~reverting):
        yield (
            *_days(prices, start, stop),
            f"close {np.exp(close[start]):g} after {np.exp(close[start - 1]):g}, a return of "
            f"{leap[start]:.0f} local spreads (at most {LARGEST_RETURN:g}): another unit, or a "
            "split?",
        )


def _copied(prices: Frame) -> Found:
    returns = np.diff(np.log(prices["close"].to_numpy()))
    if len(returns) < COPIED_RETURNS:
        return
    sequences = np.lib.stride_tricks.sliding_window_view(returns, COPIED_RETURNS)
    moving = np.flatnonzero(sequences.std(axis=1) > SMALLEST_SPREAD)
    pairs = cKDTree(sequences[moving]).query_pairs(COPIED_WITHIN, p=np.inf, output_type="ndarray")
    earlier, later = moving[pairs].T
    for distance in np.unique(later - earlier):
        copied = np.isin(np.arange(len(sequences)), later[later - earlier == distance])
        for start, stop in _runs(copied):
            stop += COPIED_RETURNS
            original = " to ".join(_days(prices, start - distance, stop - distance))
            yield (
                *_days(prices, start, stop),
                f"{stop - start} closes move as those of {original}: copied rows?",
            )


def _stale(prices: Frame) -> Found:
    unchanged = prices[QUOTES].diff().eq(0)
    for start, stop in _runs(unchanged.all(axis=1)):
        yield (
            *_days(prices, start, stop),
            f"{stop - start} day(s) with the open, high, low and close of the day before",
        )
    for start, stop in _runs(unchanged["close"]):
        if stop - start + 1 >= STALE_CLOSES:
            yield (
                *_days(prices, start - 1, stop),
                f"{stop - start + 1} equal closes in a row (at most {STALE_CLOSES - 1})",
            )
    share = unchanged["close"].rolling(UNCHANGED_WINDOW).mean()
    for start, stop in _runs(share > UNCHANGED_SHARE):
        yield (
            *_days(prices, start - UNCHANGED_WINDOW + 1, stop),
            f"up to {share.iloc[start:stop].max():.0%} of {UNCHANGED_WINDOW} closes equal the one "
            f"before (at most {UNCHANGED_SHARE:.0%}): filled forward?",
        )


def _gaps(prices: Frame) -> Found:
    days = prices.index.to_numpy().astype("datetime64[D]")
    every_day = _trades_every_day(prices)
    week, name = ("1111111", "days") if every_day else ("1111100", "weekdays")
    missing = np.busday_count(days[:-1], days[1:], week) - 1
    for row in np.flatnonzero(missing >= MISSING_DAYS):
        yield (
            str(np.busday_offset(days[row], 1, weekmask=week)),
            str(np.busday_offset(days[row + 1], -1, weekmask=week)),
            f"{missing[row]} {name} in a row are missing (at most {MISSING_DAYS - 1})",
        )


def _late(prices: Frame) -> Found:
    days = pd.DatetimeIndex(prices.index)
    closed = days.isin(GoodFriday.dates(days[0], days[-1]))
    closed |= (days.month == 12) & (days.day == 25)
    if closed.any() and not _trades_every_day(prices):
        yield (
            *_days(prices[closed], 0, closed.sum()),
            f"{closed.sum()} row(s) on Good Friday or Christmas Day, when exchanges are closed: is "
            "every row stamped a day late?",
        )
    level = np.log(prices[QUOTES])
    moves = Frame({"close": level["close"] - level["open"]})
    moves["middle"] = (level["high"] + level["low"]) / 2 - level["open"]
    fits = {
        year: rows.rank().corr().loc["close", "middle"]
        for year, rows in moves.groupby(days.year)
        if len(rows) >= FIT_ROWS
    }
    fit = days.year.map(fits)
    for start, stop in _runs(fit < SMALLEST_FIT):
        yield (
            *_days(prices, start, stop),
            f"closes fit the highs and lows of their days with a correlation of only "
            f"{fit[start:stop].max():.2f} (at least {SMALLEST_FIT:g}): are they those of the day "
            "before?",
        )


def _off_tick(prices: Frame) -> Found:
    if _trades_every_day(prices):  # no exchange that quotes in cents does
        return
    quotes = prices[QUOTES]
    off_tick = quotes > 0
    for tick in TICKS:
        off_tick &= (quotes - (quotes / tick).round() * tick).abs() > ROUNDING * quotes
    share = off_tick.groupby(pd.DatetimeIndex(prices.index).year).transform("mean")
    for start, stop in _runs(share.max(axis=1) > OFF_TICK_SHARE):
        found = off_tick.iloc[start:stop].mean()
        yield (
            *_days(prices, start, stop),
            f"{found.max():.0%} of the prices in {found.idxmax()} are neither cents nor 64ths: "
            "adjusted for dividends?",
        )


def _no_volume(prices: Frame) -> Found:
    for start, stop in _runs(prices["volume"] == 0):
        yield (*_days(prices, start, stop), f"no volume on {stop - start} day(s)")


CHECKS: Mapping[str, Callable[[Frame], Found]] = {
    "outlier": _outliers,
    "copied": _copied,
    "stale": _stale,
    "gap": _gaps,
    "late": _late,
    "adjusted": _off_tick,
    "volume": _no_volume,
}
