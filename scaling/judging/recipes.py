"""What sets trainings apart besides their size: the runs of one study, or two studies."""

from collections.abc import Mapping, Sequence
from typing import Any

from scaling.law.result import StudyLaw
from scaling.run import NAME, Run
from scaling.sizes import MULTIPLIERS

# A budget's file declares these for its size alone. Dropout stands there too, but is no size.
SHAPE = ("d_model", "layers", "heads", "ffn_dim", "expansion_factor", *MULTIPLIERS)
OF_THE_SIZE = tuple(f"model.{key}" for key in SHAPE)


def recipe_differences(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """One line for each key in which the runs differ: `optimiser.epochs: 5 for 200k; 9 for 2m`.

    Empty for a study of one recipe. `records` are run records, the smallest size first.
    """
    values = {made["run"]: Run.of(made, made["run"]).values() for made in records}
    lines = []
    for key, by_run in _by_key(values, (*NAME, *OF_THE_SIZE)).items():
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
    its values are named. Of a ladder that was trained elsewhere nothing is known but its name.
    """
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
    """The value of each run, as text, by key."""
    keys = dict.fromkeys(key for run in values.values() for key in run if key not in left_out)
    return {key: {r: str(run.get(key, "nothing")) for r, run in values.items()} for key in keys}


def _runs(some: Sequence[Mapping[str, Any]], records: Sequence[Mapping[str, Any]]) -> str:
    """The names of some runs; a budget of which all runs are meant is named once."""
    names = []
    for budget in dict.fromkeys(record["budget"] for record in some):
        of_budget = [record["run"] for record in records if record["budget"] == budget]
        meant = [record["run"] for record in some if record["budget"] == budget]
        names += [budget] if meant == of_budget and len(meant) > 1 else meant
    return ", ".join(names)
