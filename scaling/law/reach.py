"""What would show an effect of a given size on a study, and what each way to it costs."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from scaling.errors import UserError
from scaling.law.effects import Components, slope_weights
from scaling.law.result import StudyLaw
from scaling.law.verdict import MOST_TIMES, sensitivity
from scaling.run import Run, RunName
from scaling.sizes import budget_parameters

Price = Callable[[Sequence[RunName]], float | None]


class Way(NamedTuple):
    """One way to see an effect: what is to be done, and what the study would see then."""

    does: str
    """Or why nothing of the kind is enough."""
    reaches: float | None = None
    """The smallest effect seen in four of five such studies, in nats a decade; None for none."""
    seconds: float | None = None
    """Of further training; None if that is unknown, or if prices of more years are needed."""


def ways_to_see(
    effect: float, study: StudyLaw, bigger: Sequence[str], spare_years: float, price: Price
) -> dict[str, Way]:
    """More days, more seeds, or a bigger size, each as far as `effect` (nats a decade) asks.

    `bigger` are the sizes beyond the ladder, smallest first. `spare_years` is by how much all
    blocks could begin earlier, and `price` gives the seconds of trainings. Raises `UserError` for a
    law that does not know how far seeds spread.
    """
    sizes, days = study.ladder.parameters, study.test_days.count
    if (parts := sizes.slope.components) is None or sizes.slope.seed_variance is None:
        raise UserError(
            f"{study.experiment}: its law does not know how far seeds spread; give the grid two "
            "seeds or more, and fit it again"
        )
    names = [Run.of({"identity": made}, study.experiment).name for made in study.runs]
    runs = [name for name in names if name.whole and name.budget in sizes.points]
    needed = sensitivity(sizes.slope, effect, days, replicated=True)
    seeds_alone, days_alone = (
        float(parts.smallest_detectable(*times)) for times in ((MOST_TIMES, 1), (1, MOST_TIMES))
    )
    more_days = Way(f"no number is enough: seeds alone leave {seeds_alone:.4f}")
    more_seeds = Way(f"no number is enough: days alone leave {days_alone:.4f}")
    paid = price(runs)
    if needed.days_needed:
        more_days = _days(study, parts, needed.days_needed / days, spare_years, paid)
    if seeds := needed.seeds_needed:
        more_seeds = _seeds(study, parts, seeds, runs, price)
    further = _sizes(effect, study, parts, bigger, runs, price)
    return {
        "more test days": more_days,
        "more seeds": more_seeds,
        "sizes further apart": further,
    }


def _days(
    study: StudyLaw, parts: Components, times: float, spare: float, paid: float | None
) -> Way:
    """So many times the test days; in a walk these are whole folds, which are trained."""
    days = study.test_days
    unit, had = ("folds", len(days.origins)) if parts.by_fold else ("days", days.count)
    needed = math.ceil(round(times * had, 6))
    span = np.datetime64(days.last) - np.datetime64(days.first)
    years = float(span.astype(int)) / 365.25 * (needed / had - 1)
    does = f"{needed:,} {unit} instead of {had:,}, so prices of {years:.0f} more years"
    paid = paid if parts.by_fold else 0.0
    costs = None if paid is None else paid * (needed / had - 1)
    if years > spare:
        does, costs = f"{does}, {int(spare)} of which are registered", None
    return Way(does, float(parts.smallest_detectable(needed / had, 1)), costs)


def _seeds(
    study: StudyLaw, parts: Components, seeds: int, runs: Sequence[RunName], price: Price
) -> Way:
    """So many seeds of each size that has fewer."""
    had = _seeds_of(study)
    fewer = sorted({count for count in had.values() if count < seeds})
    does = f"{seeds} instead of {' or '.join(map(str, fewer))} of each size"
    costs = 0.0
    for budget, count in had.items():
        paid = price([name for name in runs if name.budget == budget])
        costs += math.nan if paid is None else paid * max(seeds / count - 1, 0)
    known = None if math.isnan(costs) else costs
    return Way(does, float(parts.smallest_detectable(1, seeds / parts.per_cell)), known)


def _seeds_of(study: StudyLaw) -> dict[str, int]:
    """How many each size has that the slope is over."""
    points = study.ladder.parameters.points
    return {c.budget: len(c.seeds) for c in study.ladder.cells if c.budget in points}


def _sizes(
    effect: float,
    study: StudyLaw,
    parts: Components,
    bigger: Sequence[str],
    runs: Sequence[RunName],
    price: Price,
) -> Way:
    """A bigger size in place of the largest, whose seeds spread as those that were measured.

    What a day does to the slope stays. A day that favours size favours a size further away more,
    so that distance gains nothing there.
    """
    points, does = study.ladder.parameters.points, "no size is larger"
    counted = {cell.budget: cell.parameters for cell in study.ladder.cells}
    ladder = np.array([counted[budget] for budget in points], float)
    seeds = np.array([_seeds_of(study)[budget] for budget in points])
    for budget in bigger:
        then = slope_weights(np.array([*ladder[:-1], budget_parameters(budget)]))
        less = float((then**2 / seeds).sum() / (slope_weights(ladder) ** 2 / seeds).sum())
        apart = replace(parts, seeds=parts.seeds * less, both=parts.both * less)
        reached = float(apart.smallest_detectable(1, 1))
        if reached <= effect:
            new = [replace(name, budget=budget) for name in runs if name.budget == points[-1]]
            return Way(f"{budget} instead of {points[-1]}", reached, price(new))
        does = f"no size is enough: {budget} leaves {reached:.4f}"
    return Way(does)
