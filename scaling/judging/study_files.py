"""The files of one experiment, read together, and refused where they do not belong together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from scaling.errors import UserError
from scaling.judging.run_files import refuse_other_name, require_one_training, require_replicates
from scaling.record import file_md5, read_json


@dataclass(frozen=True)
class StudyFiles:
    """What the workflow has written about one experiment.

    `records` and `evaluations` stand in one order: the smallest size first, then by seed.
    """

    law: dict[str, Any]
    records: list[dict[str, Any]]
    evaluations: list[dict[str, Any]]
    baselines: dict[str, Any]
    predictions: pd.DataFrame
    """The networks' rows: budget, parameters, seed, date, split, weights, y, p."""
    baseline_predictions: pd.DataFrame
    """The baselines' rows: model, date, split, y, p."""

    @property
    def budgets(self) -> list[str]:
        """The ladder's sizes, smallest first."""
        return [size["budget"] for size in self.law["sizes"]]


def read_study(
    *,
    law: Path,
    records: Sequence[Path],
    evaluations: Sequence[Path],
    predictions: Sequence[Path],
    baselines: Path,
    baseline_predictions: Path,
) -> StudyFiles:
    """Read the files of a study; a mixture of studies or of states of one is a `UserError`."""
    found, rivals = read_json(law), read_json(baselines)
    made = [(path, read_json(path)) for path in records]
    judged = [(path, read_json(path)) for path in evaluations]
    _require_one_study(found, [*(content for _, content in (*made, *judged)), rivals])
    for flag, files in (("--records", made), ("--evaluations", judged)):
        for path, content in files:
            refuse_other_name(path, content)
        _require_the_laws_runs(found, flag, [content for _, content in files])
        order = [size["budget"] for size in found["sizes"]]
        files.sort(key=lambda file: (order.index(file[1]["budget"]), file[1]["seed"]))
    require_replicates([record for _, record in made])
    digests = {file_md5(path): path for path in (*predictions, baseline_predictions)}
    for (path, record), (_, evaluation) in zip(made, judged, strict=True):
        require_one_training(record, evaluation, path.with_suffix(".ckpt"), digests)
    _require_the_laws_inputs(found, digests)
    return StudyFiles(
        law=found,
        records=[content for _, content in made],
        evaluations=[content for _, content in judged],
        baselines=rivals,
        predictions=pd.concat([pd.read_parquet(path) for path in predictions], ignore_index=True),
        baseline_predictions=pd.read_parquet(baseline_predictions),
    )


def _fit_again(law: Mapping[str, Any]) -> str:
    return f"snakemake --force results/{law['experiment']}/scaling_law.json"


def _require_one_study(law: Mapping[str, Any], items: Sequence[Mapping[str, Any]]) -> None:
    """One experiment, one data set, one set of labels."""
    for key in ("experiment", "label_hash", "data_md5", "features_md5"):
        found = {str(item[key]) for item in items}
        if len(found) > 1:
            raise UserError(
                f"the files are not of one study: {key} is {' and '.join(sorted(found))}; give "
                f"files of one experiment, and make old ones again: {_fit_again(law)}"
            )
    if law["experiment"] != items[0]["experiment"]:
        raise UserError(
            f"--law is of {law['experiment']}, the runs are of {items[0]['experiment']}; give "
            "files of one experiment"
        )


def _require_the_laws_runs(
    law: Mapping[str, Any], flag: str, items: Sequence[Mapping[str, Any]]
) -> None:
    """One file for each run that the law was fitted to, and no other."""
    asked = sorted((budget, seed) for budget, seeds in law["seeds"].items() for seed in seeds)
    given = sorted((item["budget"], item["seed"]) for item in items)
    if given != asked:
        odd = sorted({*given} ^ {*asked} or {run for run in given if given.count(run) > 1})
        raise UserError(
            f"{flag} and the law do not name the same runs: "
            f"{', '.join(f'{budget} seed {seed}' for budget, seed in odd)}; give one file for "
            "each run that the law was fitted to"
        )


def _require_the_laws_inputs(law: Mapping[str, Any], predictions: Mapping[str, Path]) -> None:
    """The very files that the law was fitted to; `predictions` maps MD5s to paths."""
    fitted = set(law["inputs"].values())
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
