"""Calendars: the days on which a market is open are those on which it has prices."""

from pathlib import Path

import pandas as pd
import pytest

from scaling.data.calendars import known_from, open_days, week_end
from scaling.data.manifest import read_manifest
from scaling.errors import UserError

ROOT = Path(__file__).parents[2]
ENTRIES = read_manifest(ROOT / "data/manifest.json")["resources"]


def days(calendar: str, first: str, last: str) -> list[str]:
    found = open_days(calendar, pd.Timestamp(first), pd.Timestamp(last))
    return [str(day.date()) for day in found]


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry["name"])
def test_the_days_of_the_committed_prices_are_those_of_their_calendar(entry):
    prices = pd.read_parquet(ROOT / "data" / entry["path"])
    found = open_days(entry["calendar"], prices.index[0], prices.index[-1])
    assert prices.index.equals(found.as_unit("us").rename("date"))


def test_the_ecb_published_on_good_friday_of_1999_and_never_since():
    assert "1999-04-02" in days("XECB", "1999-04-01", "1999-04-06")
    assert "2000-04-21" not in days("XECB", "2000-04-20", "2000-04-25")


def test_every_day_is_every_day_and_weekdays_know_no_holidays():
    assert len(days("every_day", "2001-12-24", "2001-12-30")) == 7
    assert len(days("weekdays", "2001-12-24", "2001-12-30")) == 5
    assert len(days("XNYS", "2001-12-24", "2001-12-30")) == 4
    assert [week_end(name) for name in ("every_day", "weekdays", "XLON")] == [6, 4, 4]


def test_a_calendar_says_from_when_on_it_is_known():
    assert known_from("every_day") < pd.Timestamp("1900-01-01")
    assert known_from("XETR") == pd.Timestamp("2016-01-01")
    assert known_from("weekdays") > pd.Timestamp("2200-01-01")


@pytest.mark.parametrize("name", ["NYSE", "xnys", "XSAU", "", "daily"])
def test_an_unknown_calendar_is_refused_with_those_there_are(name):
    with pytest.raises(UserError, match="allowed: every_day, weekdays .*XECB.*XNYS"):
        open_days(name, pd.Timestamp("2001-01-01"), pd.Timestamp("2001-01-31"))
