"""A turning point inside an axis: is the loss lowest, or highest, between its two ends?

A straight slope over a U says nothing. A quadratic alone cannot find the U, because it also bends
upwards over a curve that merely flattens out (Simonsohn 2018, Advances in Methods and Practices in
Psychological Science 1:538). The test therefore compares points of the axis.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from scaling.law.effects import LEVEL, Effect
from scaling.law.shape import vertex
from scaling.metrics import Array


@dataclass(frozen=True)
class TurningPoint:
    """The test for a turning point, as `find_turning_point` makes it."""

    kind: str | None
    """"lowest" or "highest", or None where none was found."""
    at: float | None
    """Its place on the axis, in parameters or days."""
    p_value: float | None
    """Adjusted for the points and directions tried; None where two points have no inside."""


def find_turning_point(
    contrasts: Mapping[tuple[int, int], Effect],
    positions: Array,
    loss: Array,
    covariance: Array,
    *,
    replicated: bool,
) -> TurningPoint:
    """Test for a turning point and locate it. Without replicates none is found.

    A point inside the ladder lies below both ends, or above both, each by a one-sided test at 5 %
    divided by the number of points and directions tried. Its place is the vertex of the quadratic
    in the logarithm, or that point if the vertex lies outside.

    `contrasts[i, j]` is the effect `mean j - mean i` for i < j, `positions` [points] the axis in
    ascending order, `loss` [points] the mean losses with their `covariance`.
    """
    last = len(loss) - 1
    tried = [(sign, j) for sign in (-1, 1) for j in range(1, last)]
    if not tried:
        return TurningPoint(None, None, None)
    # The loss must fall before the point and rise after it, or the reverse. Both must hold, so the
    # larger of the two p-values counts.
    p_values = [
        max(contrasts[0, j].one_sided(sign), contrasts[j, last].one_sided(-sign))
        for sign, j in tried
    ]
    best = int(np.argmin(p_values))
    p = min(1.0, len(tried) * p_values[best])
    sign, j = tried[best]
    # The bootstrap must agree, as it must for a verdict.
    agreed = (contrasts[0, j].side90, contrasts[j, last].side90) == (sign, -sign)
    if not (replicated and p < LEVEL and agreed):
        return TurningPoint(None, None, p)
    kind = "lowest" if sign < 0 else "highest"
    at = vertex(positions, loss, covariance, kind)
    inside = at is not None and positions[0] < at < positions[-1]
    return TurningPoint(kind, at if inside else float(positions[j]), p)
