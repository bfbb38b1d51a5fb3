"""Sweeps, shuffled controls and ageings, which a study may have, or an older state of it.

The workflow does not rebuild these files with the study. One that is true for another study is
left out of the report, and the report says so.
"""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from scaling.errors import UserError
from scaling.judging.study_files import StudyFiles
from scaling.law.ageing import Ageing
from scaling.record import read_json
from scaling.run import MACHINE, Run, outdated, refuse

# A control vouches for the code as well, a sweep for the recipe alone; both have their own seeds.
MAY_DIFFER = ("seed", "device", "precision", "micro_batch", *MACHINE)
VARIED = ("optimiser.learning_rate", "optimiser.weight_decay", "optimiser.epochs")
OF_A_SWEEP = ("code", *VARIED, "model.dropout", "model.initial_deviation")


def read_optional(
    paths: Sequence[Path], kind: str, study: StudyFiles
) -> tuple[list[dict[str, Any]], list[str]]:
    """The files of this kind that are true for the study, and a line for each that is left out.

    `kind` is "sweep", "shuffled control" or "ageing". At most one file is kept for each budget, and
    the smallest budget stands first.
    """
    kept: dict[str, dict[str, Any]] = {}
    left_out = []
    for path in paths:
        made = read_json(path)
        try:
            _refuse_another_studys(made, path, kind, study, kept)
            kept[made["budget"]] = made
        except UserError as problem:
            left_out.append(f"left out: {problem}")
    return [kept[budget] for budget in study.budgets if budget in kept], left_out


def _refuse_another_studys(
    made: Mapping[str, Any], path: Path, kind: str, study: StudyFiles, kept: Mapping[str, Any]
) -> None:
    """Raise `UserError` for a file that cannot be used: why, and what to do about it."""
    if made.get("kind") != kind:
        raise UserError(f"{path}: is no {kind}; give one, or none")
    budget = made["budget"]
    if budget not in study.budgets:
        raise UserError(
            f"{path}: is of {budget}, the ladder has {', '.join(study.budgets)}; drop it from the "
            "command"
        )
    if budget in kept:
        raise UserError(
            f"{path}: another {kind} of {budget} stands before it; drop it from the command"
        )
    again = f"make it again: snakemake --force results/{study.law.experiment}/{path.name}"
    runs = [Run.of(record, path) for record in study.records if record["budget"] == budget]
    if kind == "ageing":  # of the very networks that the study has of a size
        if found := outdated(path, runs, made.get("made_by")):
            raise UserError(f"{path}: {found}; {again}")
        return
    may_differ = (*MAY_DIFFER, *(OF_A_SWEEP if kind == "sweep" else ()))
    refuse(path, Run.of(made, path).difference(runs[0], may_differ), again)


def ageing_in(made: Mapping[str, Any]) -> Ageing:
    """What such a file says of age."""
    named = {field.name: made[field.name] for field in fields(Ageing)}
    return TypeAdapter(Ageing).validate_python(named)
