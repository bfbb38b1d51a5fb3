"""The files of a planted study of two axes: sizes times training days, in several seeds."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from scaling.run import WHOLE_BLOCK, Draw, TrainingDays
from tests.figures.planted_study import (
    BASE_RATE,
    PARAMETERS,
    SEEDS,
    MakeRun,
    Market,
    planted,
    write_law,
    write_run,
)
from tests.figures.planted_study import write_baselines as write_rivals

COUNTED = {500: 500, 1000: 1000, 2000: 2000, 4000: 4000, "all": 6000}
Number = int | Literal["all"]


def rising(decades: float, days: float) -> float:
    """Larger networks and more days are better; both are decades above the smallest."""
    return 0.45 + 0.15 * decades + 0.2 * days


def valley(_decades: float, days: float) -> float:
    """The middle of the days is best, at every size."""
    return 0.8 - 2.0 * (days - 0.55) ** 2


def samples_of(numbers: Sequence[Number], draws: Sequence[Draw]) -> list[TrainingDays]:
    some = [number for number in numbers if number != WHOLE_BLOCK]
    return [*(TrainingDays(n, draw) for n in some for draw in draws), TrainingDays()]


def decades(value: float, values: Sequence[float]) -> float:
    return float(np.log10(value / min(values)))


def make_axes(
    root: Path,
    quality: Callable[[float, float], float] = rising,
    *,
    days: Sequence[Number] = (500, 1000, "all"),
    draws: Sequence[Draw] = ("recent",),
    noise: float = 0.3,
    assets: Sequence[str] = (),
    make_run: MakeRun = planted,
) -> None:
    """All files of a study of two axes, as the workflow names them; `assets` are its markets."""
    market, rng = Market(assets), np.random.default_rng(1)
    drift = market.drift()
    reached = [COUNTED[number] for number in days]
    for sample in samples_of(days, draws):
        counted = COUNTED[sample.train_days]
        z = decades(counted, reached) - 0.15 * (sample.draw == "blocks")
        for budget, parameters in PARAMETERS.items():
            good = quality(decades(parameters, list(PARAMETERS.values())), z)
            for seed in SEEDS:
                rows = forecast(market, good + 0.01 * rng.normal(), noise, rng)
                rows = rows.assign(counted_days=counted)
                write_run(root, budget, seed, rows, drift, sample, make_run)
        write_baselines(root, market, sample, z, make_run)
    write_law(root)


def forecast(
    market: Market, quality: float, noise: float, rng: np.random.Generator
) -> pd.DataFrame:
    blur = rng.normal(size=len(market.days)) * noise
    said = 1 / (1 + np.exp(2.2 - 1.2 * quality * market.signal - blur))
    return market.days.assign(p=said)


def write_baselines(
    root: Path, market: Market, days: TrainingDays, z: float, make_run: MakeRun
) -> None:
    """Baselines of one sample; logistic regression needs few days and is hurt by many."""
    rows = {
        "base_rate": market.constant(BASE_RATE if days.whole else BASE_RATE + 0.02),
        "logistic_regression": forecast(market, 0.85 - 0.1 * z, 0.2, market.rng),
        "random_forest": forecast(market, 0.6 + 0.1 * z, 0.2, market.rng),
    }
    counted = COUNTED[days.train_days]
    rows = {model: part.assign(counted_days=counted) for model, part in rows.items()}
    write_rivals(root, rows, days, make_run)
