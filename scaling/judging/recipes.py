"""Another recipe at another size: what sets the runs of one study apart besides their size."""

from collections.abc import Mapping, Sequence
from typing import Any

from scaling.record import COMPUTING_PACKAGES

# A budget's file declares these for its size alone. Dropout stands there too, but is no size.
OF_THE_SIZE = ("d_model", "layers", "heads", "ffn_dim", "expansion_factor")
SECTIONS = ("window", "optimiser")


def recipe_differences(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """One line for each setting in which the runs differ, such as `epochs: 5 for 200k; 9 for 2m`.

    Empty for a study of one recipe. `records` are run records, the smallest size first.
    """
    recipes = {record["run"]: _recipe(record) for record in records}
    names = {name: None for recipe in recipes.values() for name in recipe}
    lines = []
    for name in names:
        runs_with: dict[str, list[Mapping[str, Any]]] = {}
        for record in records:
            value = str(recipes[record["run"]].get(name, "not recorded"))
            runs_with.setdefault(value, []).append(record)
        if len(runs_with) > 1:
            parts = (f"{value} for {_runs(runs, records)}" for value, runs in runs_with.items())
            lines.append(f"{name}: {'; '.join(parts)}")
    return lines


def _recipe(record: Mapping[str, Any]) -> dict[str, Any]:
    """All that a training was made with, apart from what belongs to its size, and its seed."""
    config = record["config"]
    asked = {key: value for section in SECTIONS for key, value in config[section].items()}
    shape = {key: value for key, value in record["model"].items() if key not in OF_THE_SIZE}
    versions = {package: record["versions"][package] for package in COMPUTING_PACKAGES}
    named = {key.replace("_", " "): value for key, value in (asked | shape).items()}
    return {
        **named,
        "precision": record["precision"],
        "micro-batch": record["micro_batch"],
        "device": record["device"],
        "training code": record["code_digest"],
        **versions,
    }


def _runs(some: Sequence[Mapping[str, Any]], records: Sequence[Mapping[str, Any]]) -> str:
    """The names of some runs; a budget of which all runs are meant is named once."""
    names = []
    for budget in dict.fromkeys(record["budget"] for record in some):
        of_budget = [record["run"] for record in records if record["budget"] == budget]
        meant = [record["run"] for record in some if record["budget"] == budget]
        names += [budget] if meant == of_budget and len(meant) > 1 else meant
    return ", ".join(names)
