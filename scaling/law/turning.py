"""A turning point inside a ladder: is the loss lowest, or highest, between its two ends?

A straight slope over a U says nothing. A quadratic alone cannot find the U, because it also bends
upwards over a curve that merely flattens out (Simonsohn 2018, Advances in Methods and Practices in
Psychological Science 1:538). The test therefore compares points of the ladder.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from scaling.law.effects import Effect
from scaling.law.shapes import vertex

Array = npt.NDArray[np.float64]

LEVEL = 0.05
RULE = (
    "a point inside the ladder lies below both ends, or above both, each by a one-sided test at "
    "5 % divided by the number of points and directions tried; the place is the vertex of the "
    "quadratic in the logarithm, or that point if the vertex lies outside"
)


def turning_point(
    contrasts: Mapping[tuple[int, int], Effect],
    positions: Array,
    loss: Array,
    covariance: Array,
    *,
    replicated: bool,
) -> dict[str, Any]:
    """Test for a turning point and locate it, JSON-ready.

    `contrasts[i, j]` is the effect `mean j - mean i` for i < j, `positions` [points] the axis in
    ascending order (parameters, or days), `loss` [points] the mean losses with their `covariance`.
    `kind` is "lowest", "highest" or None. Two points have no inside, and without replicates
    nothing is found.
    """
    last = len(loss) - 1
    tried = [(kind, j) for kind in ("lowest", "highest") for j in range(1, last)]
    result: dict[str, Any] = {"kind": None, "at": None, "p_value": None, "rule": RULE}
    if not tried:
        return result
    p_values = [_p_value(contrasts[0, j], contrasts[j, last], kind) for kind, j in tried]
    best = int(np.argmin(p_values))
    p = min(1.0, len(tried) * p_values[best])
    kind, j = tried[best]
    sign = -1 if kind == "lowest" else 1
    # Two-sided 90 % is one-sided 5 %. The bootstrap must agree, as it must for a verdict.
    agreed = [contrasts[0, j].excludes_zero(0.90), contrasts[j, last].excludes_zero(0.90)]
    if replicated and p < LEVEL and agreed == [sign, -sign]:
        bottom, top = positions[0], positions[-1]
        at = vertex(positions, loss, covariance, kind)
        result |= {"kind": kind, "at": at if at and bottom < at < top else float(positions[j])}
    return result | {"p_value": p}


def _p_value(before: Effect, after: Effect, kind: str) -> float:
    """Of the loss falling before a point and rising after it, or the reverse for "highest"."""
    sign = -1 if kind == "lowest" else 1
    return max(before.one_sided(sign), after.one_sided(-sign))
