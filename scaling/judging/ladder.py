"""A study's predictions as a ladder of sizes; models that cannot be compared are refused."""

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from scaling import metrics
from scaling.errors import UserError

Array = npt.NDArray[np.float64]

NETWORK_COLUMNS = ("budget", "parameters", "seed", "date", "split", "y", "p")
BASELINE_COLUMNS = ("model", "date", "split", "y", "p")
# Two runs whose probabilities differ by less on every day are one run. Another device changes the
# probabilities of the same weights by 1e-6, another seed by 1e-2.
SAME_FORECAST = 1e-5


class Ladder(NamedTuple):
    """What the law needs of a study. Sizes stand smallest first; losses are per test day."""

    budgets: list[str]
    parameters: Array
    seeds: list[list[int]]
    losses: list[Array]
    """For each size [seeds, days], nats."""
    validation: list[float]
    """Mean validation log-loss of each size, by which the best network is chosen."""
    dates: pd.DatetimeIndex
    y: npt.NDArray[np.int64]
    base_rate: float
    """Of the training block, as the base-rate baseline predicts it."""
    baselines: dict[str, Array]
    """For each baseline the log-loss of each day, [days]."""


class _Run(NamedTuple):
    """One trained network: its size, its seed, its prediction rows."""

    budget: str
    seed: int
    rows: pd.DataFrame

    @property
    def name(self) -> str:
        return f"{self.budget} seed {self.seed}"


def read_files(
    predictions: Sequence[Path], baselines: Path, test_block: tuple[date, date]
) -> Ladder:
    """Read the prediction files of a study as a ladder.

    `test_block` is the first and last day of the config's test block. Raises UserError as
    `read_ladder` does, and for a file named twice, a file that is not parquet, and test rows
    outside the block.
    """
    twice = {str(path) for path in predictions if predictions.count(path) > 1}
    if twice:
        raise UserError(f"--predictions names {', '.join(sorted(twice))} twice; give each run once")
    networks = pd.concat([_read_parquet(path) for path in predictions], ignore_index=True)
    ladder = read_ladder(networks, _read_parquet(baselines))
    (first, last), begin, end = test_block, ladder.dates[0].date(), ladder.dates[-1].date()
    if begin < first or end > last:
        raise UserError(
            f"test rows run from {begin} to {end}, the config's test block from {first} to {last}; "
            "evaluate again with this config"
        )
    return ladder


def _read_parquet(path: Path) -> pd.DataFrame:
    import pyarrow

    try:
        return pd.read_parquet(path)
    except pyarrow.ArrowInvalid:
        raise UserError(
            f"{path}: not a parquet file; write it again with python -m scaling.evaluate"
        ) from None


def read_ladder(networks: pd.DataFrame, baselines: pd.DataFrame) -> Ladder:
    """Arrange prediction rows as a ladder.

    `networks` has NETWORK_COLUMNS. If it also has `weights`, only the rows "best" count, the
    weights chosen on validation. `baselines` has BASELINE_COLUMNS, and its model `base_rate`
    always predicts the training base rate. Raises UserError for missing columns, impossible
    values, days or labels that differ between models, a size and seed given twice, two runs with
    the same predictions, a single size.
    """
    if "weights" in networks:
        networks = networks[networks["weights"] == "best"]
    _check_rows(networks, NETWORK_COLUMNS, "predictions")
    _check_rows(baselines, BASELINE_COLUMNS, "baselines")
    runs = [
        _Run(str(rows["budget"].iloc[0]), int(rows["seed"].iloc[0]), rows)
        for _, rows in networks.groupby(["budget", "seed"], sort=True)
    ]
    named = [(run.name, run.rows) for run in runs]
    _, _, on_validation = _same_days(named, "validation")
    named += [(str(name), rows) for name, rows in baselines.groupby("model", sort=False)]
    dates, labels, losses = _same_days(named, "test")
    _refuse_copies(runs)
    validation = [float(loss.mean()) for loss in on_validation]
    parameters = _parameters(runs)
    members = {
        budget: [i for i, run in enumerate(runs) if run.budget == budget] for budget in parameters
    }
    return Ladder(
        budgets=list(parameters),
        parameters=np.array(list(parameters.values()), float),
        seeds=[[runs[i].seed for i in own] for own in members.values()],
        losses=[np.stack([losses[i] for i in own]) for own in members.values()],
        validation=[float(np.mean([validation[i] for i in own])) for own in members.values()],
        dates=dates,
        y=labels,
        base_rate=_base_rate(baselines),
        baselines={name: losses[i] for i, (name, _) in enumerate(named) if i >= len(runs)},
    )


