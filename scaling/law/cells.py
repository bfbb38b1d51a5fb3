"""Loss and skill of each cell of a table: of its networks, their ensemble and the baselines."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from scaling.law.axis import line
from scaling.law.bootstrap import Interval, Settings, day_weights, stretched_interval
from scaling.law.effects import Effect, estimate_effects
from scaling.law.table import Table
from scaling.law.turning_point import TurningPoint
from scaling.metrics import Array


@dataclass(frozen=True)
class Score:
    """Test log-loss in nats and its skill over the base rate, with 95 % intervals."""

    log_loss: float
    interval95: Interval
    skill: float
    skill_interval95: Interval


@dataclass(frozen=True)
class Ensemble(Score):
    """The mean probability over a cell's seeds. Its intervals are over days, for these seeds."""

    members: int
    gain: float
    """Its loss minus the mean of its members, paired by day; never above 0."""
    gain_interval95: Interval
    paired_interval95: Interval | None


@dataclass(frozen=True)
class Difference:
    """A cell's loss minus a baseline's on the same training days; below 0 favours the network."""

    difference: float
    interval95: Interval
    """Over days and seeds."""


@dataclass(frozen=True)
class Cell(Score):
    """A size on a number of training days or markets. `log_loss` is the mean over its seeds."""

    budget: str
    parameters: int
    train_days: str
    """As the grid names them; in a surface of markets the number of these."""
    counted_days: float | None
    """The same as counted; None where the predictions do not say."""
    seeds: list[int]
    seed_log_losses: list[float]
    seed_deviation: float | None
    validation_log_loss: float | None
    ensemble: Ensemble | None
    paired_interval95: Interval | None
    """Without what is common to all cells on a day; see `paired_intervals`. None for a ladder."""
    against: dict[str, Difference] = field(default_factory=dict)
    """By baseline; empty for a ladder, whose best network alone is compared."""


@dataclass(frozen=True)
class BaselineCell(Score):
    """A baseline that was fitted on a number of training days or markets, as a `Cell` is."""

    train_days: str
    counted_days: float
    paired_interval95: Interval


@dataclass(frozen=True)
class BaselineLaw:
    """A baseline over training days or markets. Without seeds its intervals are over days alone."""

    cells: list[BaselineCell]
    slope: Effect
    """Nats per decade of training days or markets."""
    turning_point: TurningPoint


def score_all(losses: Sequence[Array], base: Array, settings: Settings) -> list[Score]:
    """The score of each cell [seeds, days].

    Levels wander more from day to day than slopes, so they have a block of their own. Skill is a
    ratio, so its interval takes the base rate's loss `base` [days] on the same resampled days.
    """
    found = estimate_effects(losses, np.eye(len(losses)), settings)
    days = day_weights(len(base), found.block_length, settings.samples, settings.seed)
    scores = []
    for effect, draws in zip(found.effects, found.draws, strict=True):
        skill, skills = 1 - effect.estimate / float(base.mean()), 1 - draws / (days @ base)
        interval = stretched_interval(skill, skills, effect.degrees_of_freedom, 0.95)
        scores.append(Score(effect.estimate, effect.interval95, skill, interval))
    return scores


def cells_of(table: Table, settings: Settings) -> list[Cell]:
    """A row for each cell."""
    scores = score_all(table.losses, table.base, settings)
    together = score_all(table.ensembles, table.base, settings)
    # No figure of a ladder shows losses, and its best network alone meets the baselines.
    several = len(table.varying) > 1
    paired = paired_intervals(table, settings) if several else None
    against = differences(table, settings) if several else [{} for _ in table.losses]
    parameters, samples = table.axes["parameters"], table.samples
    cells = []
    for i, validation in enumerate(table.validation):
        losses = table.losses[i].mean(axis=1)
        size, at = divmod(i, len(samples.points))
        counted = float(samples.positions[at])
        ensemble = None
        if len(losses) > 1:
            gain = _gain(table.losses[i], table.ensembles[i], settings)
            ensemble = Ensemble(
                **vars(together[i]),
                members=len(losses),
                gain=gain.estimate,
                gain_interval95=gain.interval95,
                paired_interval95=paired.ensembles[i] if paired else None,
            )
        cells.append(
            Cell(
                **vars(scores[i]),
                budget=parameters.points[size],
                parameters=int(parameters.positions[size]),
                train_days=samples.points[at],
                counted_days=None if np.isnan(counted) else counted,
                seeds=table.seeds[i],
                seed_log_losses=[float(loss) for loss in losses],
                seed_deviation=float(losses.std(ddof=1)) if len(losses) > 1 else None,
                validation_log_loss=None if np.isnan(validation) else validation,
                ensemble=ensemble,
                paired_interval95=paired.cells[i] if paired else None,
                against=against[i],
            )
        )
    return cells


