"""A study's losses as tables: sizes times numbers of training days, or of markets.

A plain ladder is a table with one number of days. A further axis is a further `Axis`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from scaling.errors import UserError
from scaling.law.runs import (
    BASE_RATE,
    DRAWS,
    MARKETS,
    Model,
    Runs,
    Sample,
    TestDays,
    read_runs,
    words_of,
)
from scaling.metrics import Array, log_losses
from scaling.run import WHOLE_BLOCK


@dataclass(frozen=True)
class Axis:
    """One axis of a table, in ascending order."""

    points: list[str]
    """Their names: budgets, or numbers of training days or markets as the grid names them."""
    positions: Array
    """Counted parameters, markets, or training days averaged over the runs of a point."""


@dataclass(frozen=True)
class Table:
    """Losses of every cell, which are all combinations of the axes' points.

    Cells are in one list, the last axis running fastest. The first axis is `parameters`; a column
    is all cells that share their points on the others.
    """

    axes: dict[str, Axis]
    draw: str
    """"recent" or "blocks": how the training days were chosen, or MARKETS for random markets."""
    seeds: list[list[int]]
    """For each cell."""
    losses: list[Array]
    """For each cell [seeds, days], nats."""
    ensembles: list[Array]
    """For each cell the loss of the seeds' mean probability, [1, days]."""
    validation: list[float]
    """For each cell the mean validation log-loss; NaN where there is none."""
    baselines: dict[str, list[Array]]
    """For each baseline, fitted for each column, the loss of each test day, [days]."""
    dates: pd.DatetimeIndex
    y: Array
    """Of each day the label, or of several markets the share of positives."""
    base_rate: float
    """Of the whole training block, and of several folds the mean."""
    base: Array
    """The loss of forecasting the base rate, [days]: one reference for the skill of all cells."""
    folds: dict[int, int]
    """The test days of each fold, by its origin; empty where the years are cut once."""

    @property
    def varying(self) -> list[str]:
        """The axes with more than one point."""
        return [name for name, axis in self.axes.items() if len(axis.points) > 1]

    @property
    def samples(self) -> Axis:
        """The axis beside the parameters, of training days or of markets."""
        return next(axis for name, axis in self.axes.items() if name != "parameters")

    @property
    def shape(self) -> tuple[int, ...]:
        """The number of points of each axis."""
        return tuple(len(axis.points) for axis in self.axes.values())

    def only(self, sizes: Sequence[int]) -> "Table":
        """The table without the other sizes."""
        every = np.arange(len(self.losses)).reshape(self.shape)[list(sizes)].ravel()
        parameters = self.axes["parameters"]
        kept = Axis([parameters.points[i] for i in sizes], parameters.positions[list(sizes)])
        return replace(
            self,
            axes={**self.axes, "parameters": kept},
            seeds=[self.seeds[i] for i in every],
            losses=[self.losses[i] for i in every],
            ensembles=[self.ensembles[i] for i in every],
            validation=[self.validation[i] for i in every],
        )


@dataclass(frozen=True)
class Tables:
    """All tables of a study."""

    ladder: Table
    """The runs on the most training days; in a plain study these are all runs."""
    surfaces: dict[str, Table]
    """Sizes times training days for each draw of the days, or times markets; empty for a plain
    study."""
    recalibrated: Table | None
    """The ladder of the same networks, each recalibrated on its own validation rows, if any."""
    days: TestDays
    forecasts: list[Array]
    """Of each cell of the ladder, [seeds, rows]."""


def read_rows(paths: Sequence[Path]) -> pd.DataFrame:
    """The prediction rows of several files."""
    return pd.concat([_read_parquet(path) for path in paths], ignore_index=True)


def _read_parquet(path: Path) -> pd.DataFrame:
    import pyarrow

    try:
        return pd.read_parquet(path)
    except pyarrow.ArrowInvalid:
        raise UserError(
            f"{path}: not a parquet file; write it again with python -m scaling.evaluate"
        ) from None


def refuse_other_rows(tables: Tables, test_block: tuple[date, date]) -> None:
    """Refuse a study without validation rows, or with test rows outside the config's test block.

    `test_block` is its first and last day. Raises `UserError`.
    """
    if np.isnan(tables.ladder.validation).any():
        raise UserError("predictions: no validation rows; run python -m scaling.evaluate again")
    dates = tables.days.dates
    (first, last), begin, end = test_block, dates[0].date(), dates[-1].date()
    if begin < first or end > last:
        raise UserError(
            f"test rows run from {begin} to {end}, the config's test block from {first} to {last}; "
            "evaluate again with this config"
        )


def read_tables(networks: pd.DataFrame, baselines: pd.DataFrame) -> Tables:
    """Arrange prediction rows. Runs on the whole block belong to the ladder and to both draws.

    Raises UserError as `read_runs` does, and if a size was not trained, or a baseline not fitted,
    on each number of days, and if several numbers of days are not counted or not different.
    """
    runs = read_runs(networks, baselines)
    surfaces = {}
    for draw in (*DRAWS, MARKETS):
        own = [m for m in runs.networks if m.id.train_days.draw == draw or _is_whole(m)]
        samples = list(dict.fromkeys(model.id.train_days.sample for model in own))
        if len(samples) > 1:
            counted = {sample: _counted(own, sample, draw) for sample in samples}
            surfaces[draw] = _table(runs, own, draw, _ascending(counted))
    most = _most_days(runs)
    at_most, recalibrated = (
        [model for model in models if model.id.train_days.sample == most]
        for models in (runs.networks, runs.recalibrated)
    )
    counted = {most: _counted(at_most, most, most[1])}
    return Tables(
        ladder=_table(runs, at_most, most[1], counted),
        surfaces=surfaces,
        recalibrated=_table(runs, recalibrated, most[1], counted) if recalibrated else None,
        days=runs.days,
        forecasts=[
            np.stack([model.p for model in _cell(at_most, budget, most)])
            for budget in runs.parameters
        ],
    )


