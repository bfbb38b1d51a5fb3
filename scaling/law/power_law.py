"""The power law `L = E + A N^-alpha`, or `E + A N^-alpha + B D^-beta` with two axes.

Given the exponents, E, A and B follow by linear least squares, so only the exponents are searched:
on a grid (variable projection). Own runs and published tables share it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from scaling.law.bootstrap import t_quantile
from scaling.metrics import Array

# Without its end an axis must still hold a value for each unknown along it, and the fit must have
# more values than unknowns.
FEWEST_POINTS = {1: 5, 2: 4}
EXPONENT_BOUNDS = (0.01, 3.0)
GRID = {1: 200, 2: 40}
BUDGET = 10.0
ASSUMED = "compute in proportion to parameters times training windows"
COEFFICIENTS, EXPONENTS = ("A", "B"), ("alpha", "beta")
WORDS = {
    "parameters": ("sizes", "largest size"),
    "train_days": ("numbers of days", "most days"),
    "markets": ("numbers of markets", "most markets"),
}


class Grid(NamedTuple):
    """The best law for each combination of exponents."""

    exponents: list[Array]
    """The values tried on each axis, [values] each."""
    chi2: Array
    """[values of the first axis, values of the second]"""
    linear: Array
    """E and the coefficient of each axis, [..., 1 + axes]."""

    @property
    def best(self) -> tuple[int, ...]:
        """Where the grid is lowest."""
        return tuple(int(i) for i in np.unravel_index(self.chi2.argmin(), self.chi2.shape))

    def law(self, place: tuple[int, ...]) -> tuple[list[float], list[float]]:
        """E, A, B, and the exponents at one place of the grid."""
        exponents = [float(own[i]) for own, i in zip(self.exponents, place, strict=True)]
        return [float(value) for value in self.linear[place]], exponents


def predict(
    positions: Sequence[Array], linear: Sequence[float], exponents: Sequence[float]
) -> Array:
    """The losses of a law; `positions` holds an array for each axis, all of one shape."""
    terms = zip(linear[1:], positions, exponents, strict=True)
    return np.asarray(linear[0] + sum(gain * x**-exponent for gain, x, exponent in terms))


def on_grid(exponents: list[Array], positions: Sequence[Array], loss: Array, whiten: Array) -> Grid:
    """Solve for the law at each combination; `positions` and `loss` are [cells].

    `whiten` [rows, cells] takes differences between cells with independent errors of variance 1.
    They determine A and B, neither below 0. E is what the mean of the losses leaves.
    """
    from scipy.optimize import nnls

    middles = [float(np.exp(np.log(own).mean())) for own in positions]
    target, shape = whiten @ loss, tuple(len(own) for own in exponents)
    chi2, linear = np.empty(shape), np.empty((*shape, 1 + len(positions)))
    for place in np.ndindex(shape):
        here = [own[i] for own, i in zip(exponents, place, strict=True)]
        scaled = zip(positions, middles, here, strict=True)
        # Around 1, so that the columns of the design have one size.
        terms = np.stack([(x / middle) ** -exponent for x, middle, exponent in scaled], axis=1)
        gains, residual = nnls(whiten @ terms, target)
        chi2[place] = residual**2
        scales = [middle**exponent for middle, exponent in zip(middles, here, strict=True)]
        linear[place] = [(loss - terms @ gains).mean(), *(gains * scales)]
    return Grid(exponents, chi2, linear)


def whitened_contrasts(covariance: Array) -> Array:
    """Turns losses [cells] into independent differences of variance 1, [differences, cells].

    The cells share their test days, so their levels err together, and only the differences between
    them say which curve they follow.
    """
    from scipy.linalg import helmert

    differences = helmert(len(covariance))
    values, vectors = np.linalg.eigh(differences @ covariance @ differences.T)
    if values.max() < 1e-20:  # nothing varies at all, so all differences weigh the same
        return np.asarray(differences)
    # Networks that predict alike have no difference to weigh.
    kept = values > 1e-10 * values.max()
    return np.asarray((vectors[:, kept] / np.sqrt(values[kept])).T @ differences)


def fit_cells(positions: Sequence[Array], loss: Array, covariance: Array, degrees: float) -> Grid:
    """Fit own cells. The grid is narrowed until it just holds all exponents that are possible."""
    whiten = whitened_contrasts(covariance)
    axes = len(positions)
    possible = 2 * max(_joint_limit(axes, degrees), _profile_limit(degrees))
    count = GRID[axes]
    exponents = [np.geomspace(*EXPONENT_BOUNDS, count)] * axes
    while True:
        grid = on_grid(exponents, positions, loss, whiten)
        near = grid.chi2 <= grid.chi2.min() + possible
        narrower = []
        for axis, own in enumerate(exponents):
            others = tuple(other for other in range(axes) if other != axis)
            inside = np.flatnonzero(near.any(axis=others))
            narrower.append(own[max(inside[0] - 1, 0) : inside[-1] + 2])
        if all(len(own) > count / 4 for own in narrower):
            return grid
        exponents = [np.geomspace(own[0], own[-1], count) for own in narrower]


def _profile_limit(degrees: float) -> float:
    """How far chi-squared may rise within the 95 % profile interval of one exponent."""
    return t_quantile(0.975, degrees) ** 2


def _joint_limit(axes: int, degrees: float) -> float:
    """How far chi-squared may rise within the 95 % region of all exponents."""
    from scipy.stats import f

    return axes * float(f.ppf(0.95, axes, degrees))


# --- the law of a study's own cells ----------------------------------------------------------


@dataclass(frozen=True)
class Exponent:
    """One exponent."""

    name: str
    """"alpha" or "beta"."""
    fitted: float
    interval95: tuple[float | None, float | None]
    """Profile interval; an end that reaches EXPONENT_BOUNDS is None."""


@dataclass(frozen=True)
class HeldOut:
    """Root mean squared errors in nats on the end of an axis, which the fit was not shown."""

    what: str
    """"largest size" or "most days"."""
    law: float
    carried_forward: float
    """Of repeating the losses next to them."""


@dataclass(frozen=True)
class Advice:
    """What ten times the compute of the largest run should be spent on, by the law."""

    parameters_factor: float
    parameters_factor_interval95: tuple[float, float]
    """Of all laws in the joint 95 % region of the exponents."""
    days_factor: float
    predicted_loss: float
    predicted_loss_all_days: float
    predicted_loss_all_parameters: float


@dataclass(frozen=True)
class FittedLaw:
    """The law, and whether the runs identify it; unfitted where they cannot."""

    identified: bool
    reason: str
    """Why it is not identified; empty if it is."""
    exponents: dict[str, Exponent] = field(default_factory=dict)
    """By axis; empty if no law was fitted."""
    constants: dict[str, float] = field(default_factory=dict)
    """E, A and B."""
    chi2: float | None = None
    held_out: list[HeldOut] = field(default_factory=list)
    advice: Advice | None = None
    """Where a law of both axes is identified."""


def power_law(
    axes: dict[str, Array],
    loss: Array,
    covariance: Array,
    degrees: float,
    *,
    improves: bool,
    recipe_bound: bool = False,
) -> FittedLaw:
    """The law over these axes, or the reason why the runs do not identify it.

    `axes` maps a name to positions [points], and the cells of `loss` are their product. Three or
    five unknowns fit any few points, and without a trend they fit nothing. So the law is identified
    only if all axes `improves` and hold FEWEST_POINTS, nothing lies at a bound, all profile
    intervals are closed, and the fit without the end of each axis predicts it better than the
    losses next to it do.
    """
    shape = tuple(len(own) for own in axes.values())
    fewest = FEWEST_POINTS[len(axes)]
    if min(shape) < fewest:
        found = " and ".join(f"{n} {WORDS[axis][0]}" for axis, n in zip(axes, shape, strict=True))
        needed = f"{fewest} of each are" if len(axes) > 1 else f"{fewest} are"
        return FittedLaw(False, f"{found}; {needed} needed")
    if recipe_bound:
        return FittedLaw(False, "a recipe may make the difference")
    if not improves:
        where = "along both axes" if len(axes) > 1 else "with size"
        return FittedLaw(False, f"the loss does not fall {where}")
    positions = [grid.ravel() for grid in np.meshgrid(*axes.values(), indexing="ij")]
    grid = fit_cells(positions, loss, covariance, degrees)
    exponents = {
        axis: Exponent(name, grid.law(grid.best)[1][k], _profile(grid, k, degrees))
        for k, (axis, name) in enumerate(zip(axes, EXPONENTS, strict=False))
    }
    held_out = [
        _held_out(WORDS[axis][1], k, shape, positions, loss, covariance, degrees)
        for k, axis in enumerate(axes)
    ]
    linear = grid.law(grid.best)[0]
    constants = dict(zip(("E", *COEFFICIENTS), linear, strict=False))
    reason = "; ".join(_reasons(exponents, constants, held_out))
    ends = [float(own[-1]) for own in axes.values()]
    advice = None if reason or len(axes) < 2 else _spend(grid, ends, degrees)
    chi2 = float(grid.chi2[grid.best])
    return FittedLaw(not reason, reason, exponents, constants, chi2, held_out, advice)


def _profile(grid: Grid, axis: int, degrees: float) -> tuple[float | None, float | None]:
    others = tuple(other for other in range(grid.chi2.ndim) if other != axis)
    profile = grid.chi2.min(axis=others)
    inside = grid.exponents[axis][profile <= profile.min() + _profile_limit(degrees)]
    low, high = float(inside[0]), float(inside[-1])
    lowest, highest = EXPONENT_BOUNDS
    return low if low > lowest else None, high if high < highest else None


def _held_out(
    what: str,
    axis: int,
    shape: tuple[int, ...],
    positions: Sequence[Array],
    loss: Array,
    covariance: Array,
    degrees: float,
) -> HeldOut:
    """The errors on the last points of an axis by a fit to all others."""
    cells = np.moveaxis(np.arange(loss.size).reshape(shape), axis, 0)
    end, before, seen = cells[-1].ravel(), cells[-2].ravel(), np.sort(cells[:-1].ravel())
    grid = fit_cells(
        [own[seen] for own in positions], loss[seen], covariance[np.ix_(seen, seen)], degrees
    )
    predicted = predict([own[end] for own in positions], *grid.law(grid.best))
    errors = [np.sqrt(np.mean((said - loss[end]) ** 2)) for said in (predicted, loss[before])]
    return HeldOut(what, *map(float, errors))


def _reasons(
    exponents: dict[str, Exponent], constants: dict[str, float], held_out: Sequence[HeldOut]
) -> list[str]:
    """Why the law is not identified; empty if it is."""
    reasons = []
    bounds = [own.name for own in exponents.values() if own.fitted in EXPONENT_BOUNDS]
    bounds += [name for name, value in constants.items() if value <= 0]
    if bounds:
        reasons.append(f"the fit lies at a bound ({', '.join(bounds)})")
    for own in exponents.values():
        if None in own.interval95:
            reasons.append(f"the profile interval of {own.name} is open")
    for end in held_out:
        if end.law >= end.carried_forward:
            reasons.append(
                f"fitted without the {end.what} it predicts no better than carry-forward"
            )
    return reasons


def _spend(grid: Grid, ends: Sequence[float], degrees: float) -> Advice:
    """How to spend BUDGET times the compute of the largest run; `ends` are its size and days.

    Compute is ASSUMED, so the parameters grow by a factor from 1 to BUDGET and the days by the rest
    of it. The interval holds the best factors of all laws in the joint region.
    """
    factors = np.geomspace(1, BUDGET, 101)
    spent = [ends[0] * factors, ends[1] * BUDGET / factors]
    region = np.argwhere(grid.chi2 <= grid.chi2.min() + _joint_limit(2, degrees))
    losses = predict(spent, *grid.law(grid.best))
    factor = float(factors[losses.argmin()])
    possible = [factor]
    for place in region:
        possible.append(float(factors[predict(spent, *grid.law(tuple(place))).argmin()]))
    return Advice(
        parameters_factor=factor,
        parameters_factor_interval95=(min(possible), max(possible)),
        days_factor=BUDGET / factor,
        predicted_loss=float(losses.min()),
        predicted_loss_all_days=float(losses[0]),
        predicted_loss_all_parameters=float(losses[-1]),
    )
