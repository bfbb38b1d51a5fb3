"""From a table of losses to its law: slopes, contrasts, turning points, verdicts and a sentence.

A ladder of sizes is a table with one column and goes the same way. `docs/statistics.md` explains
the method and names its sources.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain

import numpy as np

from scaling import metrics
from scaling.errors import UserError
from scaling.law.axis import AxisLaw, bound_by_recipe, judge_axis
from scaling.law.baselines import best_network
from scaling.law.bootstrap import Settings, day_weights
from scaling.law.cells import baseline_laws, cells_of
from scaling.law.effects import (
    Effect,
    contrast_weights,
    effect_on_measure,
    estimate_effects,
    slope_weights,
)
from scaling.law.power_law import power_law
from scaling.law.result import Calibration, JudgedDays, Law, StudyLaw
from scaling.law.runs import DRAWS, TestDays
from scaling.law.sentence import calibration_sentence, sentence, warnings
from scaling.law.shape import compare_shapes
from scaling.law.table import Table, Tables
from scaling.metrics import Array

# A slope needs two points.
FEWEST_SIZES = 2


def fit_study(tables: Tables, settings: Settings, experiment: str = "") -> StudyLaw:
    """The law of a study: that of its ladder, and that of each of its surfaces."""
    ladder = tables.ladder
    for table in (ladder, *tables.surfaces.values()):
        _refuse_unpaired_seeds(table)
    settings = replace(settings, folds=tuple(ladder.folds.values()))
    law = fit_law(ladder, settings)
    return StudyLaw(
        experiment=experiment,
        settings=settings,
        test_days=_judged_days(ladder),
        base_rate=ladder.base_rate,
        delta_nats=_delta(ladder, settings),
        ladder=law,
        surfaces={
            draw: fit_law(table, replace(settings, drawn=draw != DRAWS[0]))
            for draw, table in tables.surfaces.items()
        },
        calibration=calibration_apart(tables, law.parameters, settings),
    )


def _refuse_unpaired_seeds(table: Table) -> None:
    """Where the seeds of all cells count together, they must be the same ones."""
    several = dict.fromkeys(tuple(seeds) for seeds in table.seeds if len(seeds) > 1)
    if (table.folds or table.draw != DRAWS[0]) and len(several) > 1:
        first, second, *_ = (" and ".join(map(str, seeds)) for seeds in several)
        raise UserError(
            f"seeds {first} in one cell and {second} in another; in a walk forward, and where a "
            "seed draws what is trained on, every size needs the same seeds: train and evaluate "
            "the missing ones, then fit again"
        )


def calibration_apart(tables: Tables, plain: AxisLaw, settings: Settings) -> Calibration:
    """The slopes of recalibrated log-loss and of AUC beside the ladder's `plain` one."""
    recalibrated = None
    if tables.recalibrated:
        judged, replicated = _replicated_part(tables.recalibrated)
        recalibrated = judge_axis(
            judged, "parameters", settings, _delta(judged, settings), replicated=replicated
        )
    auc = _auc_slope(tables, plain, settings)
    return Calibration(recalibrated, auc, calibration_sentence(plain, recalibrated, auc))


def _auc_slope(tables: Tables, plain: AxisLaw, settings: Settings) -> Effect | None:
    """Over the sizes and in the blocks of days of the `plain` slope, or None.

    A rank is no mean over days, so the AUC is computed again on each draw of them, in each fold of
    a walk forward, whose networks rank their own days. A draw that leaves a fold one class alone is
    left out, and there is no slope if most are.
    """
    days, sizes = tables.days, tables.ladder.axes["parameters"]
    kept = [sizes.points.index(point) for point in plain.points]
    n = len(days.dates)
    folds = settings.by_fold(n)
    drawn = day_weights(n, plain.block_length, settings.samples, settings.seed)
    counts = [np.bincount(days.which, days.labels == label, n) for label in (0, 1)]
    sound = [drawn[:, fold] @ count[fold] > 0 for fold in folds for count in counts]
    drawn = drawn[np.all(sound, axis=0)]
    if len(drawn) < settings.samples / 2:
        return None
    found = [
        np.stack([_aucs(p, days, folds, drawn) for p in tables.forecasts[cell]]) for cell in kept
    ]
    effect = effect_on_measure(
        [aucs[:, :, 0] for aucs in found],
        [aucs[:, :, 1:] for aucs in found],
        slope_weights(sizes.positions[kept]),
        folds,
        plain.block_length,
        settings.seed + 1,
    )
    return effect if plain.slope.seed_variance is not None else effect.without_known_seeds


