"""The curve behind a ladder: which shape its losses have, and laws for published tables.

A shape is preferred only as far as the errors allow, and an exponent is named only where it is
identified: `docs/statistics.md` has the rules and their sources.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from scaling.errors import UserError

Array = npt.NDArray[np.float64]

SIZES_FOR_ALPHA = 5
ALPHA_BOUNDS = (0.01, 3.0)
HUBER_DELTA = 1e-3
TABLE_SEED = 20200306


def compare_shapes(
    parameters: Array, loss: Array, covariance: Array, freedom: float, improves: bool
) -> dict[str, Any]:
    """Constant, linear in log N and power law, by GLS with the bootstrapped covariance.

    `loss` [sizes], `covariance` [sizes, sizes]: the sizes share their days, so their errors are
    correlated, and fits that ignore it invent scaling (plain AIC in 11-28 % of no-effect worlds).
    Each shape holds the one before it, so one is preferred only if it beats that at 5 % by
    F(1, freedom); AIC is given beside it. The power law only where `alpha` may be asked for.
    """
    from scipy.stats import f

    inverse = _inverse(covariance)
    x = np.log10(parameters) - np.log10(parameters).mean()
    constant, _, chi2_constant = _gls(np.ones((len(x), 1)), loss, inverse)
    line, line_covariance, chi2_line = _gls(np.stack([np.ones_like(x), x], 1), loss, inverse)
    p_line = float(f.sf(chi2_constant - chi2_line, 1, freedom))
    result: dict[str, Any] = {
        "constant": {"log_loss": float(constant[0])} | _fit_quality(chi2_constant, 1),
        "linear_log": {
            "slope": float(line[1]),
            "slope_error": math.sqrt(line_covariance[1, 1]),
            "p_against_constant": p_line,
        }
        | _fit_quality(chi2_line, 2),
    }
    preferred = "linear_log" if p_line < 0.05 else "constant"
    power = power_law(parameters, loss, covariance, freedom, improves)
    if "chi2" in power:
        power["p_against_linear_log"] = float(f.sf(max(chi2_line - power["chi2"], 0), 1, freedom))
        if preferred == "linear_log" and power["p_against_linear_log"] < 0.05:
            preferred = "power_law"
    return result | {
        "power_law": power,
        "preferred": preferred,
        "rule": "the simplest shape that the next does not beat at 5 % by F(1, freedom)",
        "freedom": freedom,
    }


def _inverse(covariance: Array) -> Array:
    """Pseudo-inverse: networks that predict alike make the covariance singular, or nothing."""
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


def power_law(
    parameters: Array, loss: Array, covariance: Array, freedom: float, improves: bool
) -> dict[str, Any]:
    """`L(N) = E + A N^-alpha`, or the words "not identified" and why.

    Three parameters through three or four points fit anything, and through no trend fit nothing:
    alpha is None below SIZES_FOR_ALPHA sizes, without a slope that improves, at a bound, with an
    open profile interval, or when the fit without the top rung does not predict that rung better
    than carrying the rung below forward.
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
    """Fit `E + A N^-alpha` by variable projection: E and A are solved for at each alpha.

    Returns alpha, E, A, chi2 and AIC, the 95 % profile interval of alpha (an end that reaches
    ALPHA_BOUNDS is None), `at_bound`, and alpha by Huber's loss as a sensitivity. E, A >= 0.
    """
    from scipy.optimize import least_squares, minimize_scalar
    from scipy.stats import t

    inverse = _inverse(covariance)
    middle = float(np.exp(np.log(parameters).mean()))
    scaled = parameters / middle

    def profile(alpha: float) -> tuple[float, float, float]:
        term = scaled**-alpha
        (floor, gain), _, chi2 = _gls(np.stack([np.ones_like(term), term], 1), loss, inverse)
        if gain < 0:
            (floor,), _, chi2 = _gls(np.ones((len(term), 1)), loss, inverse)
            gain = 0.0
        elif floor < 0:
            (gain,), _, chi2 = _gls(term[:, None], loss, inverse)
            floor = 0.0
        return chi2, float(floor), float(gain)

    grid = np.geomspace(*ALPHA_BOUNDS, 300)
    curve = np.array([profile(alpha)[0] for alpha in grid])
    best = int(curve.argmin())
    alpha = float(grid[best])
    if 0 < best < len(grid) - 1:
        near = (grid[best - 1], grid[best + 1])
        alpha = float(minimize_scalar(lambda a: profile(a)[0], bounds=near, method="bounded").x)
    chi2, floor, gain = profile(alpha)
    inside = curve <= chi2 + float(t.ppf(0.975, freedom)) ** 2
    low, high = (float(a) for a in grid[inside][[0, -1]]) if inside.any() else (alpha, alpha)
    touching = {"alpha": best in (0, len(grid) - 1), "E": floor == 0, "A": gain == 0}

    root = np.linalg.cholesky(inverse + 1e-12 * np.trace(inverse) * np.eye(len(loss)))

    def whitened(theta: Array) -> Array:
        fitted = theta[0] + theta[1] * scaled ** -theta[2]
        return np.asarray(root.T @ (loss - fitted))

    lower = [0.0, 0.0, ALPHA_BOUNDS[0]]
    start = np.maximum([floor, gain, alpha], lower)
    bounds = (lower, [np.inf, np.inf, ALPHA_BOUNDS[1]])
    robust = least_squares(whitened, start, bounds=bounds, loss="huber", x_scale="jac")
    return {
        "alpha": alpha,
        "alpha_interval95": [None if inside[0] else low, None if inside[-1] else high],
        "E": floor,
        "A": gain * middle**alpha,
        "at_bound": [name for name, touches in touching.items() if touches],
        "alpha_huber": float(robust.x[2]),
    } | _fit_quality(chi2, 3)


