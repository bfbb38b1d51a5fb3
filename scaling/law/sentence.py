"""What is said of a law: one sentence with the finding, and a warning for each weakness."""

from dataclasses import dataclass

from scaling.law.axis import AtPoint, AxisLaw
from scaling.law.baselines import BestNetwork
from scaling.law.bootstrap import Settings
from scaling.law.effects import DUST, LEVEL, Effect
from scaling.law.result import JudgedDays, Law

FEW_BLOCKS = 30
DRAWN = {
    "recent": "the most recent days",
    "blocks": "random quarters",
    "markets": "all days of random markets",
}
BEATS = {
    "beats it": "beats",
    "loses to it": "loses to",
    "cannot be told apart": "cannot be told apart from",
}
GAINS = {
    -1: "bigger networks gain more from more {}",
    0: "whether bigger networks gain more from more {} is not settled",
    1: "bigger networks gain less from more {}",
}
BETTER = {-1: "worse", 0: "neither certainly better nor worse", 1: "better"}


@dataclass(frozen=True)
class AxisWords:
    """How the sentence speaks of an axis."""

    more: str
    unit: str
    axis: str
    verdicts: dict[str, str]


def _counted(more: str, unit: str, axis: str) -> AxisWords:
    """The words for an axis of numbers of something."""
    verdicts = {
        "improves": f"more {unit} help",
        "inverse scaling": f"more {unit} hurt",
        "equivalent to no effect": f"the number of {unit} makes no difference that matters",
        "inconclusive": f"whether more {unit} help is not settled",
    }
    return AxisWords(more, unit, axis, verdicts)


WORDS = {
    "parameters": AxisWords(
        more="bigger",
        unit="parameters",
        axis="size",
        verdicts={
            "improves": "bigger networks predict better",
            "inverse scaling": "bigger networks predict worse",
            "equivalent to no effect": "size makes no difference that matters",
            "inconclusive": "whether bigger networks predict better is not settled",
            "recipe-bound": "whether size or recipe makes the difference is not settled",
        },
    ),
    "train_days": _counted("more history", "training days", "days"),
    "markets": _counted("more markets", "markets", "markets"),
}


def sentence(law: Law, days: JudgedDays, delta: float) -> str:
    """The verdict of each axis with its slope, how it stands to the baselines, and on which days.

    `delta` is the smallest effect that matters, in nats per decade.
    """
    text = ", and ".join(_clause(law, name, delta) for name in law.axes)
    parts = [f"{text[0].upper()}{text[1:]}", *_interaction(law), *_advice(law)]
    if _no_skill(law):
        parts.append("no size beats the base rate")
    if aside := _set_aside(law):
        parts.append(f"a size with one seed has no part in this ({', '.join(aside)})")
    if law.best_network:
        parts.append(_against(law.best_network))
    judged = f"judged on {days.count:,} test days{_of_folds(days)}"
    if len(law.axes) > 1:
        judged = f"trained with the same number of passes over {DRAWN[law.draw]}, {judged}"
    return "; ".join([*parts, judged]) + "."


def warnings(law: Law, days: JudgedDays, delta: float, settings: Settings) -> list[str]:
    """The weaknesses that a reader of the verdicts must know, one line each."""
    found = _single_seeds(law)
    for name, axis in law.axes.items():
        found += _about_axis(law, name, axis, days, delta)
    if _no_skill(law):
        found.append(
            "no size beats the training base rate on the test days: a slope among them is not "
            "predictive power"
        )
    if law.parameters.verdict != "inconclusive" and not settings.recipes:
        found.append(
            "no size was tried with other learning rates on earlier years: what differs between "
            "sizes may be their recipe"
        )
    experiments = settings.experiments
    for axis in law.axes.values():
        p = min(1.0, experiments * axis.slope.p_value)
        if axis.verdict in ("improves", "inverse scaling") and p >= LEVEL:
            found.append(
                f"this is one of {experiments} experiments of a grid, and the verdict is about "
                f"this one alone: adjusted for all of them the p-value of its slope is {p:.2g}"
            )
    return found


def _of_folds(days: JudgedDays) -> str:
    if not days.origins:
        return ""
    return (
        f" from {days.first[:4]} to {days.last[:4]}, in {len(days.origins)} folds that were each "
        "trained on the years before"
    )


