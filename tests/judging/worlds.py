"""Simulated ladders with a planted effect, and simulated predictions of a study."""

import numpy as np
import pandas as pd

from scaling.judging import law
from scaling.judging.ladder import Ladder

SIZES = {"200k": 200_000, "600k": 600_000, "2m": 2_000_000}
FIVE = np.array([2e5, 6e5, 2e6, 2e7, 2e8])
BASE_RATE = 0.3


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def world(
    rng,
    slope=0.0,
    *,
    bend=0.0,
    parameters=FIVE[:3],
    seeds=3,
    days=500,
    day=0.02,
    seed=0.003,
    both=0.02,
):
    """Daily losses [seeds, days] per size: a trend in log N plus day, seed and mixed noise.

    `slope` is in nats per decade, `bend` in nats per squared decade from the ladder's middle.

    The noise of the days is autocorrelated and grows with size, since a shared noise would cancel.
    """

    def wandering():
        noise = rng.normal(size=days)
        for t in range(1, days):
            noise[t] = 0.3 * noise[t - 1] + np.sqrt(1 - 0.3**2) * noise[t]
        return noise

    x = np.log10(parameters) - np.log10(parameters).mean()
    shared, tilt = 0.5 * wandering(), day * wandering()
    return [
        0.6
        + shared
        + at * (slope + tilt)
        + bend * (at**2 - np.mean(x**2))
        + seed * rng.normal(size=(seeds, 1))
        + both * rng.normal(size=(seeds, days))
        for at in x
    ]


def ladder(losses, parameters=FIVE[:3], **changes):
    n_days = losses[0].shape[1]
    y = (np.random.default_rng(3).random(n_days) < BASE_RATE).astype(np.int64)
    return Ladder(
        budgets=[f"{n:g}" for n in parameters],
        parameters=np.asarray(parameters, float),
        seeds=[list(range(len(loss))) for loss in losses],
        losses=losses,
        validation=[float(loss.mean()) for loss in losses],
        dates=pd.bdate_range("2014-01-01", periods=n_days),
        y=y,
        base_rate=BASE_RATE,
        baselines={"base_rate": np.full(n_days, 0.62)},
    )._replace(**changes)


def fitted(losses, parameters=FIVE[:3], *, experiments=1, **changes):
    return law.fit_law(
        ladder(losses, parameters, **changes),
        horizon=1,
        delta=0.01,
        samples=300,
        experiments=experiments,
    )


def study(days=260, seeds=(42, 43), sizes=SIZES):
    """Predictions and baselines in which larger networks see the truth through less noise."""
    rng = np.random.default_rng(20)
    dates = {
        "validation": pd.bdate_range("2012-01-02", periods=60),
        "test": pd.bdate_range("2014-01-02", periods=days),
    }
    networks, baselines = [], []
    for split, index in dates.items():
        truth = rng.normal(-1, 1.5, len(index))
        y = (rng.random(len(index)) < sigmoid(truth)).astype(np.int8)
        common = {"date": index, "split": split, "y": y}
        for noise, (budget, n) in zip((2.5, 1.2, 0.1), sizes.items(), strict=False):
            for seed in seeds:
                p = sigmoid(truth + rng.normal(0, noise, len(index)))
                for weights, q in (("best", p), ("last", 1 - p)):
                    row = {"budget": budget, "parameters": n, "seed": seed, "weights": weights}
                    networks.append(pd.DataFrame(common | row | {"p": q}))
        for model, p in (
            ("base_rate", np.full(len(index), BASE_RATE)),
            ("logistic_regression", sigmoid(truth)),
        ):
            baselines.append(pd.DataFrame(common | {"model": model, "p": p}))
    return pd.concat(networks, ignore_index=True), pd.concat(baselines, ignore_index=True)
