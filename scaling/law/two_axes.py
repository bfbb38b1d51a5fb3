"""The law of two axes: does loss fall with parameters, with training days, or with both together?

Every size is trained on every number of days. The additive model is a sum of two lines, one in the
logarithm of each axis. The product of the two measures whether one axis gains from the other.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from scaling import metrics
from scaling.law.along import Along, along_row, judge_along
from scaling.law.axis import Settings, judge_axis, slope_row
from scaling.law.effects import Effect, effects, slope_weights
from scaling.law.joint_law import joint_law
from scaling.law.ladder import Surface
from scaling.law.levels import level_rows
from scaling.law.paired import Paired, against_baselines, paired_intervals
from scaling.law.resampling import BOOTSTRAP_SEED
from scaling.law.two_axes_wording import sentence, warnings
from scaling.law.verdict import EQUIVALENCE

Array = npt.NDArray[np.float64]

UNITS = {
    "parameters": "nats per decade of parameters",
    "days": "nats per decade of training days",
    "interaction": "nats per decade of parameters and decade of training days",
}


def fit_surface(surface: Surface, *, horizon: int, delta: float, samples: int) -> dict[str, Any]:
    """The law of one surface, JSON-ready.

    `horizon` is in days, `delta` the config's fraction of the base-rate entropy per decade, which
    counts for either axis, and `samples` the number of bootstrap draws.
    """
    entropy = metrics.entropy(surface.base_rate)
    replicated = all(len(seeds) > 1 for seeds in surface.seeds)
    settings = Settings(horizon, samples, delta * entropy, replicated)
    parameters, days = both_axes(surface, settings)
    paired = paired_intervals(surface, settings)
    result = {
        "draw": surface.draw,
        "sentence": "",
        "warnings": [],
        "parameters": _axis_row(surface, "parameters", parameters, entropy, settings),
        "days": _axis_row(surface, "days", days, entropy, settings),
        "interaction": slope_row(
            _interaction(surface, settings), entropy, UNITS["interaction"], replicated=replicated
        ),
        "delta": settings.delta,
        "equivalence": EQUIVALENCE,
        "joint_law": _joint_law(surface, parameters, days, settings),
        "cells": _cells(surface, paired, settings),
        "baselines": {
            name: _baseline(surface, name, paired, entropy, settings) for name in surface.baselines
        },
        "test_days": len(surface.y),
        "bootstrap_samples": samples,
        "bootstrap_seed": BOOTSTRAP_SEED,
    }
    return result | {"sentence": sentence(result), "warnings": warnings(result)}


def both_axes(surface: Surface, settings: Settings) -> tuple[Along, Along]:
    """Parameters and days. An axis averages over the other, or looks at one point of it."""
    cells = np.eye(len(surface.losses)).reshape(len(surface.budgets), len(surface.asked), -1)
    parameters = judge_along(
        surface.losses, surface.parameters, cells.mean(axis=1), list(cells.swapaxes(0, 1)), settings
    )
    days = judge_along(
        surface.losses, surface.train_days, cells.mean(axis=0), list(cells), settings
    )
    return parameters, days


def _axis_row(
    surface: Surface, axis: str, along: Along, entropy: float, settings: Settings
) -> dict[str, Any]:
    points = {"parameters": surface.budgets, "days": surface.asked}
    other = "days" if axis == "parameters" else "parameters"
    return along_row(
        along,
        unit=UNITS[axis],
        names=points[axis],
        others=points[other],
        entropy=entropy,
        test_days=len(surface.y),
        seeds=max(len(seeds) for seeds in surface.seeds),
        settings=settings,
    )


def _interaction(surface: Surface, settings: Settings) -> Effect:
    """How the slope per decade of one axis changes per decade of the other.

    Below 0, larger networks gain more from more days. Least squares of a full grid gives each
    centred product of the two slopes' weights.
    """
    product = np.outer(slope_weights(surface.parameters), slope_weights(surface.train_days))
    (effect,), _, _ = effects(
        surface.losses, product.reshape(1, -1), horizon=settings.horizon, samples=settings.samples
    )
    return effect


def _joint_law(
    surface: Surface, parameters: Along, days: Along, settings: Settings
) -> dict[str, Any]:
    cells = np.eye(len(surface.losses))
    _, _, means = effects(surface.losses, cells, horizon=settings.horizon, samples=settings.samples)
    loss = np.array([cell.mean() for cell in surface.losses])
    return joint_law(
        surface.parameters,
        surface.train_days,
        loss.reshape(len(surface.budgets), len(surface.asked)),
        np.cov(means),
        freedom=min(parameters.average.slope.freedom, days.average.slope.freedom),
        improves=parameters.verdict == days.verdict == "improves",
    )


def _cells(surface: Surface, paired: Paired, settings: Settings) -> list[dict[str, Any]]:
    """A row for each size and number of days, with its ensemble."""
    rows, _ = _levels(surface, surface.losses, settings, surface.ensembles)
    places = [(size, days) for size in range(len(surface.budgets)) for days in _points(surface)]
    against = against_baselines(surface, settings)
    cells = []
    for index, ((size, days), row) in enumerate(zip(places, rows, strict=True)):
        if row["ensemble"]:
            row["ensemble"]["paired_interval"] = paired.ensembles[index]
        cells.append(
            {
                "budget": surface.budgets[size],
                "parameters": int(surface.parameters[size]),
                **days,
                "seeds": surface.seeds[index],
                **row,
                "paired_interval": paired.cells[index],
                "against": against[index],
            }
        )
    return cells


def _points(surface: Surface) -> list[dict[str, Any]]:
    return [
        {"train_days": asked, "counted_days": float(counted)}
        for asked, counted in zip(surface.asked, surface.train_days, strict=True)
    ]


def _levels(
    surface: Surface,
    losses: Sequence[Array],
    settings: Settings,
    ensembles: Sequence[Array] | None = None,
) -> tuple[list[dict[str, Any]], int]:
    return level_rows(
        losses,
        surface.y,
        surface.base_rate,
        ensembles,
        horizon=settings.horizon,
        samples=settings.samples,
    )


def _baseline(
    surface: Surface, name: str, paired: Paired, entropy: float, settings: Settings
) -> dict[str, Any]:
    """One baseline, fitted at each number of days, with its slope in days.

    Its intervals are over days alone, because a baseline has no seeds.
    """
    single = [loss[None] for loss in surface.baselines[name]]
    axis = judge_axis(
        single, surface.train_days, np.eye(len(single)), settings._replace(replicated=True)
    )
    rows, _ = _levels(surface, single, settings)
    kept = ("log_loss", "interval", "skill", "skill_interval")
    levels = zip(_points(surface), rows, paired.baselines[name], strict=True)
    return {
        "levels": [
            point | {key: row[key] for key in kept} | {"paired_interval": interval}
            for point, row, interval in levels
        ],
        "slope": slope_row(axis.slope, entropy, UNITS["days"], replicated=True),
        "turning_point": axis.turning,
    }
