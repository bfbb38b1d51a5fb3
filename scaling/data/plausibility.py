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
from scipy.spatial import cKDTree

from scaling.data.calendars import EVERY_DAY, WEEKDAYS, known_from, open_days
from scaling.data.prices import QUOTES, SHOWN
from scaling.errors import UserError

Frame = pd.DataFrame
# What a check yields: the first day, the last day, and what was found there.
Found = Iterator[tuple[str, str, str]]

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
# Where no holidays are known: since 1982 New York missed four weekdays in a row only once.
MISSING_WEEKDAYS = 4
# Rank correlation within a year of (close - open) with (middle of high and low - open). It is 0.80
# to 0.93. Closes of the day before give 0.21 at most, or 0.42 if high and low were stretched to
# hold them.
SMALLEST_FIT, FIT_ROWS = 0.65, 20
# Exchanges quote in cents, and until 2001 New York quoted in fractions down to 1/64. Yahoo rounds
# to float32. Currencies are quoted to six digits at most, the price or its reciprocal. All
# registered prices lie on such ticks. A price times a dividend factor seldom does.
TICKS, QUOTED_DIGITS, ROUNDING, OFF_TICK_SHARE = (0.01, 1 / 64), 6, 1.2e-7, 0.5


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
    prices: Frame, *, adjusted: bool = False, calendar: str = WEEKDAYS
) -> list[Finding]:
    """Everything implausible in prices that passed `check_prices`, ordered by kind.

    The ticks of an exchange are not expected of prices that are `adjusted` for dividends.
    """
    return [
        Finding(kind, *found)
        for kind, check in CHECKS.items()
        if not (adjusted and check is _off_tick)
        for found in check(prices, calendar)
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
            prices,
            adjusted=entry.get("adjusted", False),
            calendar=entry.get("calendar", WEEKDAYS),
        )
        if not any(
            kind == finding.kind and first <= finding.first and finding.last <= last
            for kind, first, last in allowed
        )
    ]


def refuse_implausible(prices: Frame, entry: Mapping[str, Any], where: str) -> None:
    """Raise a `UserError` of one line if anything in the prices is `unexplained`."""
    if findings := unexplained(prices, entry):
        days = any(finding.kind in ("gap", "closed") for finding in findings)
        raise UserError(
            f"{where}: {summarise(findings)}; mend the source, or, if it is true, say so in the "
            "manifest with: --allow KIND DATES REASON"
            + "; or name the calendar of its exchange, such as --calendar XLON, or --calendar "
            "weekdays if its holidays are not known" * days
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


def _ends(days: pd.Index, start: int, stop: int) -> tuple[str, str]:
    return str(days[start])[:10], str(days[stop - 1])[:10]


def _days(table: Frame, start: int, stop: int) -> tuple[str, str]:
    return _ends(table.index, start, stop)


def _quotes(prices: Frame) -> Frame:
    return prices[[name for name in QUOTES if name in prices]]


def _outliers(prices: Frame, _calendar: str) -> Found:
    close = np.log(prices["close"].to_numpy())
    returns = pd.Series(close).diff().abs()
    spread = 1.4826 * returns.rolling(SPREAD_DAYS, center=True, min_periods=20).median()
    spread = spread.clip(lower=SMALLEST_SPREAD)
    around = pd.Series(close).rolling(5, center=True, min_periods=3).median()
    names = list(_quotes(prices))
    quotes = np.log(prices[names].to_numpy())
    away = np.abs(quotes - around.to_numpy()[:, None]) / spread.to_numpy()[:, None]
    deviating = away.max(axis=1) > LARGEST_DEVIATION
    for start, stop in _runs(deviating):
        row, column = np.unravel_index(away[start:stop].argmax(), (stop - start, len(names)))
        row += start
        yield (
            *_days(prices, start, stop),
            f"{names[column]} {np.exp(quotes[row, column]):g} is {away[row, column]:.1f} local "
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


def _copied(prices: Frame, _calendar: str) -> Found:
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


def _stale(prices: Frame, _calendar: str) -> Found:
    unchanged = _quotes(prices).diff().eq(0)
    # A fixing alone may well be that of the day before.
    repeated = unchanged.all(axis=1) & (len(unchanged.columns) > 1)
    for start, stop in _runs(repeated):
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


def _gaps(prices: Frame, calendar: str) -> Found:
    due = open_days(calendar, prices.index[0], prices.index[-1])
    known = due >= known_from(calendar)
    for start, stop in _runs(~due.isin(prices.index)):
        if known[start] or stop - start >= MISSING_WEEKDAYS:
            yield (
                *_ends(due, start, stop),
                f"{stop - start} day(s) in a row are missing on which a market of the calendar "
                f"{calendar} is open",
            )


def _closed(prices: Frame, calendar: str) -> Found:
    days = prices.index
    for start, stop in _runs(~days.isin(open_days(calendar, days[0], days[-1]))):
        yield (
            *_ends(days, start, stop),
            f"{stop - start} row(s) on days when a market of the calendar {calendar} is closed: is "
            "every row stamped a day late?",
        )


def _late(prices: Frame, _calendar: str) -> Found:
    if "high" not in prices:
        return
    days = pd.DatetimeIndex(prices.index)
    level = np.log(_quotes(prices))
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


def _on_tick(numbers: Frame, tick: Any) -> Frame:
    on_tick: Frame = (numbers - (numbers / tick).round() * tick).abs() <= ROUNDING * numbers
    return on_tick


def _with_few_digits(numbers: Frame) -> Frame:
    return _on_tick(numbers, 10 ** (np.floor(np.log10(numbers)) + 1 - QUOTED_DIGITS))


def _off_tick(prices: Frame, calendar: str) -> Found:
    if calendar == EVERY_DAY:  # no exchange that quotes in cents trades on every day
        return
    quotes = _quotes(prices)
    off_tick = ~(_with_few_digits(quotes) | _with_few_digits(1 / quotes))
    for tick in TICKS:
        off_tick &= ~_on_tick(quotes, tick)
    share = off_tick.groupby(pd.DatetimeIndex(prices.index).year).transform("mean")
    for start, stop in _runs(share.max(axis=1) > OFF_TICK_SHARE):
        found = off_tick.iloc[start:stop].mean()
        yield (
            *_days(prices, start, stop),
            f"{found.max():.0%} of the prices in {found.idxmax()} are neither cents nor 64ths: "
            "adjusted for dividends?",
        )


def _no_volume(prices: Frame, _calendar: str) -> Found:
    for start, stop in _runs(prices["volume"] == 0) if "volume" in prices else ():
        yield (*_days(prices, start, stop), f"no volume on {stop - start} day(s)")


CHECKS: Mapping[str, Callable[[Frame, str], Found]] = {
    "outlier": _outliers,
    "copied": _copied,
    "stale": _stale,
    "gap": _gaps,
    "closed": _closed,
    "late": _late,
    "adjusted": _off_tick,
    "volume": _no_volume,
}
