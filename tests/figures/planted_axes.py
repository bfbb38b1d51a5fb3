"""The files of a planted study of two axes: sizes times training days, in several seeds."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scaling.names import Draw, Run, run_name
from scaling.record import write_json, write_parquet
from tests.figures.planted_study import (
    BASE_RATE,
    CONFIG,
    PARAMETERS,
    SEEDS,
    STUDY,
    Market,
    judged,
    write_law,
    write_run,
)

COUNTED = {500: 500, 1000: 1000, 2000: 2000, 4000: 4000, None: 6000}
Sample = tuple[int | None, Draw]


def rising(decades: float, days: float) -> float:
    """Larger networks and more days are better; both are decades above the smallest."""
    return 0.45 + 0.15 * decades + 0.2 * days


def valley(_decades: float, days: float) -> float:
    """The middle of the days is best, at every size."""
    return 0.8 - 2.0 * (days - 0.55) ** 2


def samples_of(days: Sequence[int | None], draws: Sequence[Draw]) -> list[Sample]:
    numbers = [(number, draw) for number in days if number for draw in draws]
    return [*numbers, (None, "recent")]


def decades(value: float, values: Sequence[float]) -> float:
    return float(np.log10(value / min(values)))


def make_axes(
    root: Path,
    quality: Callable[[float, float], float] = rising,
    *,
    days: Sequence[int | None] = (500, 1000, None),
    draws: Sequence[Draw] = ("recent",),
    seeds: Sequence[int] = SEEDS,
    noise: float = 0.3,
    assets: Sequence[str] = (),
) -> None:
    """All files of a study of two axes, as the workflow names them; `assets` are its markets."""
    market, rng = Market(), np.random.default_rng(1)
    if assets:
        count = len(market.days) // len(assets)
        dates = pd.bdate_range("2012-01-02", periods=count).repeat(len(assets))
        market.days = market.days.assign(date=dates, asset=[*assets] * count)
    drift = market.drift()
    reached = [COUNTED[number] for number in days]
    for number, draw in samples_of(days, draws):
        z = decades(COUNTED[number], reached) - 0.15 * (draw == "blocks")
        known = {
            "train_days": "all" if number is None else str(number),
            "draw": draw,
            "counted_days": COUNTED[number],
        }
        for budget, parameters in PARAMETERS.items():
            good = quality(decades(parameters, list(PARAMETERS.values())), z)
            for seed in seeds:
                rows = forecast(market, good + 0.01 * rng.normal(), noise, rng).assign(**known)
                write_run(root, budget, seed, rows, drift, number, draw)
        write_baselines(root, market, number, draw, known, z)
    write_law(root)


def forecast(
    market: Market, quality: float, noise: float, rng: np.random.Generator
) -> pd.DataFrame:
    blur = rng.normal(size=len(market.days)) * noise
    said = 1 / (1 + np.exp(2.2 - 1.2 * quality * market.signal - blur))
    return market.days.assign(p=said)


def write_baselines(
    root: Path, market: Market, number: int | None, draw: Draw, known: dict[str, Any], z: float
) -> None:
    """Baselines of one sample; logistic regression needs few days and is hurt by many."""
    name = run_name(Run("baselines", 0, number, draw), own_seed=0)
    rate = BASE_RATE if number is None else BASE_RATE + 0.02
    rows = {
        "base_rate": market.constant(rate),
        "logistic_regression": forecast(market, 0.85 - 0.1 * z, 0.2, market.rng),
        "random_forest": forecast(market, 0.6 + 0.1 * z, 0.2, market.rng),
    }
    parts = [part.assign(model=model, **known) for model, part in rows.items()]
    write_parquet(root / f"{name}.predictions.parquet", pd.concat(parts))
    made = {
        **STUDY,
        "config": {**CONFIG, "train_days": number, "days": draw},
        "train_base_rate": BASE_RATE,
        "models": {model: judged(part) for model, part in rows.items()},
    }
    write_json(root / f"{name}.json", made)
