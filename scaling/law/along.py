"""One of two axes: its slope on average, its slope at each point of the other, and a verdict."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from scaling.law.axis import Judgement, Settings, contrast_rows, judge_axis, slope_row
from scaling.law.effects import holm
from scaling.law.verdict import Contrast, sensitivity, verdict

Array = npt.NDArray[np.float64]

LEVEL = 0.05


class Along(NamedTuple):
    """What is known of the loss along one of two axes."""

    verdict: str
    average: Judgement
    """Averaged over the other axis, which gives the slope of the additive model."""
    each: list[Judgement]
    """At each point of the other axis."""
    p_holm: list[float]
    """Of the slope at each point, adjusted for their number."""
    turns: list[bool]
    """Whether the loss turns at each point, adjusted for their number."""
    crosses: bool
    """The slope is below 0 at one point of the other axis and above 0 at another."""


def judge_along(
    losses: Sequence[Array],
    positions: Array,
    average: Array,
    each: Sequence[Array],
    settings: Settings,
) -> Along:
    """Judge one axis of a surface.

    `losses` holds [seeds, days] for each cell, `positions` are the points of the axis. `average`
    [points, cells] averages over the other axis, and `each` picks the cells at one of its points.
    A slope is claimed only if the loss turns nowhere and the slopes do not cross. Equivalence also
    needs the slope at each point of the other axis inside +-delta.
    """
    whole = judge_axis(losses, positions, average, settings)
    rows = [judge_axis(losses, positions, levels, settings) for levels in each]
    p_holm = holm([row.slope.p_value for row in rows])
    sides = {
        row.slope.excludes_zero(0.95)
        for row, p in zip(rows, p_holm, strict=True)
        if settings.replicated and p < LEVEL
    }
    turns = [
        row.turning["kind"] is not None and len(rows) * row.turning["p_value"] < LEVEL
        for row in rows
    ]
    crosses = {-1, 1} <= sides
    slopes = [Contrast(row.slope, decades=1.0) for row in rows]
    word = verdict(
        whole.slope,
        settings.delta,
        contrasts=[*whole.contrasts.values(), *slopes],
        replicated=settings.replicated,
        one_direction=whole.turning["kind"] is None and not any(turns) and not crosses,
    )
    return Along(word, whole, rows, p_holm, turns, crosses)


def along_row(
    along: Along,
    *,
    unit: str,
    names: Sequence[str],
    others: Sequence[str],
    entropy: float,
    test_days: int,
    seeds: int,
    settings: Settings,
) -> dict[str, Any]:
    """The axis, JSON-ready. `names` are its points, `others` those of the other axis."""
    slope = along.average.slope
    return {
        "verdict": along.verdict,
        "slope": slope_row(slope, entropy, unit, replicated=settings.replicated),
        **sensitivity(slope, settings.delta, test_days, seeds, replicated=settings.replicated),
        "turning_point": along.average.turning,
        "crosses": along.crosses,
        "at_each": [
            {
                "at": other,
                "slope": slope_row(row.slope, entropy, unit, replicated=settings.replicated),
                "p_holm": p,
                "turns": turns,
                "turning_point": row.turning,
            }
            for other, row, p, turns in zip(
                others, along.each, along.p_holm, along.turns, strict=True
            )
        ],
        "contrasts": contrast_rows(names, along.average.contrasts, settings.delta),
        "block_length": along.average.block,
    }