def calibration_sentence(plain: AxisLaw, recalibrated: AxisLaw | None, auc: Effect | None) -> str:
    """Whether log-loss, recalibrated log-loss and AUC contradict each other about size.

    A sign counts only if every 95 % interval of the slope excludes 0 and the loss turns nowhere,
    whatever may have made it. Empty where none does.
    """
    signs = {"by log-loss": _better(plain)}
    if recalibrated:
        signs["by log-loss once each is recalibrated on validation"] = _better(recalibrated)
    if auc:
        signs["by AUC"] = 0 if auc.seed_variance is None else auc.side
    if len(signs) < 2 or not any(signs.values()):
        return ""
    *others, last = (f"{BETTER[sign]} {measure}" for measure, sign in signs.items())
    contradict = "contradict" if {-1, 1} <= {*signs.values()} else "do not contradict"
    return (
        f"Bigger networks are {', '.join(others)} and {last}: these {contradict} each other (a "
        "sign counts only where the 95 % intervals of its slope exclude 0)."
    )


def _better(axis: AxisLaw) -> int:
    """1 if bigger networks certainly lose less, -1 if they certainly lose more, else 0."""
    return 0 if axis.bent or axis.slope.seed_variance is None else -axis.slope.side


def rounded(number: float) -> str:
    """Two significant digits in full: 2,400,000."""
    return f"{float(f'{number:.2g}'):,.0f}"


# --- warnings --------------------------------------------------------------------------------


def _single_seeds(law: Law) -> list[str]:
    several = len(law.axes) > 1
    single = [
        f"{cell.budget} on {cell.counted_days:,.0f} {law.unit}" if several else cell.budget
        for cell in law.cells
        if len(cell.seeds) == 1
    ]
    if not single:
        return []
    start = f"one seed only for {', '.join(single)}: "
    if _set_aside(law):
        return [
            f"{start}the interval there covers the days alone, and slope and verdict are over the "
            f"other sizes ({', '.join(law.parameters.points)})"
        ]
    needed = "several seeds in every cell" if several else "two sizes with several seeds"
    return [
        f"{start}a verdict needs {needed}, so the spread between seeds is unknown, and the verdict "
        "is inconclusive"
    ]


def _about_axis(law: Law, name: str, axis: AxisLaw, days: JudgedDays, delta: float) -> list[str]:
    found, unit = [], WORDS[name].unit
    blocks = days.count / axis.block_length
    if blocks < FEW_BLOCKS:
        found.append(
            f"{days.count} test days are about {blocks:.0f} independent blocks of "
            f"{axis.block_length}; below {FEW_BLOCKS} the bootstrap's intervals are rough"
        )
    if len(axis.points) == 2:
        found.append(
            f"two values of {unit}: their slope is their difference, and neither its shape nor a "
            "turning point between them can be looked for"
        )
    if axis.slope.intervals_disagree:
        third = ", t over the folds" if axis.slope.folds_interval95 else ""
        found.append(
            f"the intervals (bootstrap, t{third}) disagree on "
            f"whether the slope over {unit} is 0; the verdict follows the most cautious one"
        )
    if axis.folds and axis.slope.folds_interval95 is None:
        found.append(
            "the folds are too few for an interval over groups of them: an effect that comes and "
            "goes over the years would not be noticed"
        )
    if carried := axis.carried_by:
        found.append(
            f"without the test years from {' or '.join(map(str, carried))} the slope over {unit} "
            "could be 0: few years carry it"
        )
    if axis.slope.interval95[1] < -DUST and axis.slope.interval95[0] > -delta:
        found.append(f"the slope over {unit} is below 0, but its whole interval is within delta")
    if bent := _turn(law, name) or _crossing(law, name):
        found.append(f"{bent}: no single slope describes it")
    return found


# --- clauses of the sentence -----------------------------------------------------------------


def _clause(law: Law, name: str, delta: float) -> str:
    """The verdict of one axis in words, with its slope per decade."""
    axis, words = law.axes[name], WORDS[name]
    said = words.verdicts[axis.verdict]
    low, high = axis.slope.interval95
    measured = (
        f"{axis.slope.estimate:+.4f} nats for ten times the {words.unit}, 95 % interval "
        f"{low:+.4f} to {high:+.4f}"
    )
    if axis.verdict != "inconclusive":
        small = axis.verdict != "equivalent to no effect" and -delta < low and high < delta
        less = f"; less than the {delta:.4f} set in advance as mattering" if small else ""
        bound = f"; {axis.recipe}" if axis.recipe else ""
        return f"{said} ({measured}{less}{bound})"
    if axis.slope.seed_variance is None:
        lacking = "a cell has one seed only" if len(law.axes) > 1 else "too few sizes have several"
        return f"{said} ({measured}; {lacking}, so the spread between seeds is unknown)"
    if bent := _turn(law, name):
        return f"{bent}, so no slope is claimed"
    if crossing := _crossing(law, name):
        return f"{crossing} ({measured})"
    seen = axis.sensitivity.smallest_detectable_effect
    return (
        f"{said} ({measured}; an effect of {seen:.4f} would have been seen in four of five such "
        f"studies{_needed(axis, delta)})"
    )


