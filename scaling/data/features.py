"""Feature tables: built by a tier from prices, recorded, and checked before they are read."""

import hashlib
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd

from scaling.config import Market, TrainingConfig
from scaling.data.manifest import facts_of, verify
from scaling.data.prices import read_parquet, rows_named
from scaling.data.tiers import tier_of
from scaling.digest import features_digest
from scaling.errors import UserError
from scaling.names import DEFAULT_TIER, EXTERNAL, tier_named
from scaling.record import file_md5, read_json

Frame = pd.DataFrame


def build_features(prices: Frame, tier: str = DEFAULT_TIER, calendar: str = "weekdays") -> Frame:
    """The features of a tier, float64 [days, features], indexed by date.

    `prices` passed `check_prices` with the same `calendar`. The leading rows in which a feature of
    the tier is not yet defined are dropped. Raises `UserError` when there are too few rows. Raises
    it too when a feature is undefined in a later row (a flat price, or no volume, for 20 days), and
    names both.
    """
    made = tier_of(tier)
    if len(prices) <= made.ROWS_DROPPED:
        raise UserError(
            f"prices: {len(prices)} rows; allowed: at least {made.ROWS_DROPPED + 1}, because the "
            f"first {made.ROWS_DROPPED} only fill the averages of tier {tier}"
        )
    columns = made.build(prices, calendar)
    features = pd.DataFrame(columns, index=prices.index)[list(made.FEATURE_NAMES)]
    features = features.iloc[made.ROWS_DROPPED :]
    _refuse_undefined(features)
    return features


def _refuse_undefined(features: Frame) -> None:
    undefined = ~np.isfinite(features.to_numpy())
    if undefined.any():
        names = features.columns[undefined.any(axis=0)]
        raise UserError(
            f"prices: {', '.join(names)} undefined in "
            f"{rows_named(features.index, undefined.any(axis=1))}; look there for a flat price or "
            "for days without volume"
        )


def load_features(path: str | Path) -> Frame:
    """Read a feature table, float64 [days, features], indexed by date."""
    return read_parquet(Path(path))


def feature_names(path: Path) -> tuple[str, ...]:
    """The features of a file, also before the workflow has built it."""
    tier = tier_named(path)
    if tier == EXTERNAL:
        return tuple(map(str, load_features(path).columns))
    return tier_of(tier).FEATURE_NAMES


def feature_days(path: Path, prices: Frame) -> pd.Index:
    """The days of a features file, also before the workflow has built it from `prices`."""
    tier = tier_named(path)
    if tier == EXTERNAL:
        return load_features(path).index
    return prices.index[tier_of(tier).ROWS_DROPPED :]


def _rebuild(path: str | Path) -> str:
    if tier_named(Path(path)) == EXTERNAL:
        return "make it for the days of the prices, and register it: python -m scaling.prepare"
    return f"build it again with: snakemake --force {path}"


def verify_features(path: str | Path, prices_md5: str, calendar: str = "weekdays") -> str:
    """Check a features file against the record of its build, and return its MD5.

    Raises `UserError` if the file was altered since, or was built from other prices, for another
    calendar or by other code. The message says which of these holds and how to build it again.
    """
    record_path = Path(path).with_suffix(".json")
    for file in (Path(path), record_path):
        if not file.is_file():
            raise UserError(f"{file}: no such file; {_rebuild(path)}")
    try:
        record = read_json(record_path)
        built = {k: record[k] for k in ("features_md5", "prices_md5", "calendar", "code_digest")}
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{record_path}: not a record of features; {_rebuild(path)}") from None
    found = {
        "features_md5": file_md5(path),
        "prices_md5": prices_md5,
        "calendar": calendar,
        "code_digest": features_digest(tier_named(Path(path))),
    }
    reasons = {
        "features_md5": "altered since it was built: MD5 is",
        "prices_md5": "built from other prices: the prices now have MD5",
        "calendar": "built for another calendar: that of the prices now is",
        "code_digest": "built by other code: that of its tier now has digest",
    }
    for key, reason in reasons.items():
        if found[key] != built[key]:
            raise UserError(
                f"{path}: {reason} {found[key]}, its record says {built[key]}; {_rebuild(path)}"
            )
    return found["features_md5"]


def check_dates(prices: Frame, features: Frame, where: str | Path) -> None:
    """Raise `UserError` unless the feature days are the price days without the leading ones.

    How many are left out, a tier says. A table that was made elsewhere may begin on any day.
    """
    tier = tier_named(Path(where))
    external = tier == EXTERNAL
    first = prices.index.searchsorted(features.index[0]) if external else tier_of(tier).ROWS_DROPPED
    expected = prices.index[first:]
    if not features.index.equals(expected):
        missing, extra = expected.difference(features.index), features.index.difference(expected)
        raise UserError(
            f"{where}: {len(features)} rows, but the prices give {len(expected)}; missing "
            f"{rows_named(missing, [True] * len(missing))}; too many "
            f"{rows_named(extra, [True] * len(extra))}; {_rebuild(where)}"
        )


def _verify_external(market: Market, manifest: Path) -> str:
    """Check a table that was made elsewhere against the manifest, and return its MD5."""
    files = f"--prices {market.prices} --manifest {manifest} --output {market.features}"
    return verify(
        market.features,
        manifest,
        f"python -m scaling.prepare --table {market.features} {files}",
    )


def verified_data(config: TrainingConfig) -> tuple[str, str]:
    """Check the data of all markets; return the MD5s of their prices and of their features.

    Those of several markets are one text, in the order of the config. Of a fold they are the MD5s
    of the rows up to the end of its test block, so that later days make no other fold of it.
    """
    manifest = config.data.manifest
    found = [verified_market(market, manifest) for market in config.data.markets]
    if config.origin is not None:
        last = config.splits.test[1]
        found = [
            (rows_md5(market.prices, last), rows_md5(market.features, last))
            for market in config.data.markets
        ]
    of_prices, of_features = zip(*found, strict=True)
    return ", ".join(of_prices), ", ".join(of_features)


def rows_md5(path: Path, last: date) -> str:
    """The MD5 of a table's rows up to a day: of the names of its columns, its days and numbers."""
    rows = read_parquet(path).loc[: pd.Timestamp(last)]
    digest = hashlib.md5(" ".join(map(str, rows.columns)).encode(), usedforsecurity=False)
    digest.update(rows.index.to_numpy("datetime64[D]").tobytes())
    for name in rows:
        digest.update(rows[name].to_numpy().tobytes())
    return digest.hexdigest()


def verified_market(market: Market, manifest: Path) -> tuple[str, str]:
    """Check prices against the manifest and features against their record; return both MD5s.

    The record of a table that was made elsewhere is its entry in the manifest.
    """
    prices_md5 = verify(market.prices, manifest)
    if tier_named(market.features) == EXTERNAL:
        return prices_md5, _verify_external(market, manifest)
    calendar = facts_of(market.prices, manifest)["calendar"]
    return prices_md5, verify_features(market.features, prices_md5, calendar)
