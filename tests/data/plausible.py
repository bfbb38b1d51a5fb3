"""Random prices in which nothing is implausible."""

import pandas as pd
from pandas.tseries.holiday import GoodFriday

from tests.conftest import random_prices


def plausible_prices(seed: int = 0) -> pd.DataFrame:
    """Random daily prices in cents, without rows on Good Friday and Christmas Day."""
    prices = random_prices(seed=seed).round(2)
    days = prices.index
    closed = days.isin(GoodFriday.dates(days[0], days[-1]))
    return prices[~closed & ~((days.month == 12) & (days.day == 25))]
