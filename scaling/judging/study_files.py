"""The files of one experiment, read together, and refused where they do not belong together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from typing import Any

import pandas as pd

from scaling.errors import UserError
from scaling.judging.run_files import name_in, require_one_training, require_replicates, run_in
from scaling.law.result import StudyLaw, read_law
from scaling.law.runs import with_training_days
from scaling.law.table import read_rows
from scaling.record import file_md5, read_json
from scaling.run import BASELINES, MACHINE, NAME, WHOLE_BLOCK, Run, RunName, refuse

# In what the runs of one study may differ. The page says each of these. Folds of a walk have days
# of their own besides.
SAID_ON_THE_PAGE = (
    *NAME,
    *("model", "family", "optimiser", "window"),
    *("code", "device", "precision", "micro_batch", *MACHINE),
)
OF_THE_FOLD = ("splits", "labels", "prices", "features")

File = tuple[Path, dict[str, Any]]


@dataclass(frozen=True)
class StudyFiles:
    """What the workflow has written about one experiment.

    `records` and `evaluations` stand in one order: the smallest size first, then the fewest
    training days or markets, then by seed.
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
            predictions=_rows_on_whole_block(self.predictions),
            baseline_predictions=_rows_on_whole_block(self.baseline_predictions),
        )


def _on_whole_block(files: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [made for made in files if name_in(made).whole]


def _rows_on_whole_block(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[(rows["train_days"] == WHOLE_BLOCK) & (rows["markets"] == 0)]


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
    found = read_law(law)
    fitted = runs_of_law(found)
    again = f"make old ones again: snakemake --force results/{found.experiment}/scaling_law.json"
    made, judged, rivals = (
        [(path, read_json(path)) for path in paths] for paths in (records, evaluations, baselines)
    )
    first = Run.of(made[0][1], made[0][0])
    first_of = {first.name.origin: first}
    for path, content in (*made, *judged, *rivals):
        run = run_in(content, path)
        of_its_fold = first_of.setdefault(run.name.origin, run)
        walks = None not in (run.name.origin, first.name.origin)
        differing = [
            *run.difference(of_its_fold, SAID_ON_THE_PAGE),
            *run.difference(first, (*SAID_ON_THE_PAGE, *(OF_THE_FOLD if walks else ()))),
        ]
        refuse(path, differing, f"give files of one experiment, and {again}")
    samples = [replace(name, budget=BASELINES) for name in fitted]
    made = _in_order(list(fitted), "--records", made)
    judged = _in_order(list(fitted), "--evaluations", judged)
    rivals = _in_order(samples, "--baselines-record", rivals)
    require_replicates([record for _, record in made])
    digests = {file_md5(path): path for path in (*predictions, *baseline_predictions)}
    for (path, record), (_, evaluation) in zip(made, judged, strict=True):
        require_one_training(record, evaluation, path.with_suffix(".ckpt"), digests)
        refuse(law, fitted[name_in(record)].difference(Run.of(record, path)), again)
    _require_the_laws_inputs(found, digests)
    return StudyFiles(
        law=found,
        records=[content for _, content in made],
        evaluations=[content for _, content in judged],
        baselines=[content for _, content in rivals],
        predictions=with_training_days(read_rows(predictions)),
        baseline_predictions=with_training_days(read_rows(baseline_predictions)),
    )


def runs_of_law(law: StudyLaw) -> dict[RunName, Run]:
    """The runs that a law was fitted to, by size, number of days or markets, fold, and seed.

    Runs on the whole block are the ladder, and they stand last among those of their size. A law
    without them is a `UserError`, because the base rate of that block is what skill refers to.
    """
    path = f"results/{law.experiment}/scaling_law.json"
    runs = [Run.of({"identity": content}, path) for content in law.runs]
    if not any(run.name.whole for run in runs):
        raise UserError(
            f"{law.experiment}: no size was trained on the whole training block, which the page "
            "needs for its ladder and its base rate; add `all` to train_days in the grid"
        )
    sizes = [size.budget for size in law.ladder.cells]

    def place(name: RunName) -> tuple[int, float, str, int, int]:
        number = float(name.markets or inf)
        if not name.days.whole:
            number = float(name.days.train_days)
        return sizes.index(name.budget), number, name.days.draw, name.origin or 0, name.seed

    return {run.name: run for run in sorted(runs, key=lambda run: place(run.name))}


def _in_order(runs: Sequence[RunName], flag: str, files: Sequence[File]) -> list[File]:
    """The files in the order of their runs: one for each run of the law, and no other."""
    asked = list(dict.fromkeys(map(_without_seed, runs)))
    given = [_without_seed(name_in(content)) for _, content in files]
    twice = {run for run in given if given.count(run) > 1}
    if odd := {*given} ^ {*asked} or twice:
        known = [run for run in (*asked, *given) if run in odd]
        raise UserError(
            f"{flag} and the law do not name the same runs: "
            f"{', '.join(dict.fromkeys(map(str, known)))}; give one file for each run that the "
            "law was fitted to"
        )
    return sorted(files, key=lambda file: asked.index(_without_seed(name_in(file[1]))))


def _without_seed(name: RunName) -> RunName:
    """The name of a run; the baselines of some days are the same for all seeds."""
    return replace(name, seed=0) if name.budget == BASELINES else name


def _require_the_laws_inputs(law: StudyLaw, predictions: Mapping[str, Path]) -> None:
    """The very files that the law was fitted to; `predictions` maps MD5s to paths."""
    fitted = set(law.inputs.values())
    for digest, path in predictions.items():
        if digest not in fitted:
            raise UserError(
                f"{path}: the law was not fitted to this file; fit it again: snakemake --force "
                f"results/{law.experiment}/scaling_law.json"
            )


def merged_checks(evaluations: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Each check once: passed if every run passed it, else what the first failing run found.

    If none failed, but it could not be made for some run, it could not be made. Evaluations, and
    records of baselines, have a `run` and its `checks`. `runs` in the result names those that
    failed.
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
