"""What is said of a law: one sentence with the finding, and a warning for each weakness."""

from typing import Any

from scaling.law.effects import DUST, intervals_disagree

FEW_BLOCKS = 30


def warnings(result: dict[str, Any]) -> list[str]:
    """The weaknesses that a reader of the verdict must know, one line each."""
    found = []
    single = [budget for budget, seeds in result["seeds"].items() if len(seeds) == 1]
    aside = _set_aside(result)
    if aside:
        found.append(
            f"one seed only for {', '.join(aside)}: the interval there covers the days alone, and "
            f"slope and verdict are over the other sizes ({', '.join(result['slope_over'])})"
        )
    elif single:
        found.append(
            f"one seed only for {', '.join(single)}: a verdict needs two sizes with several seeds, "
            "so the intervals are over the days alone, and the verdict is inconclusive"
        )
    days, block = result["days"]["count"], result["block_length"]
    if days / block < FEW_BLOCKS:
        found.append(
            f"{days} test days are about {days / block:.0f} independent blocks of {block}; "
            f"below {FEW_BLOCKS} the bootstrap's intervals are rough"
        )
    if len(result["slope_over"]) == 2:
        found.append("two sizes: the slope is their difference, its shape cannot be checked")
    if all(size["skill"] <= 0 for size in result["sizes"]):
        found.append(
            "no size beats the training base rate on the test days: a slope among them is not "
            "predictive power"
        )
    turning = result["turning_point"]
    if turning["kind"]:
        found.append(
            f"the loss is {turning['kind']} near {rounded(turning['at'])} parameters, inside the "
            f"ladder (p = {turning['p_value']:.2g}): a straight slope does not describe it"
        )
    return found + _about_slope(result)


def _about_slope(result: dict[str, Any]) -> list[str]:
    found = []
    slope, delta = result["slope"], result["delta"]
    if intervals_disagree(slope):
        found.append(
            "bootstrap and t interval disagree on whether the slope is 0; "
            "the verdict follows the cautious one"
        )
    if slope["interval95"][1] < -DUST and slope["interval95"][0] > -delta:
        found.append("the slope is below 0, but the whole interval is smaller than delta")
    experiments = result["best_network"]["comparisons"]["experiments"]
    p = min(1.0, experiments * slope["p_value"])
    if result["verdict"] in ("improves", "inverse scaling") and p >= 0.05:
        found.append(
            f"this is one of {experiments} experiments of a grid, and the verdict is about this "
            f"one alone: adjusted for all of them the p-value of its slope is {p:.2g}"
        )
    return found


def sentence(result: dict[str, Any]) -> str:
    """The finding in plain English: what was seen, how sure, and how it stands to the baselines."""
    text = _finding(result)
    if all(size["skill"] <= 0 for size in result["sizes"]):
        text += "; no size beats the base rate"
    if aside := _set_aside(result):
        text += f"; a size with one seed has no part in this ({', '.join(aside)})"
    return f"{text}; {_against(result['best_network'])}."


def _set_aside(result: dict[str, Any]) -> list[str]:
    """The sizes that have no part in the slope, because they have a single seed."""
    return [budget for budget in result["seeds"] if budget not in result["slope_over"]]


def rounded(number: float) -> str:
    """Two significant digits in full: 2,400,000."""
    return f"{float(f'{number:.2g}'):,.0f}"


def _finding(result: dict[str, Any]) -> str:
    """The verdict and the slope behind it."""
    measured, delta = _measured(result), f"{result['delta']:.4f}"
    turning = result["turning_point"]
    if result["verdict"] == "equivalent to no effect":
        return (
            f"Size makes no difference that matters (less than {delta} nats for ten times the "
            f"parameters, between any two sizes): {measured}"
        )
    if turning["kind"]:
        return (
            f"Bigger is neither simply better nor simply worse: test log-loss is "
            f"{turning['kind']} near {rounded(turning['at'])} parameters, inside the ladder "
            f"(p = {turning['p_value']:.2g}); as a straight line, {measured}"
        )
    if result["verdict"] == "inconclusive":
        text = f"These data do not settle whether bigger networks predict better: {measured}; "
        if result["slope"]["seed_variance"] is None:
            return text + (
                "fewer than two sizes have several seeds, so the spread between seeds is unknown"
            )
        return (
            f"{text}an effect below {result['smallest_detectable_effect']:.4f} would probably have "
            f"been missed{_needed(result)}"
        )
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
    one = ", one seed, so on these days alone" if network["seeds"] == 1 else ""
    return f"the {network['which']} ({network['budget']}{one}) {against}"
