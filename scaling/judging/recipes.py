"""What sets trainings apart besides their size: the runs of one study, or two studies."""

from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any

from scaling.judging.checks import Check, check
from scaling.judging.run_files import name_in
from scaling.judging.study_files import OF_THE_FOLD
from scaling.law.result import StudyLaw
from scaling.run import NAME, Run

# A budget's file declares these for its size alone. Dropout stands there too, but is no size.
OF_THE_SIZE = tuple(
    f"model.{key}" for key in ("d_model", "layers", "heads", "ffn_dim", "expansion_factor")
)

# How many times as far as the smallest size's the logit may be moved by the first step. Folded as
# scaling/training/transfer.py says, the sizes from 200k to 200M lie within 1.3 of one another. The
# recipes that this project had before, a learning rate for each size, were 2.2 to 6.7 times apart.
FIRST_STEP = 2.5
# By how much the shares of clipped steps may differ. By the plain norm they were 0.43 at 200k and
# 0.80 at 20M, by the norm that transfers 0.42 at both.
CLIPPED = 0.25


def serves_every_size(records: Sequence[Mapping[str, Any]]) -> list[Check]:
    """Whether one recipe trained every size, by what the trainings say of themselves.

    A larger network that fits its own training days worse was not trained, and one whose first step
    moves the logit much further was thrown about. `records` are run records, the smallest size
    first. No check for a single size.
    """
    runs: dict[str, list[Mapping[str, Any]]] = {}
    for record in records:
        runs.setdefault(record["budget"], []).append(record)
    if len(runs) < 2:
        return []
    steps, clipped = (
        {budget: mean(record[key] for record in own) for budget, own in runs.items()}
        for key in ("first_step", "clipped")
    )
    losses = {budget: mean(map(_last_loss, own)) for budget, own in runs.items()}
    base, *others = runs
    gaps = [_gap_of_seeds(own) for own in runs.values()]
    noise = max(gaps) if any(len(own) > 1 for own in runs.values()) else None
    faults = []
    for budget in others:
        if not 1 / FIRST_STEP <= (ratio := steps[budget] / steps[base]) <= FIRST_STEP:
            faults.append(f"the first step of {budget} moves the logit {ratio:.2g} times as far")
        if noise is not None and (above := losses[budget] - losses[base]) > noise:
            faults.append(f"{budget} ends with a training loss {above:.4f} above that of {base}")
        if abs(clipped[budget] - clipped[base]) > CLIPPED:
            faults.append(f"{100 * clipped[budget]:.0f} % of the steps of {budget} are clipped")
    for budget, own in runs.items():
        if all(_best_look(record) == 0 for record in own):
            faults.append(f"{budget} is best at its first look at validation, and then worse")
    seeds = "one seed each" if noise is None else f"seeds differ by {noise:.4f}"
    figures = (
        f"first steps move the logit by {_range(steps, 2)}, training losses end at "
        f"{_range(losses, 4)} ({seeds}), shares of clipped steps are {_range(clipped, 2)}"
    )
    return [
        check(
            "the recipe serves every size",
            not faults,
            "; ".join([*faults, figures]),
            f"a first step within a factor of {FIRST_STEP:g} of the smallest size's, training "
            "losses not above its by more than seeds differ, shares of clipped steps within "
            f"{CLIPPED:g}, and no size best at its first look",
            "a size was trained by a recipe that is not right for it, so its place says nothing "
            "about its size",
        )
    ]


def _gap_of_seeds(runs: Sequence[Mapping[str, Any]]) -> float:
    """How far the last training losses of the seeds lie apart, on average over the folds."""
    by_fold: dict[int | None, list[float]] = {}
    for record in runs:
        by_fold.setdefault(name_in(record).origin, []).append(_last_loss(record))
    return mean(max(losses) - min(losses) for losses in by_fold.values())


def _last_loss(record: Mapping[str, Any]) -> float:
    return float(record["looks"][-1]["train_loss"])


def _best_look(record: Mapping[str, Any]) -> int:
    losses = [look["val_log_loss"] for look in record["looks"]]
    return losses.index(min(losses))


def _range(values: Mapping[str, float], digits: int) -> str:
    return f"{min(values.values()):.{digits}f} to {max(values.values()):.{digits}f}"


def recipe_differences(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """One line for each key in which the runs differ: `optimiser.epochs: 5 for 200k; 9 for 2m`.

    Empty for a study of one recipe. `records` are run records, the smallest size first. What the
    folds of a walk differ in by their name alone is left out.
    """
    runs = {made["run"]: Run.of(made, made["run"]) for made in records}
    values = {name: run.values() for name, run in runs.items()}
    walks = any(run.name.origin is not None for run in runs.values())
    left_out = (*NAME, *OF_THE_SIZE, *(OF_THE_FOLD if walks else ()))
    lines = []
    for key, by_run in _by_key(values, left_out).items():
        runs_with: dict[str, list[Mapping[str, Any]]] = {}
        for record in records:
            runs_with.setdefault(by_run[record["run"]], []).append(record)
        if len(runs_with) > 1:
            parts = (f"{value} for {_runs(some, records)}" for value, some in runs_with.items())
            lines.append(f"{key}: {'; '.join(parts)}")
    return lines


def study_differences(laws: Mapping[str, StudyLaw]) -> list[str]:
    """One line for each key in which whole studies differ: `precision: bf16 for A; fp32 for B`.

    `laws` are the laws by the name of their experiment. Of a key that differs inside a study, all
    its values are named. A law that was published, or trained elsewhere, does not hold its runs.
    """
    if not any(law.runs for law in laws.values()):
        return ["what is unknown: none of these laws holds the runs that it was fitted to"]
    found: dict[str, dict[str, str]] = {}
    for experiment, law in laws.items():
        runs = [Run.of({"identity": made}, experiment).values() for made in law.runs]
        values = {str(number): run for number, run in enumerate(runs)}
        for key, by_run in _by_key(values, ("experiment", *OF_THE_SIZE)).items():
            found.setdefault(key, {})[experiment] = ", ".join(dict.fromkeys(by_run.values()))
    lines = []
    for key, by_study in found.items():
        unknown = {name: "nothing" if law.runs else "unknown" for name, law in laws.items()}
        said = {name: by_study.get(name, unknown[name]) for name in laws}
        if len({*said.values()}) > 1:
            parts = (f"{value} for {experiment}" for experiment, value in said.items())
            lines.append(f"{key}: {'; '.join(parts)}")
    return lines


def _by_key(
    values: Mapping[str, Mapping[str, Any]], left_out: Sequence[str]
) -> dict[str, dict[str, str]]:
    """The value of each run, as text, by key; `left_out` are keys, or sections of them."""
    keys = dict.fromkeys(
        key
        for run in values.values()
        for key in run
        if not {key, key.partition(".")[0]} & {*left_out}
    )
    return {key: {r: str(run.get(key, "nothing")) for r, run in values.items()} for key in keys}


def _runs(some: Sequence[Mapping[str, Any]], records: Sequence[Mapping[str, Any]]) -> str:
    """The names of some runs; a budget of which all runs are meant is named once."""
    names = []
    for budget in dict.fromkeys(record["budget"] for record in some):
        of_budget = [record["run"] for record in records if record["budget"] == budget]
        meant = [record["run"] for record in some if record["budget"] == budget]
        names += [budget] if meant == of_budget and len(meant) > 1 else meant
    return ", ".join(names)
