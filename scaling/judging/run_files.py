"""The files of one run: checkpoint, record, evaluation and predictions must be of one training.

A run that was trained again by hand leaves behind the evaluation of the network before it, and a
file that was renamed may be another run's. Names, fingerprints and digests tell.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from scaling.errors import UserError
from scaling.names import (
    RUN_NAME,
    SAMPLE_PART,
    SEED_PART,
    Draw,
    Run,
    artefact,
    run_name,
    split_run_name,
)
from scaling.record import file_md5

RUN_FILE = re.compile(rf"(?P<run>[0-9]+[kmb]{SAMPLE_PART}{SEED_PART})\.(ckpt|json|eval\.json)")

BASELINES = "baselines"


def run_of(made: Mapping[str, Any]) -> Run:
    """Size, seed and training days of a record, of an evaluation, or of the baselines' record.

    Only a record holds the config, and says there which days were trained on. The name says the
    same, and `refuse_other_name` holds both against each other.
    """
    days: tuple[int | None, Draw] = (None, "recent")
    if "config" in made:
        days = (made["config"].get("train_days"), made["config"].get("days") or "recent")
    elif RUN_NAME.fullmatch(made.get("run", "")):
        days = split_run_name(made["run"], own_seed=-1)[2:]
    return Run(made.get("budget", BASELINES), made.get("seed", 0), *days)


def words(run: Run) -> str:
    """`2m seed 43 on 1000 recent training days`."""
    name = run.budget if run.budget == BASELINES else f"{run.budget} seed {run.seed}"
    return name + (f" on {run.train_days} {run.days} training days" if run.train_days else "")


def refuse_other_name(path: Path, made: Mapping[str, Any]) -> None:
    """A file that has the name of another run than its content is a `UserError`.

    `made` is a record or an evaluation, or the record inside a checkpoint. A name that the
    workflow does not give to a run's file, such as `before.ckpt`, promises nothing and passes.
    """
    name, run = made["run"], run_of(made)
    if name not in (run_name(run, own_seed=run.seed), run_name(run, own_seed=None)):
        raise UserError(
            f"{path}: calls itself {name}, but is of {words(run)}; make it again: "
            f"snakemake --force {path}"
        )
    named = RUN_FILE.fullmatch(path.name)
    if named and named["run"] != name:
        raise UserError(
            f"{path}: holds the run {name}, not {named['run']}; give it its own name, or make it "
            f"again: snakemake --force {path}"
        )


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
    again = f"snakemake --force {artefact(evaluation['experiment'], run, 'eval.json')}"
    judged = evaluation["trained_by"]["fingerprint"]
    if record["fingerprint"] != judged:
        raise UserError(
            f"{run}: the record is of the training {record['fingerprint']}, the evaluation of "
            f"{judged}, so the run was trained again after it was evaluated; evaluate it: {again}"
        )
    if checkpoint.is_file() and file_md5(checkpoint) != evaluation.get("checkpoint_md5"):
        raise UserError(
            f"{run}: {checkpoint} is not the file that was evaluated (that had the MD5 "
            f"{evaluation.get('checkpoint_md5')}); evaluate it: {again}"
        )
    if evaluation.get("predictions_md5") not in predictions:
        raise UserError(
            f"{run}: its predictions are not those that the evaluation wrote (no file has the MD5 "
            f"{evaluation.get('predictions_md5')}); evaluate it: {again}"
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
        seen: dict[tuple[Run, str | None], str] = {}
        for record in records:
            digest = record.get(key)
            replicate = (run_of(record)._replace(seed=0), digest)
            if replicate in seen:
                raise UserError(
                    f"{seen[replicate]} and {record['run']} {what} ({key} {digest}), so "
                    "they are no replicates; train one of them again: snakemake --force "
                    f"{artefact(record['experiment'], record['run'], 'ckpt')}"
                )
            seen[replicate] = record["run"]
