"""The shape of a ladder: which curve its mean losses follow, as far as their errors can tell.

A more complex shape is preferred only where the errors allow, and an exponent is given only where
it is identified. `docs/statistics.md` has the rules and their sources.
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

SIZES_FOR_ALPHA = 5
ALPHA_BOUNDS = (0.01, 3.0)
RULE = (
    "the simplest shape that no shape containing it beats by an F test at 5 %, divided by the "
    "number of such shapes; the quadratic and the power law both contain the line, and the smaller "
    "chi-squared decides between the two"
)


def compare_shapes(
    parameters: Array, loss: Array, covariance: Array, freedom: float, improves: bool
) -> dict[str, Any]:
    """Constant, linear and quadratic in log N, and power law, with the bootstrapped covariance.

    `loss` is [sizes] and `covariance` [sizes, sizes]. The sizes share their days, so their errors
    are correlated, and fits that ignore it invent scaling (plain AIC in 11-28 % of no-effect
    worlds). Hence generalised least squares. The preferred shape follows RULE, with AIC beside it.
    The quadratic needs three sizes, and the power law is fitted only where its exponent may be
    asked for.
    """
    inverse = _inverse(covariance)
    x = np.log10(parameters) - np.log10(parameters).mean()
    constant, _, chi2_constant = _gls(_powers(x, 1), loss, inverse)
    line, line_covariance, chi2_line = _gls(_powers(x, 2), loss, inverse)
    shapes: dict[str, Any] = {
        "constant": {"log_loss": float(constant[0])} | _fit_quality(chi2_constant, 1),
        "linear_log": {"slope": float(line[1]), "slope_error": math.sqrt(line_covariance[1, 1])}
        | _fit_quality(chi2_line, 2),
    }
    if len(x) > 2:
        bent, _, chi2_bent = _gls(_powers(x, 3), loss, inverse)
        shapes["quadratic_log"] = {
            "slope_at_centre": float(bent[1]),
            "curvature": float(bent[2]),
        } | _fit_quality(chi2_bent, 3)
    shapes["power_law"] = power_law(parameters, loss, covariance, freedom, improves)
    return shapes | {"preferred": _prefer(shapes, freedom), "rule": RULE, "freedom": freedom}


def _prefer(shapes: dict[str, Any], freedom: float) -> str:
    """The name of the preferred shape; adds each shape's p-values against the simpler ones."""
    from scipy.stats import f

    identified = [name for name in shapes if shapes[name].get("status") != "not identified"]
    order = sorted(
        identified,
        key=lambda name: (shapes[name]["fitted_parameters"], shapes[name]["chi2"]),
    )
    preferred = order[2] if len(order) > 2 else "linear_log"
    for simpler in ("linear_log", "constant"):
        richer = order[order.index(simpler) + 1 :]
        for name in richer:
            more = shapes[name]["fitted_parameters"] - shapes[simpler]["fitted_parameters"]
            gain = max(shapes[simpler]["chi2"] - shapes[name]["chi2"], 0.0)
            shapes[name][f"p_against_{simpler}"] = float(f.sf(gain / more, more, freedom))
        if all(shapes[name][f"p_against_{simpler}"] * len(richer) >= 0.05 for name in richer):
            preferred = simpler
    return preferred


def vertex(positions: Array, loss: Array, covariance: Array, kind: str) -> float | None:
    """Where the quadratic in the logarithm of `positions` is lowest, or highest, by GLS.

    None if it bends the other way, and for fewer than three points.
    """
    centre = float(np.log10(positions).mean())
    if len(loss) < 3:
        return None
    (_, slope, curvature), _, _ = _gls(
        _powers(np.log10(positions) - centre, 3), loss, _inverse(covariance)
    )
    if (curvature > 0) != (kind == "lowest") or curvature == 0:
        return None
    return float(10 ** (centre - slope / (2 * curvature)))


def _powers(x: Array, count: int) -> Array:
    """The columns 1, x, x^2, ..., [points, count]."""
    return np.vander(x, count, increasing=True)


def power_law(
    parameters: Array, loss: Array, covariance: Array, freedom: float, improves: bool
) -> dict[str, Any]:
    """`L(N) = E + A N^-alpha`, or the words "not identified" and the reason.

    Three parameters fit any three or four points, and without a trend they fit nothing. So alpha
    is None below SIZES_FOR_ALPHA sizes, without a slope that improves, at a bound, with an open
    profile interval, or when the fit without the largest size predicts that size no better than
    the loss of the size below it does.
    """
    refused = {"alpha": None, "status": "not identified"}
    if len(loss) < SIZES_FOR_ALPHA:
        reason = f"{len(loss)} sizes; an exponent needs {SIZES_FOR_ALPHA} or more"
        return refused | {"reason": reason}
    if not improves:
        return refused | {"reason": "the slope does not lie below 0; a power law needs a trend"}
    fit = fit_power_law(parameters, loss, covariance, freedom)
    lower = fit_power_law(parameters[:-1], loss[:-1], covariance[:-1, :-1], freedom)
    predicted = lower["E"] + lower["A"] * parameters[-1] ** -lower["alpha"]
    fit["top_rung"] = {
        "observed": float(loss[-1]),
        "predicted_from_below": float(predicted),
        "carried_forward": float(loss[-2]),
    }
    reasons = []
    if fit["at_bound"]:
        reasons.append(f"the fit lies at a bound ({', '.join(fit['at_bound'])})")
    if None in fit["alpha_interval95"]:
        reasons.append("the profile interval of alpha is open")
    if abs(predicted - loss[-1]) >= abs(loss[-2] - loss[-1]):
        reasons.append("fitted without the top rung it predicts it no better than carry-forward")
    if reasons:
        return fit | refused | {"alpha_fitted": fit["alpha"], "reason": "; ".join(reasons)}
    return fit | {"status": "identified"}


