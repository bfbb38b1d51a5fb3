"""Sweeps and shuffled controls, which a study may have, and which may be of an older study.

The workflow does not rebuild these files with the study. One that is true for another study is
left out of the report, and the report says so.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scaling.judging.study_files import StudyFiles
from scaling.record import read_json
from scaling.sizes import MULTIPLIERS


def read_optional(
    paths: Sequence[Path], kind: str, study: StudyFiles
) -> tuple[list[dict[str, Any]], list[str]]:
    """The files of this kind that are true for the study, and a line for each that is left out.

    `kind` is "sweep" or "shuffled control". At most one file is kept for each budget, and the
    smallest budget stands first.
    """
    kept: dict[str, dict[str, Any]] = {}
    left_out = []
    for path in paths:
        made = read_json(path)
        if problem := _problem(made, path, kind, study, kept):
            left_out.append(f"{path} is left out: {problem}")
        else:
            kept[made["budget"]] = made
    return [kept[budget] for budget in study.budgets if budget in kept], left_out


def _problem(
    made: Mapping[str, Any], path: Path, kind: str, study: StudyFiles, kept: Mapping[str, Any]
) -> str:
    """Why a file cannot be used, and what to do about it; empty for a file that can."""
    if made.get("kind") != kind:
        return f"it is no {kind}; give one, or none"
    budget = made["budget"]
    if budget not in study.budgets:
        return (
            f"it is of {budget}, the ladder has {', '.join(study.budgets)}; drop it from the "
            "command"
        )
    if budget in kept:
        return f"another {kind} of {budget} stands before it; drop it from the command"
    record = next(record for record in study.records if record["budget"] == budget)
    if differing := _difference(made, record):
        again = f"snakemake --force results/{study.law.experiment}/{path.name}"
        return f"{differing}; make it again: {again}"
    return ""


def _difference(made: Mapping[str, Any], record: Mapping[str, Any]) -> str:
    """What sets a sweep or a control apart from a trained run of its budget; empty for nothing."""
    if "training" not in made or "model" not in made:
        return "it does not say what was trained, as older ones do not"
    trained, asked = _recipe({**record, "training": record["config"]}), _recipe(made)
    if made["kind"] == "shuffled control":
        # A control vouches for the code too, a sweep for the recipe alone.
        trained["training code"] = record["code_digest"]
        asked["training code"] = made["training_code_digest"]
    return ", ".join(
        f"{name} is {asked.get(name)}, the ladder's is {trained.get(name)}"
        for name in sorted(asked.keys() | trained.keys())
        if asked.get(name) != trained.get(name)
    )


def _recipe(made: Mapping[str, Any]) -> dict[str, Any]:
    """The data and settings that a sweep or a control was made with, by name.

    `made` holds the two parts of `config.training_identity`. Seed and multipliers are
    left out because sweeps and controls vary them, device and precision because they may differ.
    """
    sections = ("task", "window", "splits", "optimiser")
    parts = {section: made["training"].get(section, {}) for section in sections}
    parts["model"] = {k: v for k, v in made["model"].items() if k not in MULTIPLIERS}
    flat = {f"{part}.{key}": v for part, values in parts.items() for key, v in values.items()}
    flat["train_days"] = made["training"].get("train_days")
    return flat | {key: made[key] for key in ("data_md5", "features_md5", "label_hash")}
