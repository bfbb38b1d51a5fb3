"""The law of a published table of runs: `L(N, D) = E + A N^-alpha + B D^-beta`.

Approach 3 of Hoffmann et al. (2022, arXiv:2203.15556).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from scaling.errors import UserError

Array = npt.NDArray[np.float64]

TABLE_COLUMNS = ("N", "D", "loss")
EXPONENT_BOUNDS = (1e-3, 3.0)
HUBER_DELTA = 1e-3
TABLE_SEED = 20200306
NAMES = ("A", "B", "E", "alpha", "beta")


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
    parameters: Array, data: Array, loss: Array, samples: int = 200, seed: int = TABLE_SEED
) -> dict[str, Any]:
    """Fit the law to published ladders; all three arrays are [runs].

    Huber loss (1e-3) of log L, the sum of terms taken by log-sum-exp, L-BFGS from many starts. The
    loss is *summed*: averaged, its gradients fall below the optimiser's tolerance, and the
    published fit stopped early for that reason (Besiroglu et al. 2024, arXiv:2404.10102).
    Intervals are percentiles over resampled runs. Raises UserError for tables that cannot hold
    five unknowns.
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
    # The optimiser works with log A, log B and log E.
    fitted, *resampled = [np.r_[np.exp(theta[:3]), theta[3:]] for theta in (best, *draws)]
    intervals = np.quantile(resampled, [0.025, 0.975], axis=0).T
    low, high = EXPONENT_BOUNDS
    return {
        "law": "E + A N^-alpha + B D^-beta",
        **{name: float(x) for name, x in zip(NAMES, fitted, strict=True)},
        "intervals95": {
            name: [float(x) for x in ends] for name, ends in zip(NAMES, intervals, strict=True)
        },
        "at_bound": [n for n, x in zip(NAMES[3:], best[3:], strict=True) if not low < x < high],
        "huber_loss": value,
        "runs": table.shape[1],
        "bootstrap_samples": samples,
        "seed": seed,
    }


def _starts(table: Array, keep: int = 24) -> list[Array]:
    """The best `keep` points of a grid of exponents, with E, A and B solved for at each."""
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
        # Unscaled, a loss of 1e-6 per run would fall below the optimiser's tolerances.
        return float(value) / HUBER_DELTA**2, slope / HUBER_DELTA**2

    wide = (None, None)
    bounds = [wide, wide, wide, EXPONENT_BOUNDS, EXPONENT_BOUNDS]
    options = {"maxiter": 2000, "maxfun": 5000, "ftol": 1e-12, "gtol": 1e-8}
    runs = [
        minimize(objective, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
        for start in starts
    ]
    best = min(runs, key=lambda run: run.fun)
    return best.x, float(best.fun) * HUBER_DELTA**2
