"""A study's runs as a ladder of sizes, or as sizes times numbers of training days."""

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from scaling.errors import UserError
from scaling.law.runs import DRAWS, WHOLE_BLOCK, Run, Runs, read_runs

Array = npt.NDArray[np.float64]
Level = tuple[str, str]


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

    @property
    def replicated(self) -> list[int]:
        """The places of the sizes that have several seeds."""
        return [index for index, seeds in enumerate(self.seeds) if len(seeds) > 1]


class Surface(NamedTuple):
    """A study of two axes: every size was trained on every number of days, in several seeds.

    Cells are in one list, all numbers of days of the smallest size first. Sizes and numbers of days
    are in ascending order.
    """

    draw: str
    """"recent" or "blocks": how the training days were chosen."""
    budgets: list[str]
    parameters: Array
    asked: list[str]
    """The numbers of training days as the grid names them; the last may be "all"."""
    train_days: Array
    """The counted training days of each level, averaged over its runs."""
    seeds: list[list[int]]
    """For each cell."""
    losses: list[Array]
    """For each cell [seeds, days], nats."""
    y: npt.NDArray[np.int64]
    base_rate: float
    """Of the whole training block: one reference for the skill of all cells."""
    baselines: dict[str, list[Array]]
    """For each baseline, fitted at each number of training days, the loss of each test day."""


def read_files(
    predictions: Sequence[Path], baselines: Sequence[Path], test_block: tuple[date, date]
) -> tuple[Ladder, list[Surface]]:
    """Read the prediction files of a study, as `ladder_of` and `surfaces_of` arrange them.

    `test_block` is the first and last day of the config's test block. Raises UserError as they and
    `read_runs` do, and for a file named twice, a file that is not parquet, and test rows outside
    the block.
    """
    files = [*predictions, *baselines]
    if twice := sorted({str(path) for path in files if files.count(path) > 1}):
        raise UserError(f"given twice: {', '.join(twice)}; give each file of predictions once")
    networks, rivals = (
        pd.concat([_read_parquet(path) for path in paths], ignore_index=True)
        for paths in (predictions, baselines)
    )
    runs = read_runs(networks, rivals)
    (first, last), begin, end = test_block, runs.dates[0].date(), runs.dates[-1].date()
    if begin < first or end > last:
        raise UserError(
            f"test rows run from {begin} to {end}, the config's test block from {first} to {last}; "
            "evaluate again with this config"
        )
    return ladder_of(runs), surfaces_of(runs)


def _read_parquet(path: Path) -> pd.DataFrame:
    import pyarrow

    try:
        return pd.read_parquet(path)
    except pyarrow.ArrowInvalid:
        raise UserError(
            f"{path}: not a parquet file; write it again with python -m scaling.evaluate"
        ) from None


def read_ladder(networks: pd.DataFrame, baselines: pd.DataFrame) -> Ladder:
    """The ladder of prediction rows; see `read_runs` and `ladder_of`."""
    return ladder_of(read_runs(networks, baselines))


def ladder_of(runs: Runs) -> Ladder:
    """The runs on the most training days as a ladder; in a plain study these are all runs."""
    level = _most_days(runs)
    at_level = [run for run in runs.networks if run.id.days.level == level]
    cells = {budget: _cell(at_level, budget, level) for budget in runs.parameters}
    return Ladder(
        budgets=list(cells),
        parameters=np.array(list(runs.parameters.values()), float),
        seeds=[[run.id.seed for run in cell] for cell in cells.values()],
        losses=[np.stack([run.losses for run in cell]) for cell in cells.values()],
        validation=[float(np.mean([run.validation for run in cell])) for cell in cells.values()],
        dates=runs.dates,
        y=runs.y,
        base_rate=_base_rate(runs, level),
        baselines=_baselines(runs, level),
    )