def _gain(losses: Array, mean: Array, settings: Settings) -> Effect:
    """Over days, for these seeds: an ensemble of other seeds would be another one."""
    members = losses.mean(axis=0, keepdims=True)
    return estimate_effects([mean], np.ones((1, 1)), settings, minus=members).effects[0]


class Paired(NamedTuple):
    """95 % intervals of losses, without what is common to all cells on the same day."""

    cells: list[Interval]
    """Over days and seeds."""
    ensembles: list[Interval]
    baselines: dict[str, list[Interval]]
    """For each baseline in each column, over days."""


def paired_intervals(table: Table, settings: Settings) -> Paired:
    """The intervals of all distances from the mean of the cells, each put around its own loss.

    A loss wanders with the weather of the test days, which is common to all models. What is left
    when the mean of all cells is subtracted day by day decides whether one lies above another.
    """
    count = len(table.losses)
    mean = np.mean([loss.mean(axis=0) for loss in table.losses], axis=0)
    centre = float(mean.mean())
    of_cells = estimate_effects(table.losses, np.eye(count) - 1 / count, settings)
    fixed = [*table.ensembles, *(own[None] for fits in table.baselines.values() for own in fits)]
    minus = np.tile(mean, (len(fixed), 1))
    of_fixed = estimate_effects(fixed, np.eye(len(fixed)), settings, minus=minus)
    cells, others = (
        [(centre + low, centre + high) for low, high in (e.interval95 for e in found.effects)]
        for found in (of_cells, of_fixed)
    )
    rest = iter(others[count:])
    by_baseline = {name: [next(rest) for _ in fits] for name, fits in table.baselines.items()}
    return Paired(cells, others[:count], by_baseline)


def differences(table: Table, settings: Settings) -> list[dict[str, Difference]]:
    """For each cell, its loss minus that of each baseline on the same number of training days."""
    found: list[dict[str, Difference]] = [{} for _ in table.losses]
    for name, fits in table.baselines.items():
        minus = np.tile(np.stack(fits), (table.shape[0], 1))
        estimates = estimate_effects(table.losses, np.eye(len(minus)), settings, minus=minus)
        for cell, effect in zip(found, estimates.effects, strict=True):
            cell[name] = Difference(effect.estimate, effect.interval95)
    return found


def baseline_laws(table: Table, settings: Settings) -> dict[str, BaselineLaw]:
    """Each baseline over training days or markets; empty for a ladder, with one number of each."""
    if table.varying == ["parameters"]:
        return {}
    samples = table.samples
    paired = paired_intervals(table, settings).baselines
    laws = {}
    for name, fits in table.baselines.items():
        losses = [own[None] for own in fits]
        along = line(losses, samples.positions, np.eye(len(fits)), settings, replicated=True)
        scores = score_all(losses, table.base, settings)
        points = zip(samples.points, samples.positions, scores, paired[name], strict=True)
        cells = [
            BaselineCell(
                **vars(score),
                train_days=asked,
                counted_days=float(counted),
                paired_interval95=interval,
            )
            for asked, counted, score, interval in points
        ]
        laws[name] = BaselineLaw(cells, along.slope, along.turning_point)
    return laws