def _aucs(p: Array, days: TestDays, folds: Sequence[slice], drawn: Array) -> Array:
    """The AUC of `p` [rows] in each fold, on its days and on each draw, [folds, 1 + draws]."""
    found = []
    for fold in folds:
        rows = (days.which >= fold.start) & (days.which < fold.stop)
        weights = (day[days.which[rows]] for day in chain([np.ones(len(days.dates))], drawn))
        found.append(metrics.weighted_aucs(days.labels[rows], p[rows], weights))
    return np.stack(found)


def fit_law(table: Table, settings: Settings) -> Law:
    """The law of one table.

    Every axis with several points is judged. In a ladder, the sizes with one seed have no part in
    that: `points` of its axis names the others. If fewer than FEWEST_SIZES have several, or if a
    cell of a surface has one seed, all are judged, the intervals lack what is unknown of its seeds,
    and every verdict is "inconclusive".
    """
    delta, days = _delta(table, settings), _judged_days(table)
    judged, replicated = _replicated_part(table)
    axes = {
        name: judge_axis(judged, name, settings, delta, replicated=replicated)
        for name in table.varying
    }
    axes["parameters"] = bound_by_recipe(axes["parameters"], settings.recipes, delta)
    ladder = table.varying == ["parameters"]
    loss, covariance = _cell_losses(judged, settings)
    degrees = min(axis.slope.degrees_of_freedom for axis in axes.values())
    fitted = power_law(
        {name: judged.axes[name].positions for name in axes},
        loss,
        covariance,
        degrees,
        improves=all(axis.verdict == "improves" for axis in axes.values()),
        recipe_bound=bool(axes["parameters"].recipe),
    )
    cells = cells_of(table, settings)
    law = Law(
        sentence="",
        warnings=[],
        axes=axes,
        interaction=None if ladder else _interaction(judged, settings, replicated),
        shapes=compare_shapes(
            judged.axes["parameters"].positions, loss, covariance, degrees, fitted
        )
        if ladder
        else None,
        power_law=fitted,
        cells=cells,
        best_network=best_network(table, cells, settings) if ladder else None,
        baselines=baseline_laws(table, settings),
        draw=table.draw,
    )
    return replace(
        law,
        sentence=sentence(law, days, delta),
        warnings=warnings(law, days, delta, settings),
    )


def _delta(table: Table, settings: Settings) -> float:
    """The smallest effect that matters, in nats per decade of any axis."""
    return settings.delta_fraction * metrics.entropy(table.base_rate)


def _judged_days(table: Table) -> JudgedDays:
    first, last = (str(day.date()) for day in (table.dates[0], table.dates[-1]))
    return JudgedDays(len(table.dates), first, last, round(float(table.y.sum())), [*table.folds])


def _replicated_part(table: Table) -> tuple[Table, bool]:
    """The part of a table that is judged, and whether its seeds say how far seeds spread."""
    several = [index for index, seeds in enumerate(table.seeds) if len(seeds) > 1]
    if table.varying == ["parameters"] and len(several) >= FEWEST_SIZES:
        return table.only(several), True
    return table, len(several) == len(table.seeds)


def _cell_losses(table: Table, settings: Settings) -> tuple[Array, Array]:
    """The mean loss of each cell, and the bootstrapped covariance of these means.

    Curves are fitted to the differences between cells, so these decide the block of days.
    """
    _, differences = contrast_weights(len(table.losses))
    means = estimate_effects(table.losses, differences, settings).means
    return np.array([cell.mean(axis=0).mean() for cell in table.losses]), np.cov(means)


def _interaction(table: Table, settings: Settings, replicated: bool) -> Effect:
    """How the slope per decade of parameters changes per decade of training days or markets.

    Below 0, larger networks gain more from more of these. Least squares of a full grid gives each
    centred product of the two slopes' weights.
    """
    first, second = (slope_weights(axis.positions) for axis in table.axes.values())
    weights = np.outer(first, second).reshape(1, -1)
    effect = estimate_effects(table.losses, weights, settings).effects[0]
    return effect if replicated else effect.without_known_seeds
