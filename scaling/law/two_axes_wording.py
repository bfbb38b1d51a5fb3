"""One sentence that answers both questions: do parameters help, and do training days?"""

from typing import Any

from scaling.law.effects import intervals_disagree, side_of_zero
from scaling.law.wording import rounded

WORDS = {
    "parameters": {
        "more": "bigger",
        "unit": "parameters",
        "axis": "size",
        "improves": "bigger networks predict better",
        "inverse scaling": "bigger networks predict worse",
        "equivalent to no effect": "size makes no difference that matters",
        "inconclusive": "whether bigger networks predict better is not settled",
    },
    "days": {
        "more": "more history",
        "unit": "training days",
        "axis": "days",
        "improves": "more training days help",
        "inverse scaling": "more training days hurt",
        "equivalent to no effect": "the number of training days makes no difference that matters",
        "inconclusive": "whether more training days help is not settled",
    },
}


def sentence(result: dict[str, Any]) -> str:
    """Both verdicts with their slopes, and whether one axis gains from the other."""
    both = f"{_clause(result, 'parameters')}, and {_clause(result, 'days')}"
    drawn = "the most recent days" if result["draw"] == "recent" else "random quarters"
    return (
        f"{both[0].upper()}{both[1:]}{_interaction(result)}{_advice(result)}"
        f"; trained on {drawn}, judged on {result['test_days']:,} test days."
    )


def warnings(result: dict[str, Any]) -> list[str]:
    """The weaknesses that a reader of the two verdicts must know, one line each."""
    found = []
    if single := [cell for cell in result["cells"] if len(cell["seeds"]) == 1]:
        names = ", ".join(
            f"{cell['budget']} on {cell['counted_days']:,.0f} days" for cell in single
        )
        found.append(
            f"one seed only for {names}: the spread between seeds is unknown, and no verdict but "
            "inconclusive is given"
        )
    for axis, words in WORDS.items():
        if len(result[axis]["contrasts"]) == 1:
            found.append(
                f"two values of {words['unit']}: their slope is their difference, and a turning "
                "point between them cannot be looked for"
            )
        if intervals_disagree(result[axis]["slope"]):
            found.append(
                f"bootstrap and t interval disagree on whether the slope over {words['unit']} is "
                "0; the verdict follows the cautious one"
            )
        if bent := _turn(result, axis) or _crossing(result, axis):
            found.append(f"{bent}: no single slope describes it")
    if all(cell["skill"] <= 0 for cell in result["cells"]):
        found.append("no size beats the training base rate on the test days")
    return found


def _clause(result: dict[str, Any], axis: str) -> str:
    """The verdict of one axis in words, with its slope per decade."""
    row, words = result[axis], WORDS[axis]
    low, high = row["slope"]["interval95"]
    measured = (
        f"{row['slope']['estimate']:+.4f} nats for ten times the {words['unit']}, "
        f"95 % interval {low:+.4f} to {high:+.4f}"
    )
    if row["verdict"] != "inconclusive":
        return f"{words[row['verdict']]} ({measured})"
    if row["slope"]["seed_variance"] is None:
        return f"{words['inconclusive']} ({measured}; a cell has one seed only)"
    if bent := _turn(result, axis):
        return f"{bent}, so no slope is claimed"
    if crossing := _crossing(result, axis):
        return f"{crossing} ({measured})"
    missed = row["smallest_detectable_effect"]
    return (
        f"{words['inconclusive']} ({measured}; an effect below {missed:.4f} would probably have "
        "been missed)"
    )


def _turn(result: dict[str, Any], axis: str) -> str:
    """Where the loss turns on average, or else where it does first; empty if nowhere."""
    row, words = result[axis], WORDS[axis]
    found = [("", row["turning_point"])] if row["turning_point"]["kind"] else []
    found += [
        (f" {_where(result, axis, each['at'])}", each["turning_point"])
        for each in row["at_each"]
        if each["turns"]
    ]
    if not found:
        return ""
    where, turning = found[0]
    return (
        f"the loss{where} is non-monotone in {words['axis']}, {turning['kind']} near "
        f"{rounded(turning['at'])} {words['unit']}, inside the range"
    )


def _crossing(result: dict[str, Any], axis: str) -> str:
    """Where the slope falls and where it rises, if it does both; else empty."""
    row = result[axis]
    if not row["crosses"]:
        return ""
    apart = [each for each in row["at_each"] if each["p_holm"] < 0.05]
    helps, hurts = (
        " and ".join(
            _where(result, axis, each["at"])
            for each in apart
            if (each["slope"]["estimate"] < 0) is falling
        )
        for falling in (True, False)
    )
    return f"{WORDS[axis]['more']} helps {helps} and hurts {hurts}"


def _where(result: dict[str, Any], axis: str, at: str) -> str:
    """A point of the other axis: "at 2m", or "on 2,000 days" as counted."""
    if axis == "days":
        return f"at {at}"
    counted = {cell["train_days"]: cell["counted_days"] for cell in result["cells"]}
    return f"on {counted[at]:,.0f} days"


def _interaction(result: dict[str, Any]) -> str:
    """Whether one axis gains from the other, where both are close to lines and replicated."""
    slope = result["interaction"]
    if slope["seed_variance"] is None or any(_turn(result, axis) for axis in WORDS):
        return ""
    low, high = slope["interval95"]
    measured = (
        f"({slope['estimate']:+.4f} nats for ten times of each, 95 % interval {low:+.4f} to "
        f"{high:+.4f})"
    )
    gained = {
        -1: "bigger networks gain more from more days",
        0: "whether bigger networks gain more from more days is not settled",
        1: "bigger networks gain less from more days",
    }[side_of_zero([slope["interval95"], slope["t_interval95"]])]
    return f"; {gained} {measured}"


def _advice(result: dict[str, Any]) -> str:
    """What ten times the compute should be spent on, where the joint law is identified."""
    law = result["joint_law"]
    if law["status"] != "identified":
        return ""
    spend = law["budget"]
    low, high = spend["parameters_factor_interval95"]
    return (
        f"; ten times the compute of the largest run is best spent on "
        f"{spend['parameters_factor']:.1f} times the parameters (95 % region {low:.1f} to "
        f"{high:.1f}) and {spend['days_factor']:.1f} times the days"
    )
