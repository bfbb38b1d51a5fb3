"""The tiers of features. Each is a module here, and a features file carries its name.

To add a tier, add a module with what `Tier` lists. Its features are then built as
`data/processed/v1/SPY_features_NAME.parquet`, and every check runs for them. The tests try each
tier for features that see the future.
"""

import pkgutil
from typing import TYPE_CHECKING, Protocol

import pandas as pd

if TYPE_CHECKING:  # who reads features that exist needs no TA-Lib
    from scaling.data.indicators import Columns


class Tier(Protocol):
    """What the module of a tier gives."""

    FEATURE_NAMES: tuple[str, ...]
    ROWS_DROPPED: int
    """The leading rows in which some feature is not yet defined."""
    NEEDS: tuple[str, ...]
    """The columns of the prices that the features are built from."""

    def build(self, prices: pd.DataFrame, calendar: str) -> "Columns":
        """The features by name, float64 [rows], from prices that passed `check_prices`.

        The value of a day must not depend on later days. `calendar` is a name
        that `scaling.data.calendars` knows.
        """


def tier_of(name: str) -> Tier:
    """The module of one tier. No other tier is imported."""
    module: Tier = pkgutil.resolve_name(f"{__name__}.{name}")
    return module
