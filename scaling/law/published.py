"""The law of a published table of runs: `L(N, D) = E + A N^-alpha + B D^-beta`.

Approach 3 of Hoffmann et al. (2022, arXiv:2203.15556).
"""

from pathlib import Path
from typing import Any

import numpy as np

from scaling.errors import UserError
from scaling.law.power_law import on_grid
from scaling.metrics import Array

TABLE_COLUMNS = ("N", "D", "loss")
EXPONENT_BOUNDS = (1e-3, 3.0)
TABLE_SEED = 20200306
# As in the replication by Besiroglu et al.: 100 resamples lie beyond each end of an interval.
TABLE_SAMPLES = 4000
NAMES = ("A", "B", "E", "alpha", "beta")
ITERATIONS = 100
# Resamples fitted together: a matter of memory alone.
BATCH = 200


def read_table(path: Path) -> tuple[Array, Array, Array]:
    """The columns N, D and loss of a CSV, [runs] each; other text becomes NaN.

    Raises UserError for a file that is no CSV or has no such columns.
    """
    import pandas as pd

    try:
        table = pd.read_csv(path)
    except (ValueError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a CSV ({error}); columns: N,D,loss") from None
    missing = [name for name in TABLE_COLUMNS if name not in table]
    if missing:
        raise UserError(
            f"{path}: no column {', '.join(missing)}; found {', '.join(map(str, table.columns))}; "
            "needed: N (parameters), D (samples or tokens), loss"
        )
    n, d, loss = (pd.to_numeric(table[name], errors="coerce").to_numpy() for name in TABLE_COLUMNS)
    return n, d, loss


def fit_two_variable_law(
    parameters: Array,
    data: Array,
    loss: Array,
    *,
    huber: float,
    samples: int = TABLE_SAMPLES,
) -> dict[str, Any]:
    """Fit the law to published ladders; all three arrays are [runs].

    Huber loss of log L with the threshold `huber`, the sum of terms taken by log-sum-exp, from many
    starts. The loss is *summed*: averaged, its gradients fell below the tolerance of an optimiser,
    and the published fit stopped early for that reason (Besiroglu et al. 2024, arXiv:2404.10102).
    Intervals are percentiles over resampled runs. Raises UserError for tables that cannot hold five
    unknowns, and for a threshold that is not above 0.
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
    if not huber > 0:
        raise UserError(f"--huber: got {huber:g}; allowed: above 0, for example 0.001")
    best, value = best_fit(table, huber)
    counts = _resamples(table, samples, np.random.default_rng(TABLE_SEED))
    batches = [counts[i : i + BATCH] for i in range(0, samples, BATCH)]
    resampled = np.concatenate(
        [refit(table, batch, np.tile(best, (len(batch), 1)), huber)[0] for batch in batches]
    )
    intervals = np.quantile(_natural(resampled), [0.025, 0.975], axis=0).T
    low, high = EXPONENT_BOUNDS
    return {
        "law": "E + A N^-alpha + B D^-beta",
        **{name: float(x) for name, x in zip(NAMES, _natural(best[None])[0], strict=True)},
        "intervals95": {
            name: [float(x) for x in ends] for name, ends in zip(NAMES, intervals, strict=True)
        },
        "at_bound": [n for n, x in zip(NAMES[3:], best[3:], strict=True) if not low < x < high],
        "huber_loss": value,
        "huber_threshold": huber,
        "runs": table.shape[1],
        "bootstrap_samples": samples,
        "seed": TABLE_SEED,
    }


def _natural(theta: Array) -> Array:
    """A, B, E, alpha, beta [fits, 5] of what the optimisers hold: log A, log B, log E, ..."""
    return np.concatenate([np.exp(theta[:, :3]), theta[:, 3:]], axis=1)


def _starts(table: Array, keep: int = 24) -> Array:
    """The best `keep` points of a grid of exponents by least squares, [keep, 5]."""
    from scipy.linalg import helmert

    n, d, loss = table
    exponents = np.geomspace(0.05, 1.5, 14)
    grid = on_grid([exponents, exponents], [n, d], loss, helmert(len(loss)))
    found = []
    for place in [np.unravel_index(i, grid.chi2.shape) for i in np.argsort(grid.chi2, axis=None)]:
        (floor, *gains), powers = grid.law(place)
        # What is not above 0 starts as a thousandth of the loss, because its logarithm is held.
        terms = [x**-power for x, power in zip((n, d), powers, strict=True)]
        least = [1e-3 * loss.mean() / term.mean() for term in (*terms, np.ones_like(loss))]
        found.append(np.r_[np.log(np.maximum([*gains, floor], least)), powers])
    return np.stack(found[:keep])


def best_fit(table: Array, huber: float) -> tuple[Array, float]:
    """The lowest fit from many starts: log A, log B, log E, alpha, beta, and its Huber loss."""
    starts = _starts(table)
    theta, value = refit(table, np.ones((len(starts), table.shape[1])), starts, huber)
    return theta[value.argmin()], float(value.min())


def _residuals(table: Array, theta: Array) -> tuple[Array, Array]:
    """Residuals of log L [fits, runs] and their derivatives [fits, 5, runs] at theta [fits, 5]."""
    log_n, log_d, log_loss = np.log(table)
    terms = np.stack(
        [
            theta[:, [0]] - theta[:, [3]] * log_n,
            theta[:, [1]] - theta[:, [4]] * log_d,
            np.broadcast_to(theta[:, [2]], (len(theta), len(log_n))),
        ],
        axis=1,
    )
    largest = terms.max(axis=1, keepdims=True)
    shares = np.exp(terms - largest)
    total = shares.sum(axis=1, keepdims=True)
    shares /= total
    exponents = np.stack([-shares[:, 0] * log_n, -shares[:, 1] * log_d], axis=1)
    residual = (largest + np.log(total))[:, 0] - log_loss
    return residual, np.concatenate([shares, exponents], axis=1)


def _resamples(table: Array, samples: int, rng: np.random.Generator) -> Array:
    """How often each run was drawn, [samples, runs]; each draw holds three values of N and of D."""
    runs = table.shape[1]
    kept: list[Array] = []
    while len(kept) < samples:
        drawn = rng.integers(0, runs, runs)
        if min(len(np.unique(row)) for row in table[:2, drawn]) >= 3:
            kept.append(np.bincount(drawn, minlength=runs).astype(float))
    return np.stack(kept)


def refit(table: Array, counts: Array, theta: Array, huber: float) -> tuple[Array, Array]:
    """The law of many resamples at once: log A, log B, log E, alpha, beta [samples, 5].

    Each starts at its row of `theta`. The summed Huber losses [samples] come with them. Iteratively
    reweighted least squares (Holland & Welsch 1977) with Levenberg's damping: each run weighs its
    count [samples, runs], less where its residual is beyond the threshold. One fit at a time takes
    minutes for 4,000 resamples, and a test compares the two.
    """

    def value(residual: Array) -> Array:
        clipped = np.clip(residual, -huber, huber)
        return np.asarray((counts * clipped * (residual - clipped / 2)).sum(axis=1))

    theta = theta.copy()
    damping = np.full(len(counts), 1e-3)
    residual, jacobian = _residuals(table, theta)
    lowest = value(residual)
    for _ in range(ITERATIONS):
        weighted = jacobian * (counts * np.minimum(1, huber / (np.abs(residual) + 1e-300)))[:, None]
        curvature = weighted @ jacobian.transpose(0, 2, 1)
        diagonal = np.einsum("bii->bi", curvature)
        ridge = damping[:, None] * diagonal + 1e-14 * diagonal.sum(axis=1, keepdims=True)
        step = np.linalg.solve(
            curvature + ridge[:, :, None] * np.eye(5), weighted @ residual[:, :, None]
        )
        moved = theta - step[:, :, 0]
        moved[:, 3:] = np.clip(moved[:, 3:], *EXPONENT_BOUNDS)
        new_residual, new_jacobian = _residuals(table, moved)
        new_value = value(new_residual)
        better = new_value < lowest
        theta[better], lowest[better] = moved[better], new_value[better]
        residual[better], jacobian[better] = new_residual[better], new_jacobian[better]
        damping = np.where(better, damping * 0.3, damping * 5).clip(1e-9, 1e6)
    return theta, lowest