def fit_two_variable_law(
    parameters: Array, data: Array, loss: Array, samples: int = 200, seed: int = TABLE_SEED
) -> dict[str, Any]:
    """Fit `L(N, D) = E + A N^-alpha + B D^-beta` to published ladders, all [runs].

    Approach 3 of Hoffmann et al. (2022): Huber loss (1e-3) of log L, the sum of terms taken by
    log-sum-exp, L-BFGS from many starts. The loss is *summed*: averaged, its gradients fall under
    the optimiser's tolerance and the published fit had stopped early (Besiroglu et al. 2024,
    arXiv:2404.10102). Intervals are percentiles over resampled runs. Raises UserError for tables
    that cannot hold five unknowns.
    """
    table = np.stack([parameters, data, loss]).astype(float)
    if not (np.isfinite(table).all() and (table > 0).all()):
        raise UserError("N, D and loss must all be positive numbers; mend or drop the other rows")
    distinct = [len(np.unique(row)) for row in table[:2]]
    if table.shape[1] < 8 or min(distinct) < 3:
        raise UserError(
            f"{table.shape[1]} runs with {distinct[0]} values of N and {distinct[1]} of D; five "
            "unknowns need 8 runs and 3 values of each: add runs"
        )
    starts = _starts(table)
    best, value = _best_fit(table, starts)
    rng = np.random.default_rng(seed)
    draws: list[Array] = []
    while len(draws) < samples:
        drawn = table[:, rng.integers(0, table.shape[1], table.shape[1])]
        if min(len(np.unique(row)) for row in drawn[:2]) >= 3:
            draws.append(_best_fit(drawn, [best, starts[0]])[0])
    names = ("A", "B", "E", "alpha", "beta")
    # Natural order: the optimiser holds log A, log B, log E, alpha, beta.
    fitted, *resampled = [np.r_[np.exp(theta[:3]), theta[3:]] for theta in (best, *draws)]
    intervals = np.quantile(resampled, [0.025, 0.975], axis=0).T
    bound = [n for n, x in zip(names[3:], best[3:], strict=True) if not 1e-3 < x < ALPHA_BOUNDS[1]]
    return {
        "law": "E + A N^-alpha + B D^-beta",
        **{name: float(x) for name, x in zip(names, fitted, strict=True)},
        "intervals95": {
            name: [float(x) for x in ends] for name, ends in zip(names, intervals, strict=True)
        },
        "at_bound": bound,
        "huber_loss": value,
        "runs": table.shape[1],
        "bootstrap_samples": samples,
        "seed": seed,
    }


def _starts(table: Array, keep: int = 24) -> list[Array]:
    """Starts of the two-variable fit: the best of a grid of exponents, the rest solved for."""
    from scipy.optimize import nnls

    n, d, loss = table
    found = []
    for alpha in np.geomspace(0.05, 1.5, 14):
        for beta in np.geomspace(0.05, 1.5, 14):
            design = np.stack([n**-alpha, d**-beta, np.ones_like(n)], 1) / loss[:, None]
            size = np.linalg.norm(design, axis=0)
            scaled, residual = nnls(design / size, np.ones_like(loss))
            linear = np.maximum(scaled, 1e-4) / size
            found.append((residual, np.r_[np.log(linear), alpha, beta]))
    found.sort(key=lambda pair: pair[0])
    return [theta for _, theta in found[:keep]]


def _best_fit(table: Array, starts: Sequence[Array]) -> tuple[Array, float]:
    """The lowest of L-BFGS runs: log A, log B, log E, alpha, beta, and the summed Huber loss."""
    from scipy.optimize import minimize
    from scipy.special import logsumexp

    log_n, log_d, log_loss = np.log(table)

    def objective(theta: Array) -> tuple[float, Array]:
        terms = np.stack(
            [
                theta[0] - theta[3] * log_n,
                theta[1] - theta[4] * log_d,
                np.full_like(log_n, theta[2]),
            ]
        )
        total = logsumexp(terms, axis=0)
        share = np.exp(terms - total)
        residual = total - log_loss
        clipped = np.clip(residual, -HUBER_DELTA, HUBER_DELTA)
        value = (clipped * (residual - clipped / 2)).sum()
        slope = np.r_[share @ clipped, -(share[0] * log_n) @ clipped, -(share[1] * log_d) @ clipped]
        # Scaled by a constant, or losses of 1e-6 a run would meet the optimiser's tolerances.
        return float(value) / HUBER_DELTA**2, slope / HUBER_DELTA**2

    wide = (None, None)
    bounds = [wide, wide, wide, (1e-3, ALPHA_BOUNDS[1]), (1e-3, ALPHA_BOUNDS[1])]
    options = {"maxiter": 2000, "maxfun": 5000, "ftol": 1e-12, "gtol": 1e-8}
    runs = [
        minimize(objective, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
        for start in starts
    ]
    best = min(runs, key=lambda run: run.fun)
    return best.x, float(best.fun) * HUBER_DELTA**2
