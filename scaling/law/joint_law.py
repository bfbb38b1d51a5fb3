"""The law of a study's own runs in both axes, `L(N, D) = E + A N^-alpha + B D^-beta`.

It is given only where the runs identify it. Otherwise the reason stands in its place.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

# Without its largest value an axis must still hold three, one for each unknown along it.
POINTS = 4
EXPONENT_BOUNDS = (0.01, 3.0)
GRID = 40
BUDGET = 10.0
ASSUMED = "compute in proportion to parameters times training days"


class Fit(NamedTuple):
    """The best law for each pair of exponents on a grid around the best pair of all."""

    alphas: Array
    betas: Array
    chi2: Array
    """[alphas, betas]"""
    linear: Array
    """E, A and B, none below 0, [alphas, betas, 3]."""

    @property
    def best(self) -> tuple[int, int]:
        """Where the grid is lowest."""
        return divmod(int(self.chi2.argmin()), len(self.betas))

    def predict(self, parameters: Array, days: Array) -> Array:
        """Losses of the best law, for arrays of one shape."""
        i, j = self.best
        floor, gain, more = self.linear[i, j]
        return np.asarray(
            floor + gain * parameters ** -self.alphas[i] + more * days ** -self.betas[j]
        )


def fit_joint(
    parameters: Array, days: Array, loss: Array, covariance: Array, freedom: float
) -> Fit:
    """Fit by variable projection on a grid of exponents; all arrays are [cells].

    E, A and B are solved for at each pair of exponents by generalised least squares with
    `covariance` [cells, cells], because the cells share their test days. The grid is narrowed until
    it just holds all exponents that `freedom` leaves possible.
    """
    whiten = _whitening(covariance)
    possible = 2 * max(_joint_limit(freedom), _profile_limit(freedom))
    alphas = betas = np.geomspace(*EXPONENT_BOUNDS, GRID)
    while True:
        fit = _on_grid(alphas, betas, parameters, days, loss, whiten)
        near = fit.chi2 <= fit.chi2.min() + possible
        narrower = [_around(alphas, near.any(axis=1)), _around(betas, near.any(axis=0))]
        if all(len(new) > GRID / 4 for new in narrower):
            return fit
        alphas, betas = (np.geomspace(new[0], new[-1], GRID) for new in narrower)


def _around(grid: Array, near: npt.NDArray[np.bool_]) -> Array:
    """The part of a grid that is near, and one point on either side."""
    inside = np.flatnonzero(near)
    return grid[max(inside[0] - 1, 0) : inside[-1] + 2]


def _on_grid(
    alphas: Array, betas: Array, parameters: Array, days: Array, loss: Array, whiten: Array
) -> Fit:
    from scipy.optimize import nnls

    # Around 1, so that the columns of the design have one size.
    n, d = parameters / _middle(parameters), days / _middle(days)
    target = whiten @ loss
    chi2, linear = np.empty((len(alphas), len(betas))), np.empty((len(alphas), len(betas), 3))
    for i, alpha in enumerate(alphas):
        for j, beta in enumerate(betas):
            design = np.stack([np.ones_like(n), n**-alpha, d**-beta], axis=1)
            solved, residual = nnls(whiten @ design, target)
            chi2[i, j] = residual**2
            linear[i, j] = solved * [1.0, _middle(parameters) ** alpha, _middle(days) ** beta]
    return Fit(alphas, betas, chi2, linear)


def _whitening(covariance: Array) -> Array:
    """Turns errors with this covariance into independent ones of variance 1."""
    values, vectors = np.linalg.eigh(covariance)
    kept = values > 1e-10 * values.max()
    return np.asarray(vectors[:, kept].T / np.sqrt(values[kept])[:, None])


def _middle(values: Array) -> float:
    return float(np.exp(np.log(values).mean()))


def _profile_limit(freedom: float) -> float:
    """How far chi-squared may rise within the 95 % profile interval of one exponent."""
    from scipy.stats import t

    return float(t.ppf(0.975, freedom)) ** 2


def _joint_limit(freedom: float) -> float:
    """How far chi-squared may rise within the 95 % region of both exponents."""
    from scipy.stats import f

    return 2 * float(f.ppf(0.95, 2, freedom))


def joint_law(
    parameters: Array,
    days: Array,
    loss: Array,
    covariance: Array,
    *,
    freedom: float,
    improves: bool,
) -> dict[str, Any]:
    """The law of sizes [sizes] and days [days], JSON-ready, or "not identified" and the reasons.

    `loss` is [sizes, days], `covariance` that of its cells in this order. The law is identified
    only if both axes `improves` and hold POINTS values or more, no parameter lies at a bound, both
    profile intervals are closed, and the fits without the largest size and without the most days
    each predict what they were not shown better than the losses next to it do.
    """
    refused = {"status": "not identified", "alpha": None, "beta": None}
    if min(loss.shape) < POINTS:
        found = f"{loss.shape[0]} sizes and {loss.shape[1]} numbers of days"
        return refused | {"reason": f"{found}; {POINTS} of each are needed"}
    if not improves:
        return refused | {"reason": "the loss does not fall along both axes"}
    n, d = (grid.ravel() for grid in np.meshgrid(parameters, days, indexing="ij"))
    fit = fit_joint(n, d, loss.ravel(), covariance, freedom)
    intervals = [
        _profile(fit.alphas, fit.chi2.min(axis=1), freedom),
        _profile(fit.betas, fit.chi2.min(axis=0), freedom),
    ]
    held_out = {
        "largest size": _held_out(parameters, days, loss, covariance, freedom, axis=0),
        "most days": _held_out(parameters, days, loss, covariance, freedom, axis=1),
    }
    reasons = _reasons(fit, intervals, held_out)
    i, j = fit.best
    alpha, beta = float(fit.alphas[i]), float(fit.betas[j])
    floor, gain, more = (float(x) for x in fit.linear[i, j])
    law = {
        "law": "E + A N^-alpha + B D^-beta",
        "alpha_fitted": alpha,
        "beta_fitted": beta,
        "alpha_interval95": intervals[0],
        "beta_interval95": intervals[1],
        "E": floor,
        "A": gain,
        "B": more,
        "chi2": float(fit.chi2[fit.best]),
        "held_out": held_out,
    }
    if reasons:
        return law | refused | {"reason": "; ".join(reasons)}
    advice = {"budget": _spend(fit, float(parameters[-1]), float(days[-1]), freedom)}
    return law | {"status": "identified", "alpha": alpha, "beta": beta} | advice


def _profile(grid: Array, chi2: Array, freedom: float) -> list[float | None]:
    """The 95 % profile interval of one exponent; an end that reaches EXPONENT_BOUNDS is None."""
    inside = grid[chi2 <= chi2.min() + _profile_limit(freedom)]
    lowest, highest = EXPONENT_BOUNDS
    return [
        float(inside[0]) if inside[0] > lowest else None,
        float(inside[-1]) if inside[-1] < highest else None,
    ]


def _held_out(
    parameters: Array, days: Array, loss: Array, covariance: Array, freedom: float, axis: int
) -> dict[str, float]:
    """Root mean squared errors on the last row of an axis, unseen, by the law and carried forward.

    `axis` 0 holds out the largest size, 1 the most days.
    """
    n, d = np.meshgrid(parameters, days, indexing="ij")
    seen = np.ones(loss.shape, bool)
    np.moveaxis(seen, axis, 0)[-1] = False
    inside = seen.ravel()
    fit = fit_joint(n[seen], d[seen], loss[seen], covariance[np.ix_(inside, inside)], freedom)
    unseen, before = np.moveaxis(loss, axis, 0)[[-1, -2]]
    predicted = fit.predict(n[~seen], d[~seen])
    return {
        "law": float(np.sqrt(np.mean((predicted - unseen) ** 2))),
        "carried_forward": float(np.sqrt(np.mean((before - unseen) ** 2))),
    }


def _reasons(
    fit: Fit, intervals: list[list[float | None]], held_out: dict[str, dict[str, float]]
) -> list[str]:
    """Why the law is not identified; empty if it is."""
    reasons = []
    exponents = (fit.alphas[fit.best[0]], fit.betas[fit.best[1]])
    bounds = [
        name
        for name, exponent in zip(("alpha", "beta"), exponents, strict=True)
        if exponent in EXPONENT_BOUNDS
    ]
    bounds += [name for name, x in zip("EAB", fit.linear[fit.best], strict=True) if x == 0]
    if bounds:
        reasons.append(f"the fit lies at a bound ({', '.join(bounds)})")
    for name, interval in zip(("alpha", "beta"), intervals, strict=True):
        if None in interval:
            reasons.append(f"the profile interval of {name} is open")
    for what, error in held_out.items():
        if error["law"] >= error["carried_forward"]:
            reasons.append(f"fitted without the {what} it predicts no better than carry-forward")
    return reasons


def _spend(fit: Fit, parameters: float, days: float, freedom: float) -> dict[str, Any]:
    """What ten times the compute of the largest run should be spent on.

    Compute is ASSUMED, so the parameters grow by a factor from 1 to BUDGET and the days by the rest
    of it. The interval holds the best factors of all laws in the joint 95 % region of the
    exponents.
    """
    factors = np.geomspace(1, BUDGET, 101)
    region = np.argwhere(fit.chi2 <= fit.chi2.min() + _joint_limit(freedom))
    best = []
    for i, j in [fit.best, *region]:
        floor, gain, more = fit.linear[i, j]
        losses = (
            floor
            + gain * (parameters * factors) ** -fit.alphas[i]
            + more * (days * BUDGET / factors) ** -fit.betas[j]
        )
        best.append((float(factors[losses.argmin()]), losses))
    (factor, losses), chosen = best[0], [factor for factor, _ in best]
    return {
        "compute_factor": BUDGET,
        "parameters_factor": factor,
        "parameters_factor_interval95": [min(chosen), max(chosen)],
        "days_factor": BUDGET / factor,
        "predicted_loss": float(losses.min()),
        "predicted_loss_all_days": float(losses[0]),
        "predicted_loss_all_parameters": float(losses[-1]),
        "assumed": ASSUMED,
    }
