"""The shape of a ladder: which curve its losses follow, as far as their errors can tell.

A more complex shape is preferred only where the errors allow. Everything is fitted to the
differences between sizes. The sizes share their test days, so their levels err together, and a fit
to correlated levels may lie below all of them (Peelle's puzzle).
"""

from dataclasses import dataclass

import numpy as np

from scaling.law.effects import LEVEL
from scaling.law.power_law import FittedLaw, whitened_contrasts
from scaling.metrics import Array


@dataclass(frozen=True)
class Shape:
    """One curve through the mean losses."""

    fitted_parameters: int
    chi2: float
    """Of the differences between sizes."""
    coefficients: list[float]
    """Of 1, x, x^2 for x in decades from the middle of the sizes; empty for the power law."""
    p_against: dict[str, float]
    """P-values of the F tests against the simpler shapes."""


@dataclass(frozen=True)
class Shapes:
    """Constant, line and quadratic in log N, and the power law, as `compare_shapes` does."""

    preferred: str
    fitted: dict[str, Shape]


def compare_shapes(
    parameters: Array, loss: Array, covariance: Array, degrees: float, law: FittedLaw
) -> Shapes:
    """Compare the shapes by generalised least squares; `loss` is [sizes].

    `covariance` [sizes, sizes] is bootstrapped, with these `degrees` of freedom. Fits that ignore
    that the errors are correlated invent scaling (plain AIC in 11-28 % of no-effect worlds). The
    quadratic needs three sizes, and the power law `law` takes part where it is identified.

    Preferred is the simplest shape that no shape containing it beats by an F test at 5 %, divided
    by the number of such shapes. The quadratic and the power law both contain the line, and the
    smaller chi-squared decides between the two.
    """
    from scipy.stats import f

    x = np.log10(parameters) - np.log10(parameters).mean()
    names = ("constant", "linear_log", "quadratic_log")[: len(x)]
    fits = {}
    for count, name in enumerate(names, 1):
        coefficients, chi2 = polynomial(x, loss, covariance, count)
        fits[name] = (count, chi2, [float(value) for value in coefficients])
    if law.identified and law.chi2 is not None:
        fits["power_law"] = (3, law.chi2, [])
    order = sorted(fits, key=lambda name: fits[name][:2])
    against: dict[str, dict[str, float]] = {name: {} for name in fits}
    preferred = order[2] if len(order) > 2 else "linear_log"
    for simpler in ("linear_log", "constant"):
        richer = order[order.index(simpler) + 1 :]
        for name in richer:
            more = fits[name][0] - fits[simpler][0]
            gain = max(fits[simpler][1] - fits[name][1], 0.0)
            against[name][simpler] = float(f.sf(gain / more, more, degrees))
        if all(against[name][simpler] * len(richer) >= LEVEL for name in richer):
            preferred = simpler
    return Shapes(preferred, {name: Shape(*fit, against[name]) for name, fit in fits.items()})


def vertex(positions: Array, loss: Array, covariance: Array, kind: str) -> float | None:
    """Where the quadratic in the logarithm of `positions` is lowest, or highest.

    None if it bends the other way.
    """
    x = np.log10(positions)
    (_, slope, curvature), _ = polynomial(x - x.mean(), loss, covariance, 3)
    if (curvature > 0) != (kind == "lowest") or curvature == 0:
        return None
    return float(10 ** (x.mean() - slope / (2 * curvature)))


def polynomial(x: Array, loss: Array, covariance: Array, count: int) -> tuple[Array, float]:
    """The coefficients of 1, x, x^2, ... [count], and chi-squared of the differences.

    The first is what the mean of the losses leaves.
    """
    whiten, powers = whitened_contrasts(covariance), np.vander(x, count, increasing=True)
    design, target = whiten @ powers[:, 1:], whiten @ loss
    slopes = np.linalg.lstsq(design, target, rcond=1e-12)[0]
    residual = target - design @ slopes
    constant = loss.mean() - powers[:, 1:].mean(axis=0) @ slopes
    return np.r_[constant, slopes], float(residual @ residual)
