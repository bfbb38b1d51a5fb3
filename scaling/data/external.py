"""Feature tables that were made elsewhere: checked on entry, and never built again here.

Whether such a table looks ahead cannot be checked, because nothing here can build it again from
prices that end earlier. Evaluations, pages, forecasts and model cards say so.
"""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd

from scaling.data.features import check_dates
from scaling.data.manifest import register_features, registered_md5, resource_path
from scaling.data.prices import read_parquet, rows_named
from scaling.errors import UserError
from scaling.record import file_md5, write_parquet

Frame = pd.DataFrame


def read_table(path: Path) -> Frame:
    """The features in a parquet file, float64 [days, features], sorted by date.

    The dates are the index, or the column `date`. Raises `UserError` for days that are no plain
    dates or stand twice, and for columns that hold anything but finite numbers.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; allowed: a parquet file with dates and features")
    table = read_parquet(path)
    if "date" in table.columns:
        table = table.set_index("date")
    days = table.index
    if not isinstance(days, pd.DatetimeIndex) or days.tz is not None or days.hasnans:
        raise UserError(
            f"{path}: rows are labelled by {days.name!r} of type {days.dtype}; allowed: dates "
            "without a time zone, none missing, as the index or in a column named date"
        )
    _refuse_columns(table, path)
    days = days.as_unit("us").rename("date")
    table = table.set_axis(days).rename_axis(columns=None).astype("float64")
    with np.errstate(over="ignore"):  # networks read 32-bit numbers
        unfit = ~np.isfinite(table.to_numpy().astype(np.float32))
    faults = [
        ("date with a time of day", days != days.normalize()),
        ("date twice", days.duplicated()),
        *((f"{name} not a finite number", unfit[:, i]) for i, name in enumerate(table.columns)),
    ]
    found = [f"{fault} in {rows_named(days, wrong)}" for fault, wrong in faults if np.any(wrong)]
    if found or table.empty:
        raise UserError(f"{path}: {'; '.join(found) or 'holds no rows'}; mend the table")
    return table.sort_index()


def _refuse_columns(table: Frame, path: Path) -> None:
    names = list(table.columns)
    wrong = [str(name) for name in names if not isinstance(name, str) or names.count(name) > 1]
    wrong += [str(n) for n, kind in zip(names, table.dtypes, strict=True) if kind.kind not in "iuf"]
    if wrong or not names:
        raise UserError(
            f"{path}: columns {', '.join(dict.fromkeys(wrong)) or 'are missing'}; allowed: one "
            "or more features, each with a name of its own, and numbers in every row"
        )


def take_in(
    path: Path, output: Path, prices: Frame, manifest: Path, origin: str | None, replace: bool
) -> Frame:
    """Write the table in `path` to `output`, register it in `manifest`, and return it.

    Raises `UserError` for a table that `read_table` refuses or whose days are not those of the
    `prices`, and unless `replace` for another table in its place.
    """
    resource_path(output, manifest)  # raises before anything is read or written
    table = read_table(path)
    check_dates(prices, table, output)
    new = hashlib.md5(table.to_parquet(), usedforsecurity=False).hexdigest()
    known = {registered_md5(output, manifest)}
    if output.is_file() and not output.samefile(path):
        known.add(file_md5(output))
    if known - {None, new} and not replace:
        raise UserError(
            f"{output}: another table is on disk or registered, and results were made from it; to "
            "replace it, give the same command with --replace"
        )
    write_parquet(output, table)
    register_features(output, manifest, table, origin)
    return table
