"""The test days of a study as a ladder of sizes, or a refusal to compare what cannot be."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from scaling import metrics
from scaling.errors import UserError

Array = npt.NDArray[np.float64]

NETWORK_COLUMNS = ("budget", "parameters", "seed", "date", "split", "y", "p")
BASELINE_COLUMNS = ("model", "date", "split", "y", "p")


class Ladder(NamedTuple):
    """What the law reads of a study. Sizes stand smallest first; losses are per test day."""

    budgets: list[str]
    parameters: Array
    seeds: list[list[int]]
    losses: list[Array]
    """For each size [seeds, days], nats."""
    validation: list[float]
    """Mean validation log-loss of each size: what the best network is chosen by."""
    dates: pd.DatetimeIndex
    y: npt.NDArray[np.int64]
    base_rate: float
    """Of the training block, as the base-rate baseline predicts it."""
    baselines: dict[str, Array]
    """For each baseline the log-loss of each day, [days]."""


def read_ladder(networks: pd.DataFrame, baselines: pd.DataFrame) -> Ladder:
    """Arrange prediction rows as a ladder; a study whose models cannot be compared is refused.

    `networks` has NETWORK_COLUMNS (and perhaps `weights`, of which "best" counts: chosen on
    validation), `baselines` BASELINE_COLUMNS; its model `base_rate` always says the training base
    rate. Raises UserError for missing columns, impossible values, days or labels that differ
    between models, a (size, seed) that stands twice, a single size.
    """
    if "weights" in networks:
        networks = networks[networks["weights"] == "best"]
    _check_rows(networks, NETWORK_COLUMNS, "predictions")
    _check_rows(baselines, BASELINE_COLUMNS, "baselines")
    runs = [
        (str(rows["budget"].iloc[0]), int(rows["seed"].iloc[0]), rows)
        for _, rows in networks.groupby(["budget", "seed"], sort=True)
    ]
    named = [(f"{budget} seed {seed}", rows) for budget, seed, rows in runs]
    _, _, on_validation = _same_days(named, "validation")
    named += [(str(name), rows) for name, rows in baselines.groupby("model", sort=False)]
    dates, labels, losses = _same_days(named, "test")
    validation = [float(loss.mean()) for loss in on_validation]

    sizes: dict[str, list[int]] = {}
    counts: dict[str, int] = {}
    for index, (budget, _, rows) in enumerate(runs):
        found = {counts.get(budget, int(rows["parameters"].iloc[0])), *rows["parameters"].unique()}
        if len(found) > 1:
            raise UserError(
                f"budget {budget} stands for {sorted(int(n) for n in found)} parameters; one size "
                "is one architecture: train its seeds again with one configs/model file"
            )
        counts[budget] = int(found.pop())
        sizes.setdefault(budget, []).append(index)
    budgets = sorted(sizes, key=lambda budget: counts[budget])
    if len(set(counts.values())) != len(budgets) or len(budgets) < 2:
        raise UserError(
            f"found the sizes {', '.join(f'{b} ({counts[b]:,})' for b in budgets)}; a law needs "
            "two or more different sizes: evaluate another budget, then fit again"
        )
    return Ladder(
        budgets=budgets,
        parameters=np.array([counts[budget] for budget in budgets], float),
        seeds=[[runs[i][1] for i in sizes[budget]] for budget in budgets],
        losses=[np.stack([losses[i] for i in sizes[budget]]) for budget in budgets],
        validation=[float(np.mean([validation[i] for i in sizes[budget]])) for budget in budgets],
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


def _base_rate(baselines: pd.DataFrame) -> float:
    said = baselines.loc[baselines["model"] == "base_rate", "p"].unique()
    if len(said) != 1 or not 0 < said[0] < 1:
        raise UserError(
            f"baselines {', '.join(map(str, baselines['model'].unique()))}: needed is one named "
            "base_rate that always says the training base rate; "
            "run python -m scaling.judge_baselines again"
        )
    return float(said[0])
