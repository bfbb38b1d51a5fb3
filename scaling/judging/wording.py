"""What is said of a law: one sentence with the finding, and a warning for each weakness."""

from typing import Any

from scaling.judging.effects import DUST, Effect
from scaling.judging.ladder import Ladder

FEW_BLOCKS = 30


def warnings(
    ladder: Ladder, sizes: list[dict[str, Any]], slope: Effect, delta: float, block: int
) -> list[str]:
    """The weaknesses that a reader of the verdict must know, one sentence each."""
    found = []
    single = [b for b, s in zip(ladder.budgets, ladder.seeds, strict=True) if len(s) == 1]
    if single:
        found.append(
            f"one seed only for {', '.join(single)}: the spread between seeds is unknown, the "
            "intervals cover the days alone, and no verdict but inconclusive is given"
        )
    blocks = len(ladder.dates) / block
    if blocks < FEW_BLOCKS:
        found.append(
            f"{len(ladder.dates)} test days are about {blocks:.0f} independent blocks of {block}; "
            f"below {FEW_BLOCKS} the bootstrap's intervals are rough"
        )
    if len(ladder.budgets) == 2:
        found.append("two sizes: the slope is their difference, its shape cannot be checked")
    if all(size["skill"] <= 0 for size in sizes):
        found.append(
            "no size beats the training base rate on the test days: a slope among them is not "
            "predictive power"
        )
    boot, student = (
        low < DUST and high > -DUST for low, high in (slope.interval(0.95), slope.t_interval(0.95))
    )
    if boot != student:
        found.append(
            "bootstrap and t interval disagree on whether the slope is 0; "
            "the verdict follows the cautious one"
        )
    if slope.interval(0.95)[1] < -DUST and slope.interval(0.95)[0] > -delta:
        found.append("the slope is below 0, but the whole interval is smaller than delta")
    return found


def sentence(result: dict[str, Any]) -> str:
    """The finding in plain English: what was seen, how sure, and how it stands to the baselines."""
    text = _finding(result)
    if all(size["skill"] <= 0 for size in result["sizes"]):
        text += "; no size beats the base rate"
    return f"{text}; {_against(result['best_network'])}."


def _finding(result: dict[str, Any]) -> str:
    """The verdict and the slope behind it."""
    measured, delta = _measured(result), f"{result['delta']:.4f}"
    if result["verdict"] == "inconclusive":
        text = f"These data do not settle whether bigger networks predict better: {measured}; "
        if result["slope"]["seed_variance"] is None:
            return text + "a size has one seed only, so the spread between seeds is unknown"
        return (
            f"{text}an effect below {result['smallest_detectable_effect']:.4f} would probably have "
            f"been missed{_needed(result)}"
        )
    if result["verdict"] == "equivalent to no effect":
        return f"Size makes no difference that matters (less than {delta}): {measured}"
    word = "better" if result["verdict"] == "improves" else "worse"
    text = f"Bigger networks predict {word}: {measured}"
    low, high = result["slope"]["interval95"]
    if -result["delta"] < low and high < result["delta"]:
        text += f", though by less than the {delta} set in advance as mattering"
    return text


def _measured(result: dict[str, Any]) -> str:
    slope, days = result["slope"], result["days"]
    low, high = slope["interval95"]
    return (
        f"test log-loss {'falls' if slope['estimate'] < 0 else 'rises'} by "
        f"{abs(slope['estimate']):.4f} nats for ten times the parameters (95 % interval of the "
        f"slope {low:+.4f} to {high:+.4f}, {days['count']:,} test days "
        f"{days['first'][:4]}-{days['last'][:4]})"
    )


def _needed(result: dict[str, Any]) -> str:
    """What it would take to see delta, as a clause; empty if the study can see it already."""
    if result["smallest_detectable_effect"] <= result["delta"]:
        return ""
    ways = []
    if result["days_needed"]:
        ways.append(f"about {result['days_needed']:,} test days")
    if result["seeds_needed"]:
        ways.append(f"{result['seeds_needed']} seeds per size")
    effort = " or ".join(ways) or "more seeds and more test days"
    return f", and seeing {result['delta']:.4f} takes {effort}"


def _against(network: dict[str, Any]) -> str:
    """How the best network stands to the baselines, those with the same verdict together."""
    groups: dict[str, list[str]] = {}
    for name, row in network["against"].items():
        groups.setdefault(row["verdict"], []).append(str(name).replace("_", " "))
    wording = {
        "beats it": "beats",
        "loses to it": "loses to",
        "cannot be told apart": "cannot be told apart from",
    }
    against = ", ".join(
        f"{wording[found]} {' and '.join(groups[found])}" for found in wording if found in groups
    )
    return f"the best network on validation ({network['budget']}) {against}"