def _needed(axis: AxisLaw, delta: float) -> str:
    """What it would take to see delta, as a clause; empty if the study can see it already."""
    seen = axis.sensitivity
    if seen.smallest_detectable_effect <= delta:
        return ""
    ways = []
    if seen.days_needed:
        ways.append(f"about {seen.days_needed:,} test days")
    if seen.seeds_needed:
        ways.append(f"{seen.seeds_needed} seeds per size")
    effort = " or ".join(ways) or "more seeds and more test days"
    return f", and seeing {delta:.4f} as often takes {effort}"


def _turn(law: Law, name: str) -> str:
    """Where the loss turns on average, or else where it does first; empty if nowhere."""
    axis, words = law.axes[name], WORDS[name]
    found = [("", axis.turning_point)] if axis.turning_point.kind else []
    found += [
        (f" {_where(law, name, each)}", each.turning_point) for each in axis.at_each if each.turns
    ]
    if not found:
        return ""
    where, turning = found[0]
    return (
        f"the loss{where} is non-monotone in {words.axis}, {turning.kind} near "
        f"{rounded(turning.at or 0.0)} {words.unit}, inside the range"
    )


def _crossing(law: Law, name: str) -> str:
    """Where the slope falls and where it rises, if it does both; else empty."""
    axis = law.axes[name]
    if not axis.crosses:
        return ""
    apart = [each for each in axis.at_each if each.p_holm < LEVEL]
    helps, hurts = (
        " and ".join(_where(law, name, each) for each in apart if each.slope.side == side)
        for side in (-1, 1)
    )
    return f"{WORDS[name].more} helps {helps} and hurts {hurts}"


def _where(law: Law, name: str, each: AtPoint) -> str:
    """A point of the other axis: "at 2m", or as counted "on 2,000 days" or "on 4 markets"."""
    if name != "parameters":
        return f"at {each.at}"
    counted = {cell.train_days: cell.counted_days for cell in law.cells}
    return f"on {counted[each.at]:,.0f} {law.unit}"


def _interaction(law: Law) -> list[str]:
    """Whether one axis gains from the other, where both are close to lines and replicated."""
    effect = law.interaction
    if effect is None or effect.seed_variance is None:
        return []
    if any(_turn(law, name) for name in law.axes):
        return []
    low, high = effect.interval95
    gains = GAINS[effect.side].format(law.unit)
    return [
        f"{gains} ({effect.estimate:+.4f} nats for ten times of each, 95 % interval {low:+.4f} to "
        f"{high:+.4f})"
    ]


def _advice(law: Law) -> list[str]:
    """What ten times the compute should be spent on, where the law of both axes is identified."""
    advice = law.power_law.advice
    if advice is None:
        return []
    low, high = advice.parameters_factor_interval95
    return [
        f"ten times the compute of the largest run is best spent on "
        f"{advice.parameters_factor:.1f} times the parameters (95 % region {low:.1f} to "
        f"{high:.1f}) and {advice.days_factor:.1f} times the {law.unit}"
    ]


def _no_skill(law: Law) -> bool:
    return all(cell.skill <= 0 for cell in law.cells)


def _set_aside(law: Law) -> list[str]:
    """The sizes that have no part in the slope, because they have a single seed."""
    return [cell.budget for cell in law.cells if cell.budget not in law.parameters.points]


def _against(network: BestNetwork) -> str:
    """How the best network stands to the baselines, those with the same verdict together."""
    groups: dict[str, list[str]] = {}
    for name, row in network.against.items():
        groups.setdefault(row.verdict, []).append(name.replace("_", " "))
    against = ", ".join(
        f"{BEATS[found]} {' and '.join(groups[found])}" for found in BEATS if found in groups
    )
    one = ", one seed, so on these days alone" if network.seeds == 1 else ""
    return f"the {network.which} ({network.budget}{one}) {against}"
