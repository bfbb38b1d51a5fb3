"""The files of one experiment, read together, and refused where they do not belong together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

import pandas as pd

from scaling.errors import UserError
from scaling.judging.run_files import (
    BASELINES,
    refuse_other_name,
    require_one_training,
    require_replicates,
    run_of,
    words,
)
from scaling.law.result import StudyLaw, read_law
from scaling.law.runs import WHOLE_BLOCK, with_training_days
from scaling.names import Run
from scaling.record import file_md5, read_json


@dataclass(frozen=True)
class StudyFiles:
    """What the workflow has written about one experiment.

    `records` and `evaluations` stand in one order: the smallest size first, then the fewest
    training days, then by seed.
    """

    law: StudyLaw
    records: list[dict[str, Any]]
    evaluations: list[dict[str, Any]]
    baselines: list[dict[str, Any]]
    """One record for each sample of training days."""
    predictions: pd.DataFrame
    """The networks' rows: budget, parameters, seed, date, split, weights, y, p, and their days."""
    baseline_predictions: pd.DataFrame
    """The baselines' rows: model, date, split, y, p, and their days."""

    @property
    def budgets(self) -> list[str]:
        """The ladder's sizes, smallest first."""
        return [size.budget for size in self.law.ladder.cells]

    @property
    def ladder(self) -> "StudyFiles":
        """The part of the study that was trained on the whole block: replicates differ in seed."""
        return StudyFiles(
            law=self.law,
            records=_on_whole_block(self.records),
            evaluations=_on_whole_block(self.evaluations),
            baselines=_on_whole_block(self.baselines),
            predictions=self.predictions[self.predictions["train_days"] == WHOLE_BLOCK],
            baseline_predictions=self.baseline_predictions[
                self.baseline_predictions["train_days"] == WHOLE_BLOCK
            ],
        )


def _on_whole_block(files: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [made for made in files if run_of(made).train_days is None]


def read_study(
    *,
    law: Path,
    records: Sequence[Path],
    evaluations: Sequence[Path],
    predictions: Sequence[Path],
    baselines: Sequence[Path],
    baseline_predictions: Sequence[Path],
) -> StudyFiles:
    """Read the files of a study; a mixture of studies or of states of one is a `UserError`."""
    found, rivals = read_law(law), [read_json(path) for path in baselines]
    made = [(path, read_json(path)) for path in records]
    judged = [(path, read_json(path)) for path in evaluations]
    _require_one_study(found, [*(content for _, content in (*made, *judged)), *rivals])
    runs = runs_of_law(found)
    for flag, files in (("--records", made), ("--evaluations", judged)):
        for path, content in files:
            refuse_other_name(path, content)
        _require_the_same(runs, flag, [run_of(content) for _, content in files])
        files.sort(key=lambda file: runs.index(run_of(file[1])))
    samples = [run._replace(budget=BASELINES, seed=0) for run in runs]
    samples = list(dict.fromkeys(samples))
    _require_the_same(samples, "--baselines-record", [run_of(rival) for rival in rivals])
    rivals.sort(key=lambda rival: samples.index(run_of(rival)))
    require_replicates([record for _, record in made])
    digests = {file_md5(path): path for path in (*predictions, *baseline_predictions)}
    for (path, record), (_, evaluation) in zip(made, judged, strict=True):
        require_one_training(record, evaluation, path.with_suffix(".ckpt"), digests)
    _require_the_laws_inputs(found, digests)
    return StudyFiles(
        law=found,
        records=[content for _, content in made],
        evaluations=[content for _, content in judged],
        baselines=rivals,
        predictions=_rows(predictions),
        baseline_predictions=_rows(baseline_predictions),
    )


def _rows(paths: Sequence[Path]) -> pd.DataFrame:
    frame = pd.concat([pd.read_parquet(path) for path in paths], ignore_index=True)
    return with_training_days(frame)


def runs_of_law(law: StudyLaw) -> list[Run]:
    """The runs that a law was fitted to, by size, then by number of days, then by seed.

    Runs on the whole block are the ladder, and they stand last among those of their size. A law
    without them is a `UserError`, because the base rate of that block is what skill refers to.
    """
    cells = [(cell, surface.draw) for surface in law.surfaces.values() for cell in surface.cells]
    if cells and all(cell.train_days != WHOLE_BLOCK for cell, _ in cells):
        raise UserError(
            f"{law.experiment}: no size was trained on the whole training block, which the page "
            "needs for its ladder and its base rate; add `all` to train_days in the grid"
        )
    runs = [
        Run(cell.budget, seed, int(cell.train_days), "blocks" if draw == "blocks" else "recent")
        for cell, draw in cells
        if cell.train_days != WHOLE_BLOCK
        for seed in cell.seeds
    ]
    runs += [Run(size.budget, seed) for size in law.ladder.cells for seed in size.seeds]
    sizes = [size.budget for size in law.ladder.cells]
    return sorted(
        runs,
        key=lambda run: (sizes.index(run.budget), run.train_days or inf, run.days, run.seed),
    )


def _fit_again(law: StudyLaw) -> str:
    return f"snakemake --force results/{law.experiment}/scaling_law.json"


def _require_one_study(law: StudyLaw, items: Sequence[Mapping[str, Any]]) -> None:
    """One experiment, one data set, one set of labels."""
    for key in ("experiment", "label_hash", "data_md5", "features_md5"):
        found = {str(item[key]) for item in items}
        if len(found) > 1:
            raise UserError(
                f"the files are not of one study: {key} is {' and '.join(sorted(found))}; give "
                f"files of one experiment, and make old ones again: {_fit_again(law)}"
            )
    if law.experiment != items[0]["experiment"]:
        raise UserError(
            f"--law is of {law.experiment}, the runs are of {items[0]['experiment']}; give "
            "files of one experiment"
        )


def _require_the_same(asked: Sequence[Run], flag: str, given: Sequence[Run]) -> None:
    """One file for each run that the law was fitted to, and no other."""
    twice = {run for run in given if given.count(run) > 1}
    if odd := {*given} ^ {*asked} or twice:
        known = [run for run in (*asked, *given) if run in odd]
        raise UserError(
            f"{flag} and the law do not name the same runs: "
            f"{', '.join(dict.fromkeys(map(words, known)))}; give one file for each run that the "
            "law was fitted to"
        )


def _require_the_laws_inputs(law: StudyLaw, predictions: Mapping[str, Path]) -> None:
    """The very files that the law was fitted to; `predictions` maps MD5s to paths."""
    fitted = set(law.inputs.values())
    for digest, path in predictions.items():
        if digest not in fitted:
            raise UserError(
                f"{path}: the law was not fitted to this file; fit it again: {_fit_again(law)}"
            )


def merged_checks(evaluations: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Each check once: passed if every run passed it, else what the first failing run found.

    If none failed, but it could not be made for some run, it could not be made. `evaluations` have
    a `run` and its `checks`. `runs` in the result names those that failed.
    """
    worse = {True: 0, None: 1, False: 2}
    merged: dict[str, dict[str, Any]] = {}
    for evaluation in evaluations:
        for item in evaluation["checks"]:
            row = merged.setdefault(item["name"], {**item, "runs": []})
            if worse[item["passed"]] > worse[row["passed"]]:
                row |= {**item, "runs": row["runs"]}
            if item["passed"] is False:
                row["runs"].append(evaluation["run"])
    return list(merged.values())
