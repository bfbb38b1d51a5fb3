"""The files of one run: checkpoint, record, evaluation and predictions must be of one training.

A run that was trained again by hand leaves behind the evaluation of the network before it, and a
file that was renamed may be another run's. What they were made with tells, and so do digests.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from scaling.errors import UserError
from scaling.names import artefact
from scaling.record import file_md5
from scaling.run import Run, RunName, difference, refuse

RUN_FILE = re.compile(r"(?P<run>[0-9]+[kmb](\.[a-z]+[0-9]+)*)\.(ckpt|json|eval\.json)")


def run_in(made: Mapping[str, Any], path: Path) -> Run:
    """The run that a record or an evaluation is of; the name of another run is a `UserError`.

    `made` may stand in a checkpoint. A file name that the workflow gives to no run, such as
    `before.ckpt`, promises nothing and passes.
    """
    run = Run.of(made, path)
    names = (run.name.written(own_seed=run.name.seed), run.name.written(own_seed=None))
    said = {key: made.get(key) for key in run.titles("")}
    refuse(path, difference(said, run.titles(said["run"] if said["run"] in names else names[1])))
    named = RUN_FILE.fullmatch(path.name)
    if named and named["run"] != said["run"]:
        raise UserError(
            f"{path}: holds the run {said['run']}, not {named['run']}; give it its own name, or "
            f"make it again: snakemake --force {path}"
        )
    return run


def name_in(made: Mapping[str, Any]) -> RunName:
    """The name of the run that a file which was read with `run_in` is of."""
    return Run.of(made, made["run"]).name


def file_digests(checkpoint: Path, predictions: Path) -> dict[str, str]:
    """What an evaluation remembers of the file that it judged and of the file that it wrote."""
    return {"checkpoint_md5": file_md5(checkpoint), "predictions_md5": file_md5(predictions)}


def require_one_training(
    record: Mapping[str, Any],
    evaluation: Mapping[str, Any],
    checkpoint: Path,
    predictions: Collection[str],
) -> None:
    """The evaluation judged the training that the record tells of, and wrote these predictions.

    `checkpoint` is compared if it is there: it may have stayed on the machine that trained it.
    `predictions` are the MD5s of the files at hand. Raises `UserError`.
    """
    run = evaluation["run"]
    path = artefact(evaluation["experiment"], run, "eval.json")
    judged, trained = Run.of(evaluation, path), Run.of(record, checkpoint)
    again = f"evaluate it: snakemake --force {path}"
    refuse(path, judged.difference(trained), f"the run was trained again since; {again}")
    if checkpoint.is_file() and file_md5(checkpoint) != evaluation.get("checkpoint_md5"):
        raise UserError(
            f"{run}: {checkpoint} is not the file that was evaluated (that had the MD5 "
            f"{evaluation.get('checkpoint_md5')}); {again}"
        )
    if evaluation.get("predictions_md5") not in predictions:
        raise UserError(
            f"{run}: its predictions are not those that the evaluation wrote (no file has the MD5 "
            f"{evaluation.get('predictions_md5')}); {again}"
        )


def require_replicates(records: Sequence[Mapping[str, Any]]) -> None:
    """The seeds of a size are trainings of their own: other initial weights, another order.

    Copies of one training look like replicates without any spread, and an inconclusive study then
    says "improves". Raises `UserError` for two runs of a size, on the same number of days, that
    share either digest.
    """
    shared = {
        "initial_weights": "started from the same weights",
        "sample_order": "saw the same order",
    }
    for key, what in shared.items():
        seen: dict[tuple[RunName, str | None], str] = {}
        for record in records:
            digest = record.get(key)
            replicate = (replace(name_in(record), seed=0), digest)
            if replicate in seen:
                raise UserError(
                    f"{seen[replicate]} and {record['run']} {what} ({key} {digest}), so "
                    "they are no replicates; train one of them again: snakemake --force "
                    f"{artefact(record['experiment'], record['run'], 'ckpt')}"
                )
            seen[replicate] = record["run"]