def surfaces_of(runs: Runs) -> list[Surface]:
    """The runs as sizes times training days, a surface for each draw; empty for a plain study.

    Runs on the whole training block belong to both draws. Raises UserError if a size was not
    trained, or a baseline not fitted, on each number of days, and if the numbers of days are not
    counted or not different.
    """
    surfaces = []
    reference = _base_rate(runs, _most_days(runs))
    for draw in DRAWS:
        own = [run for run in runs.networks if draw == run.id.days.draw or _is_whole(run)]
        counted: dict[Level, list[float]] = {}
        for run in own:
            counted.setdefault(run.id.days.level, []).append(run.id.days.counted)
        if len(counted) < 2:
            continue
        means = {level: float(np.mean(days)) for level, days in counted.items()}
        levels = _ascending(means)
        cells = [_cell(own, budget, level) for budget in runs.parameters for level in levels]
        baselines = [_baselines(runs, level) for level in levels]
        surfaces.append(
            Surface(
                draw=draw,
                budgets=list(runs.parameters),
                parameters=np.array(list(runs.parameters.values()), float),
                asked=[asked for asked, _ in levels],
                train_days=np.array([means[level] for level in levels]),
                seeds=[[run.id.seed for run in cell] for cell in cells],
                losses=[np.stack([run.losses for run in cell]) for cell in cells],
                y=runs.y,
                base_rate=reference,
                baselines={
                    name: [at_level[name] for at_level in baselines]
                    for name in baselines[-1]
                    if all(name in at_level for at_level in baselines)
                },
            )
        )
    return surfaces


def _is_whole(run: Run) -> bool:
    return run.id.days.asked == WHOLE_BLOCK


def _most_days(runs: Runs) -> Level:
    """The whole training block if any run saw it, else the largest number of days asked for."""
    levels = {run.id.days.level for run in runs.networks}
    whole = (WHOLE_BLOCK, DRAWS[0])
    if whole in levels:
        return whole
    return max(levels, key=lambda level: (int(level[0]), level[1] == DRAWS[0]))


def _ascending(means: dict[Level, float]) -> list[Level]:
    """The levels by their counted days, which must be known and different."""
    if any(np.isnan(mean) for mean in means.values()):
        raise UserError(
            "predictions: no column counted_days, the number of training days behind each model; "
            "a study of several numbers of days needs it: run python -m scaling.evaluate again"
        )
    levels = sorted(means, key=means.__getitem__)
    for fewer, more in zip(levels, levels[1:], strict=False):
        if means[fewer] == means[more]:
            raise UserError(
                f"{fewer[0]} and {more[0]} training days are both {means[more]:,.0f} when counted; "
                "remove one of them from the grid's train_days"
            )
    return levels


def _cell(runs: Sequence[Run], budget: str, level: Level) -> list[Run]:
    """The seeds of one size on one number of training days."""
    found = [run for run in runs if run.id.name == budget and run.id.days.level == level]
    if not found:
        raise UserError(
            f"{budget} has no run on {_words(level)}, but another size has; every size needs the "
            "same training days: train and evaluate it, then fit again"
        )
    return found


def _baselines(runs: Runs, level: Level) -> dict[str, Array]:
    """The loss of each baseline on each test day; UserError if none was fitted at this level."""
    found = {run.id.name: run.losses for run in runs.baselines if run.id.days.level == level}
    if not found:
        raise UserError(
            f"baselines: none was fitted on {_words(level)}, where networks were trained; "
            "run python -m scaling.judge_baselines again"
        )
    return found


def _base_rate(runs: Runs, level: Level) -> float:
    if level not in runs.base_rates:
        raise UserError(
            f"baselines: base_rate is missing on {_words(level)}; "
            "run python -m scaling.judge_baselines again"
        )
    return runs.base_rates[level]


def _words(level: Level) -> str:
    asked, draw = level
    return "the whole training block" if asked == WHOLE_BLOCK else f"{asked} {draw} training days"