def fit_power_law(
    parameters: Array, loss: Array, covariance: Array, freedom: float = math.inf
) -> dict[str, Any]:
    """Fit `E + A N^-alpha` by variable projection: each alpha has its own best E, A >= 0.

    Returns alpha, E, A, chi2 and AIC, the 95 % profile interval of alpha (an end that reaches
    ALPHA_BOUNDS is None), `at_bound`, and alpha by Huber's loss as a check on outliers.
    """
    from scipy.optimize import minimize_scalar
    from scipy.stats import t

    inverse = _inverse(covariance)
    middle = float(np.exp(np.log(parameters).mean()))
    scaled = parameters / middle
    grid = np.geomspace(*ALPHA_BOUNDS, 300)
    curve = np.array([_project(scaled**-alpha, loss, inverse)[0] for alpha in grid])
    best = int(curve.argmin())
    alpha = float(grid[best])
    if 0 < best < len(grid) - 1:
        near = (grid[best - 1], grid[best + 1])
        found = minimize_scalar(
            lambda a: _project(scaled**-a, loss, inverse)[0], bounds=near, method="bounded"
        )
        alpha = float(found.x)
    chi2, floor, gain = _project(scaled**-alpha, loss, inverse)
    inside = curve <= chi2 + float(t.ppf(0.975, freedom)) ** 2
    low, high = (float(a) for a in grid[inside][[0, -1]]) if inside.any() else (alpha, alpha)
    touching = {"alpha": best in (0, len(grid) - 1), "E": floor == 0, "A": gain == 0}
    return {
        "alpha": alpha,
        "alpha_interval95": [None if inside[0] else low, None if inside[-1] else high],
        "E": floor,
        "A": gain * middle**alpha,
        "at_bound": [name for name, touches in touching.items() if touches],
        "alpha_huber": _huber_alpha(scaled, loss, inverse, np.array([floor, gain, alpha])),
    } | _fit_quality(chi2, 3)


def _project(term: Array, loss: Array, inverse: Array) -> tuple[float, float, float]:
    """Chi-squared, E and A of `loss = E + A term` by GLS, with E and A held at 0 or above."""
    (floor, gain), _, chi2 = _gls(np.stack([np.ones_like(term), term], 1), loss, inverse)
    if gain < 0:
        (floor,), _, chi2 = _gls(np.ones((len(term), 1)), loss, inverse)
        gain = 0.0
    elif floor < 0:
        (gain,), _, chi2 = _gls(term[:, None], loss, inverse)
        floor = 0.0
    return chi2, float(floor), float(gain)


def _huber_alpha(scaled: Array, loss: Array, inverse: Array, start: Array) -> float:
    """Alpha of the same law by Huber's loss of the whitened residuals, from (E, A, alpha)."""
    from scipy.optimize import least_squares

    root = np.linalg.cholesky(inverse + 1e-12 * np.trace(inverse) * np.eye(len(loss)))

    def whitened(theta: Array) -> Array:
        fitted = theta[0] + theta[1] * scaled ** -theta[2]
        return np.asarray(root.T @ (loss - fitted))

    lower = [0.0, 0.0, ALPHA_BOUNDS[0]]
    bounds = (lower, [np.inf, np.inf, ALPHA_BOUNDS[1]])
    first = np.maximum(start, lower)
    robust = least_squares(whitened, first, bounds=bounds, loss="huber", x_scale="jac")
    return float(robust.x[2])


def _inverse(covariance: Array) -> Array:
    """Pseudo-inverse, because networks that predict alike make the covariance singular.

    If nothing varies at all, all sizes weigh the same.
    """
    if np.trace(covariance) < 1e-20:
        return np.eye(len(covariance))
    return np.asarray(np.linalg.pinv(covariance, rcond=1e-10, hermitian=True))


def _gls(design: Array, loss: Array, inverse: Array) -> tuple[Array, Array, float]:
    """Coefficients, their covariance, and chi-squared of generalised least squares."""
    covariance = np.linalg.pinv(design.T @ inverse @ design, hermitian=True)
    coefficients = covariance @ design.T @ inverse @ loss
    residual = loss - design @ coefficients
    return coefficients, np.asarray(covariance), float(residual @ inverse @ residual)


def _fit_quality(chi2: float, parameters: int) -> dict[str, Any]:
    return {"chi2": chi2, "fitted_parameters": parameters, "aic": chi2 + 2 * parameters}
