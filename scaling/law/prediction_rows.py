"""Somebody else's ladder: predictions of any models of several sizes, from CSV or parquet files."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from scaling.errors import UserError
from scaling.law.runs import BASE_RATE

NETWORKS = ("budget", "parameters", "seed", "date", "y", "p")
BASELINES = ("model", "date", "y", "p")
ALSO_CALLED = {"label": "y", "probability": "p"}

Checked = tuple[pd.Series, pd.Series]


def read_rows(paths: Sequence[Path], columns: Sequence[str]) -> pd.DataFrame:
    """The rows of all files with `columns`, and with `split` and `weights`.

    `label` may stand for `y` and `probability` for `p`. Rows without a `split` are test rows, and
    those without `weights` count as `mean`, which is what a training keeps in `scaling.evaluate`.
    Raises `UserError` with the file, the column and the row of the first impossible value.
    """
    return pd.concat([_read_file(path, columns) for path in paths], ignore_index=True)


def with_base_rate(
    networks: pd.DataFrame, baselines: pd.DataFrame | None, base_rate: float
) -> pd.DataFrame:
    """The baselines, and on the test days one named `base_rate` that always forecasts it."""
    days = networks[networks["split"] == "test"].drop_duplicates("date")[["date", "split", "y"]]
    constant = days.assign(model=BASE_RATE, p=base_rate)
    if baselines is None:
        return constant
    if (baselines["model"] == BASE_RATE).any():
        raise UserError(
            f"--baselines: holds a model named {BASE_RATE}; leave it out, --base-rate gives it"
        )
    return pd.concat([baselines, constant], ignore_index=True)


def _read_file(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    table = _read_table(path).rename(columns=lambda name: ALSO_CALLED.get(name, name))
    twice = sorted(set(table.columns[table.columns.duplicated()]))
    missing = [name for name in columns if name not in table]
    if missing or twice or table.empty:
        fault = f"no column {', '.join(missing)}" if missing else "no rows"
        fault = f"two columns for {', '.join(twice)}" if twice else fault
        raise UserError(
            f"{path}: {fault}; needed: {', '.join(columns)} (`label` may stand for `y`, "
            "`probability` for `p`)"
        )
    for name in columns:
        check, allowed = CHECKS[name]
        values, sound = check(table[name])
        if not sound.all():
            row = int(np.argmin(sound.to_numpy()))
            raise UserError(
                f"{path}: {name} in row {row + 1} of the data is {table[name].iloc[row]!s}; "
                f"allowed: {allowed}; {int((~sound).sum())} row(s) are to be mended"
            )
        table[name] = values
    for name, usual in (("split", "test"), ("weights", "mean")):
        if name not in table:
            table[name] = usual
    return table[[*columns, "split", "weights"]]


def _read_table(path: Path) -> pd.DataFrame:
    try:
        if path.suffix == ".csv":
            return pd.read_csv(path, dtype={"budget": str, "model": str})
        return pd.read_parquet(path)
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:  # of pandas and pyarrow, for any other kind of file
        first = str(error).splitlines()[0]
        raise UserError(f"{path}: not a readable CSV (.csv) or parquet file: {first}") from None


def _name(column: pd.Series) -> Checked:
    return column.astype(str), column.notna()


def _whole(column: pd.Series) -> Checked:
    values = pd.to_numeric(column, errors="coerce")
    return values, (values >= 0) & (values % 1 == 0)


def _positive(column: pd.Series) -> Checked:
    values, whole = _whole(column)
    return values, whole & (values > 0)


def _day(column: pd.Series) -> Checked:
    days = pd.to_datetime(column, format="%Y-%m-%d", errors="coerce")
    return days, days.notna() & (days == days.dt.normalize()) & (days.dt.tz is None)


def _label(column: pd.Series) -> Checked:
    values = pd.to_numeric(column, errors="coerce")
    return values, values.isin((0, 1))


def _probability(column: pd.Series) -> Checked:
    values = pd.to_numeric(column, errors="coerce")
    return values, values.between(0, 1)


CHECKS: dict[str, tuple[Callable[[pd.Series], Checked], str]] = {
    "budget": (_name, "a name for the size"),
    "model": (_name, "a name for the baseline"),
    "parameters": (_positive, "a whole number above 0"),
    "seed": (_whole, "a whole number"),
    "date": (_day, "a day such as 2014-01-02, without time of day or time zone"),
    "y": (_label, "0 or 1"),
    "p": (_probability, "a probability from 0 to 1, not a logit"),
}
