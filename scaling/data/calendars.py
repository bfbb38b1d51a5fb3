"""The days on which a market is open, by the name of its calendar in the manifest.

A calendar is an exchange's by its code of ISO 10383, such as XNYS, or XECB, the days on which the
European Central Bank publishes its rates, or every_day, or weekdays, of which no holidays are
known. The package `holidays` knows the codes and the holidays, also closures that nobody foresaw,
such as that of New York in September 2001. It is imported where it is asked, because a training
on a rented GPU does without it.
"""

import pandas as pd

from scaling.errors import UserError

EVERY_DAY, WEEKDAYS = "every_day", "weekdays"
NEW_YORK, ECB = "XNYS", "XECB"
# Riyadh trades from Sunday to Thursday, and all features of weeks take them to end on Friday.
UNSUPPORTED = {"XSAU"}


def week_end(calendar: str) -> int:
    """The last day of a week, Monday being 0. Raises `UserError` for an unknown calendar."""
    if calendar == EVERY_DAY:
        return 6
    import holidays

    exchanges = {*holidays.list_supported_financial(include_aliases=False)} - UNSUPPORTED
    if calendar not in exchanges | {WEEKDAYS}:
        raise UserError(
            f"calendar: got {calendar}; allowed: {EVERY_DAY}, {WEEKDAYS} (no holidays are known), "
            f"{', '.join(sorted(exchanges))}"
        )
    return 4


def open_days(calendar: str, first: pd.Timestamp, last: pd.Timestamp) -> pd.DatetimeIndex:
    """The days from `first` to `last` on which a market is open, as far as is known."""
    days = pd.date_range(first, last)
    days = days[days.day_of_week <= week_end(calendar)]
    if calendar in (EVERY_DAY, WEEKDAYS):
        return days
    import holidays

    closed = holidays.financial_holidays(calendar, years=range(first.year, last.year + 1))
    return days[~days.isin(pd.DatetimeIndex(list(closed)))]


def known_from(calendar: str) -> pd.Timestamp:
    """The first day from which on all days are known on which a market is open."""
    if calendar == EVERY_DAY:
        return pd.Timestamp.min
    if calendar == WEEKDAYS:
        return pd.Timestamp.max
    import holidays

    return pd.Timestamp(year=holidays.financial_holidays(calendar).start_year, month=1, day=1)