def _check_rows(frame: pd.DataFrame, columns: Sequence[str], what: str) -> None:
    missing = [name for name in columns if name not in frame]
    if missing:
        raise UserError(
            f"{what}: no column {', '.join(missing)}; needed: {', '.join(columns)}; "
            "write them with python -m scaling.evaluate (or scaling.judge_baselines)"
        )
    if not len(frame):
        raise UserError(f"{what}: no rows; run python -m scaling.evaluate again")
    if not frame["p"].between(0, 1).all():
        raise UserError(f"{what}: p outside [0, 1] or missing (logits?); run the evaluation again")
    if not frame["y"].isin((0, 1)).all():
        raise UserError(f"{what}: labels other than 0 and 1; run the evaluation again")


def _parameters(runs: Sequence[_Run]) -> dict[str, int]:
    """The counted parameters of each size, smallest first; at least two different sizes."""
    counts: dict[str, int] = {}
    for budget, _, rows in runs:
        found = {counts.get(budget, int(rows["parameters"].iloc[0])), *rows["parameters"].unique()}
        if len(found) > 1:
            raise UserError(
                f"budget {budget} stands for {sorted(int(n) for n in found)} parameters; one size "
                "is one architecture: train its seeds again with one configs/model file"
            )
        counts[budget] = int(found.pop())
    ordered = {budget: counts[budget] for budget in sorted(sorted(counts), key=counts.__getitem__)}
    if len(set(counts.values())) != len(counts) or len(counts) < 2:
        raise UserError(
            f"found the sizes {', '.join(f'{b} ({n:,})' for b, n in ordered.items())}; a law needs "
            "two or more different sizes: evaluate another budget, then fit again"
        )
    return ordered


def _same_days(
    named: Sequence[tuple[str, pd.DataFrame]], split: str
) -> tuple[pd.DatetimeIndex, npt.NDArray[np.int64], list[Array]]:
    """A split's dates, labels and each model's daily losses, once all agree on days and labels."""
    reference = ""
    dates, labels, losses = pd.DatetimeIndex([]), np.array([], np.int64), []
    for name, rows in named:
        rows = rows[rows["split"] == split].sort_values("date")
        if not len(rows):
            raise UserError(f"{name}: no {split} rows; run python -m scaling.evaluate again")
        days = pd.DatetimeIndex(rows["date"])
        if days.has_duplicates:
            raise UserError(
                f"{name} has {days[days.duplicated()][0].date()} twice: the same size and seed was "
                "given in two files, or evaluated twice; give each run once"
            )
        if not reference:
            reference, dates, labels = name, days, rows["y"].to_numpy(np.int64)
        if not days.equals(dates):
            odd = days.symmetric_difference(dates)
            raise UserError(
                f"{name} was judged on {len(days)} {split} days and {reference} on {len(dates)} "
                f"({len(odd)} differ, first {odd[0].date()}); models are comparable on the same "
                "days only: evaluate all with one config"
            )
        if (rows["y"].to_numpy(np.int64) != labels).any():
            first = days[rows["y"].to_numpy(np.int64) != labels][0].date()
            raise UserError(
                f"{name} and {reference} have different labels on {first}: they answer different "
                "questions; train and evaluate all with one config"
            )
        losses.append(metrics.log_losses(rows["y"], rows["p"]))
    return dates, labels, losses


def _refuse_copies(runs: Sequence[_Run]) -> None:
    """Replicates measure the spread between seeds, so two runs may not be one and the same."""
    forecasts = [
        run.rows[run.rows["split"] == "test"].sort_values("date")["p"].to_numpy() for run in runs
    ]
    for j, later in enumerate(runs):
        for i, earlier in enumerate(runs[:j]):
            apart = float(np.abs(forecasts[i] - forecasts[j]).max())
            if apart < SAME_FORECAST:
                raise UserError(
                    f"{earlier.name} and {later.name} predict the same on every test day (the "
                    f"largest difference is {apart:.1g}): one is a copy of the other, or was "
                    "trained with its seed; delete the checkpoint of the wrong one, train it again "
                    "with its own seed and evaluate it"
                )


def _base_rate(baselines: pd.DataFrame) -> float:
    predicted = baselines.loc[baselines["model"] == "base_rate", "p"].unique()
    if len(predicted) != 1 or not 0 < predicted[0] < 1:
        raise UserError(
            f"baselines {', '.join(map(str, baselines['model'].unique()))}: needed is one named "
            "base_rate that always predicts the training base rate; "
            "run python -m scaling.judge_baselines again"
        )
    return float(predicted[0])