def _table(runs: Runs, models: Sequence[Model], draw: str, counted: dict[Sample, float]) -> Table:
    """The table of these models; `counted` holds its samples of days or markets, fewest first."""
    cells = [_cell(models, budget, sample) for budget, sample in product(runs.parameters, counted)]
    baselines = [_baselines(runs, sample) for sample in counted]
    return Table(
        axes={
            "parameters": Axis(
                list(runs.parameters), np.array(list(runs.parameters.values()), float)
            ),
            MARKETS if draw == MARKETS else "train_days": Axis(
                [asked for asked, _ in counted], np.array(list(counted.values()), float)
            ),
        },
        draw=draw,
        seeds=[[model.id.seed for model in cell] for cell in cells],
        losses=[np.stack([model.losses for model in cell]) for cell in cells],
        ensembles=[_ensemble(runs, cell) for cell in cells],
        validation=[float(np.mean([model.validation for model in cell])) for cell in cells],
        baselines={
            name: [fitted[name] for fitted in baselines]
            for name in baselines[-1]
            if all(name in fitted for fitted in baselines)
        },
        dates=runs.days.dates,
        y=runs.y,
        base_rate=_base_rate(runs, _most_days(runs)),
        base=_baselines(runs, _most_days(runs))[BASE_RATE],
        folds=runs.days.folds,
    )


def ensemble(losses: Array) -> Array:
    """Loss of the mean probability over the seeds, [1, rows], from the seeds' [seeds, rows].

    `exp(-loss)` is the probability that a network gave to what happened. Minus the logarithm is
    convex, so on every row the loss is at most the mean of the seeds' losses.
    """
    return np.asarray(-np.log(np.exp(-losses).mean(axis=0, keepdims=True)))


def _ensemble(runs: Runs, cell: Sequence[Model]) -> Array:
    """With several markets, probabilities are averaged for each, and then losses over markets."""
    rows = ensemble(np.stack([log_losses(runs.days.labels, model.p) for model in cell]))[0]
    return np.asarray(runs.days.means(rows)[None])


def _is_whole(model: Model) -> bool:
    return model.id.train_days.asked == WHOLE_BLOCK


def _most_days(runs: Runs) -> Sample:
    """The whole training block if any run saw it, else the largest number of days asked for."""
    samples = {model.id.train_days.sample for model in runs.networks}
    whole = (WHOLE_BLOCK, DRAWS[0])
    if whole in samples:
        return whole
    return max(samples, key=lambda sample: (int(sample[0]), sample[1] == DRAWS[0]))


def _counted(models: Sequence[Model], sample: Sample, draw: str) -> float:
    """The training days of a sample as counted, averaged over its runs, or its markets."""
    own = [m.id.train_days for m in models if m.id.train_days.sample == sample]
    return float(np.mean([days.markets if draw == MARKETS else days.counted for days in own]))


def _ascending(counted: dict[Sample, float]) -> dict[Sample, float]:
    """The samples by their counted days, which must be known and different."""
    if any(np.isnan(mean) for mean in counted.values()):
        raise UserError(
            "predictions: no column counted_days or counted_markets, on how many each model was "
            "trained; a study of several numbers needs it: run python -m scaling.evaluate again"
        )
    samples = sorted(counted, key=counted.__getitem__)
    for fewer, more in zip(samples, samples[1:], strict=False):
        if counted[fewer] == counted[more]:
            raise UserError(
                f"{fewer[0]} and {more[0]} of what is trained on are both {counted[more]:,.0f} "
                "when counted; remove one of them from the grid"
            )
    return {sample: counted[sample] for sample in samples}


def _cell(models: Sequence[Model], budget: str, sample: Sample) -> list[Model]:
    """The seeds of one size on one sample of training days."""
    found = [m for m in models if m.id.name == budget and m.id.train_days.sample == sample]
    if not found:
        raise UserError(
            f"{budget} has no run on {words_of(sample)}, but another size has; every size needs "
            "the same training days and markets: train and evaluate it, then fit again"
        )
    return found


def _baselines(runs: Runs, sample: Sample) -> dict[str, Array]:
    """The loss of each baseline on each test day; UserError if none was fitted to this sample."""
    found = {m.id.name: m.losses for m in runs.baselines if m.id.train_days.sample == sample}
    if not found:
        raise UserError(
            f"baselines: none was fitted on {words_of(sample)}, where networks were trained; "
            "run python -m scaling.judge_baselines again"
        )
    return found


def _base_rate(runs: Runs, sample: Sample) -> float:
    if sample not in runs.base_rates:
        raise UserError(
            f"baselines: base_rate is missing on {words_of(sample)}; "
            "run python -m scaling.judge_baselines again"
        )
    return runs.base_rates[sample]
