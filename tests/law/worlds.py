"""Simulated ladders with a planted effect, and simulated predictions of a study."""

from dataclasses import replace

import numpy as np
import pandas as pd

from scaling.law.axis import judge_axis
from scaling.law.bootstrap import Settings
from scaling.law.judge import fit_law
from scaling.law.table import Axis, Table, ensemble
from scaling.metrics import log_losses

SIZES = {"200k": 200_000, "600k": 600_000, "2m": 2_000_000}
FIVE = np.array([2e5, 6e5, 2e6, 2e7, 2e8])
BASE_RATE = 0.3
DELTA = 0.01 * (-0.3 * np.log(0.3) - 0.7 * np.log(0.7))  # nats per decade
SETTINGS = Settings(horizon=1, delta_fraction=0.01, samples=300)
TIGHT = {"day": 1e-3, "seed": 3e-4, "both": 3e-3}  # noise that hides nothing
COUNTED = {500: 500, 1000: 1000, 2000: 2000, "all": 4001}


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def wandering(rng, days):
    """Autocorrelated noise of variance 1, [days]."""
    noise = rng.normal(size=days)
    for t in range(1, days):
        noise[t] = 0.3 * noise[t - 1] + np.sqrt(1 - 0.3**2) * noise[t]
    return noise


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

    `rng` is a generator, or the seed of one.
    `slope` is in nats per decade, `bend` in nats per squared decade from the ladder's middle.

    The noise of the days is autocorrelated and grows with size, since a shared noise would cancel.
    """
    rng = np.random.default_rng(rng)
    x = np.log10(parameters) - np.log10(parameters).mean()
    shared, tilt = 0.5 * wandering(rng, days), day * wandering(rng, days)
    return [
        0.6
        + shared
        + at * (slope + tilt)
        + bend * (at**2 - np.mean(x**2))
        + seed * rng.normal(size=(seeds, 1))
        + both * rng.normal(size=(seeds, days))
        for at in x
    ]


def table_of(losses, parameters, train_days=(np.nan,), **changes):
    """A table of these cells. The last number of training days is the whole block."""
    n_days = losses[0].shape[1]
    y = (np.random.default_rng(3).random(n_days) < BASE_RATE).astype(np.int64)
    made = Table(
        axes={
            "parameters": Axis([f"{n:g}" for n in parameters], np.asarray(parameters, float)),
            "train_days": Axis(
                [*(f"{n:g}" for n in train_days[:-1]), "all"], np.asarray(train_days, float)
            ),
        },
        draw="recent",
        seeds=[list(range(len(loss))) for loss in losses],
        losses=losses,
        ensembles=[ensemble(loss) for loss in losses],
        validation=[float(loss.mean()) for loss in losses],
        baselines={"base_rate": [np.full(n_days, 0.62)] * len(train_days)},
        dates=pd.bdate_range("2014-01-01", periods=n_days),
        y=y,
        base_rate=BASE_RATE,
        base=log_losses(y, np.full(n_days, BASE_RATE)),
        folds={},
    )
    return replace(made, **changes)


def fitted(losses, parameters=FIVE[:3], *, experiments=1, **changes):
    """The law of a ladder."""
    settings = replace(SETTINGS, experiments=experiments)
    return fit_law(table_of(losses, parameters, **changes), settings)


def axis_of(losses, parameters=FIVE[:3], name="parameters"):
    """One axis of a law alone, for tests that judge hundreds of worlds."""
    table = losses if isinstance(losses, Table) else table_of(losses, parameters)
    return judge_axis(table, name, SETTINGS, DELTA, replicated=True)


def study_of_days(levels=(500, 1000, "all"), draws=("recent",)):
    """A study of two axes: at each number of training days the noise is smaller than before."""
    parts = []
    for number, level in enumerate(levels):
        for draw in draws if level != "all" else ("recent",):
            counted = {"train_days": level, "draw": draw, "counted_days": COUNTED[level]}
            seed = 20 + 10 * number + (draw == "blocks")
            frames = study(blur=2.0 - number, noise_seed=seed)
            parts.append([frame.assign(**counted) for frame in frames])
    return tuple(pd.concat(frames, ignore_index=True) for frames in zip(*parts, strict=True))


def study(days=260, seeds=(42, 43), sizes=SIZES, *, blur=0.0, noise_seed=None):
    """Predictions and baselines in which larger networks see the truth through less noise."""
    rng = np.random.default_rng(20)
    noises = rng if noise_seed is None else np.random.default_rng(noise_seed)
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
                p = sigmoid(truth + noises.normal(0, noise + blur, len(index)))
                for weights, q in (("mean", p), ("last", 1 - p)):
                    row = {"budget": budget, "parameters": n, "seed": seed, "weights": weights}
                    networks.append(pd.DataFrame(common | row | {"p": q}))
        for model, p in (
            ("base_rate", np.full(len(index), BASE_RATE)),
            ("logistic_regression", sigmoid(truth)),
        ):
            baselines.append(pd.DataFrame(common | {"model": model, "p": p}))
    return pd.concat(networks, ignore_index=True), pd.concat(baselines, ignore_index=True)


DAYS = np.array([500.0, 1000.0, 2000.0, 4000.0])


def surface_world(
    rng,
    *,
    parameters=FIVE[:3],
    train_days=DAYS,
    mean=lambda x, z: 0 * x * z,
    day=0.02,
    seed=0.003,
    both=0.02,
):
    """A surface whose mean loss is `mean(x, z)`, in decades from the middle of both axes.

    The noise of the days is shared by all cells, tilts along both axes, and is autocorrelated.
    """
    rng = np.random.default_rng(rng)
    x, z = (np.log10(axis) - np.log10(axis).mean() for axis in (parameters, train_days))
    seeds, days = 3, 400
    shared, tilt_x, tilt_z = (scale * wandering(rng, days) for scale in (0.5, day, day))
    losses = [
        0.6
        + shared
        + mean(at_x, at_z)
        + at_x * tilt_x
        + at_z * tilt_z
        + seed * rng.normal(size=(seeds, 1))
        + both * rng.normal(size=(seeds, days))
        for at_x in x
        for at_z in z
    ]
    return table_of(losses, parameters, train_days)
