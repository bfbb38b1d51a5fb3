"""The figures of a study that a page may cite: one small file, and its tables in Markdown.

No file is believed: the study is read and refused as the report reads and refuses it.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean, median
from typing import Any

from scaling import config as configs
from scaling.errors import UserError
from scaling.grid import GridConfig
from scaling.judging.agreement import require_agreement
from scaling.judging.identity import refuse_outdated
from scaling.judging.run_files import name_in
from scaling.judging.study_files import StudyFiles, read_study, runs_of_law
from scaling.law.cells import Score
from scaling.law.effects import Effect
from scaling.law.judged_markets import Markets, markets_of
from scaling.law.result import Law, StudyLaw, law_from, read_law
from scaling.law.runs import BASE_RATE
from scaling.names import experiment_path
from scaling.record import read_json
from scaling.run import BASELINES, WHOLE_BLOCK, Run, RunName
from scaling.tracking.local import SUFFIX, read_lines

MADE_BY = ("code", "git_commit", "device_name", "threads", "precision")

Row = list[str]


@dataclass(frozen=True)
class Summary:
    """What a page may cite of a study."""

    command: str
    """What builds the study."""
    experiment: str
    finished: str
    """The day on which its last training ended."""
    training_minutes: float
    trained: dict[str, list[Any]]
    """What the trainings were made by: code, commit, device, threads, precision."""
    checks: dict[str, int]
    """How many were `made`, and how many `passed`."""
    runs: list[dict[str, Any]]
    baselines: dict[str, dict[str, float]]
    """The scores of each, fitted to all training days."""
    law: StudyLaw
    markets: Markets | None = None
    """Each judged market of the ladder, where several are judged."""
    kind: str = "summary"


def read_summary(path: Path) -> Summary:
    """Read a published summary. Raises `UserError` for one of other code."""
    from pydantic import TypeAdapter, ValidationError

    content = read_json(path)
    try:
        markets = TypeAdapter(Markets | None).validate_python(content.get("markets"))
        return Summary(**{**content, "law": law_from(content["law"]), "markets": markets})
    except (KeyError, TypeError, ValidationError, UserError) as error:
        found = f"{path}: no summary of a study, or one of other code ({error})"
        raise UserError(f"{found}; publish it again") from None


def summarise(grid: GridConfig, path: Path, results: Path) -> Summary:
    """The law, the runs, the baselines and the checks of a grid's only experiment.

    `path` is the grid's file, and `results` the folder that holds the experiment's results. Raises
    UserError for a grid of several experiments, and for a study that the report would refuse.
    """
    if len(grid.experiments) > 1:
        raise UserError(
            f"{path}: has the experiments {', '.join(grid.experiments)}; allowed: one experiment"
        )
    (experiment,) = grid.experiments
    config = configs.load_config(experiment_path(experiment))
    runs, folder = grid.runs_of(config), results / experiment
    study = _read_runs(path, runs, config.seed, folder)
    refuse_outdated(
        [Run.of(record, record["run"]) for record in study.records], experiment_path(experiment)
    )
    require_agreement(study)
    if (count := study.law.settings.experiments) != 1:
        raise UserError(
            f"{folder}/scaling_law.json: was adjusted for {count} experiments, and {path} has one; "
            f"fit the law again: snakemake --configfile {path}"
        )
    made = sorted(
        zip(study.records, study.evaluations, strict=True),
        key=lambda files: runs.index(name_in(files[0])),
    )
    known = [record | Run.of(record, record["run"]).values() for record in study.records]
    ends = [_end_of_training(folder / f"{record['run']}{SUFFIX}") for record, _ in made]
    judged = (*(evaluation for _, evaluation in made), *study.baselines)
    checks = [check["passed"] for file in judged for check in file["checks"]]
    return Summary(
        command=f"snakemake --configfile {path}",
        experiment=experiment,
        finished=datetime.fromtimestamp(max(ends), UTC).date().isoformat(),
        training_minutes=sum(record["seconds"] for record, _ in made) / 60,
        trained={key: sorted({run[key] for run in known}) for key in MADE_BY},
        checks={"made": len(checks), "passed": checks.count(True)},
        runs=[_run_row(run, *files) for run, files in zip(runs, made, strict=True)],
        baselines=_baselines(study),
        law=_published(study.law),
        markets=markets_of(study.ladder.predictions, study.ladder.baseline_predictions),
    )


def _baselines(study: StudyFiles) -> dict[str, dict[str, float]]:
    """The scores of each baseline on all training days; of several folds the means.

    Its skill is over all test days together, as the networks' is.
    """
    found = {}
    for name, compared in study.law.best_network.against.items():
        of_folds = [_scores(made["models"][name]) for made in study.ladder.baselines]
        means = {key: fmean(scores[key] for scores in of_folds) for key in of_folds[0]}
        found[name] = {**means, "test_skill": compared.skill}
    return found


def _published(law: StudyLaw) -> StudyLaw:
    """The law without what says of which files and with which versions it was made."""
    commit = {"git_commit": law.provenance["git_commit"]}
    return replace(law, runs=[], inputs={}, made_by={}, provenance=commit)


def _read_runs(path: Path, asked: Sequence[RunName], own_seed: int, folder: Path) -> StudyFiles:
    """The files of the runs that the grid at `path` has asked for."""
    law = folder / "scaling_law.json"
    if odd := {*asked} ^ {*runs_of_law(read_law(law))}:
        raise UserError(
            f"{law} and {path} do not name the same runs: {', '.join(sorted(map(str, odd)))}; "
            f"fit the law again: snakemake --configfile {path}"
        )
    runs = [run.written(own_seed) for run in asked]
    samples = [replace(run, budget=BASELINES, seed=0) for run in asked]
    rivals = dict.fromkeys(sample.written(own_seed=0) for sample in samples)

    def files(names: Iterable[str], suffix: str) -> list[Path]:
        return [folder / f"{name}.{suffix}" for name in names]

    return read_study(
        law=law,
        records=files(runs, "json"),
        evaluations=files(runs, "eval.json"),
        predictions=files(runs, "predictions.parquet"),
        baselines=files(rivals, "json"),
        baseline_predictions=files(rivals, "predictions.parquet"),
    )


def _end_of_training(local_record: Path) -> float:
    """In seconds since 1970. UserError if the local record does not tell it."""
    lines = read_lines(local_record)
    if not lines or "ending" not in lines[-1]:
        raise UserError(
            f"{local_record}: does not say when the training ended, and a summary has the day; "
            "copy it from where the run was trained"
        )
    return float(lines[-1]["ending"]["time"])


def _run_row(
    run: RunName, record: Mapping[str, Any], evaluation: Mapping[str, Any]
) -> dict[str, Any]:
    counted = ("parameters", "parameters_without_embeddings", "flops", "seconds")
    return {
        "run": record["run"],
        **run.columns(),
        **{key: record[key] for key in counted},
        **_scores(evaluation["metrics"]["mean"]),
    }


def _scores(model: Mapping[str, Any]) -> dict[str, float]:
    return {
        "validation_skill": model["validation"]["log_loss_skill"],
        "test_skill": model["test"]["log_loss_skill"],
        "test_auc": model["test"]["auc"],
    }


# --- Markdown --------------------------------------------------------------------------------


def tables(summary: Summary) -> list[list[Row]]:
    """The tables of a summary, each with its head: the ladder, surfaces, folds, markets, slopes."""
    law = summary.law
    return [
        [*_ladder_table(summary)],
        *([*_surface_table(surface)] for surface in law.surfaces.values()),
        *([[*_fold_table(law)]] if law.test_days.origins else []),
        *([[*_market_table(summary.markets)]] if summary.markets else []),
        [*_slope_table(law)],
    ]


def markdown(table: Sequence[Row]) -> str:
    """A table as the lines of a page."""
    head, *rows = (re.sub(" +", " ", f"| {' | '.join(row)} |") for row in table)
    return "\n".join([head, "|---" * len(table[0]) + "|", *rows])


def _ladder_table(summary: Summary) -> Iterator[Row]:
    yield [
        *("budget", "parameters", "PFLOP", "seconds", "validation skill by seed, %"),
        *("test skill (95 % interval), %", "test AUC"),
    ]
    for size in summary.law.ladder.cells:
        runs = [
            run
            for run in summary.runs
            if run["budget"] == size.budget
            and (run["train_days"], run.get("markets")) == (WHOLE_BLOCK, None)
        ]
        by_seed: dict[int, list[float]] = {}
        for run in runs:
            by_seed.setdefault(run["seed"], []).append(run["validation_skill"])
        yield [
            label(size.budget),
            f"{size.parameters:,}",
            f"{runs[0]['flops'] / 1e15:.3g}",
            f"{median(run['seconds'] for run in runs):,.0f}",
            ", ".join(percent(fmean(own)) for own in by_seed.values()),
            _skill(size),
            f"{fmean(run['test_auc'] for run in runs):.3f}",
        ]
    for name, scores in summary.baselines.items():
        if name != BASE_RATE:
            shown = [percent(scores[key]) for key in ("validation_skill", "test_skill")]
            yield [name.replace("_", " "), "", "", "", *shown, f"{scores['test_auc']:.3f}"]


def _surface_table(surface: Law) -> Iterator[Row]:
    """Test skill of each size and baseline at each number of training days or markets."""
    rows: dict[str, list[str]] = {}
    for cell in surface.cells:
        rows.setdefault(cell.budget, []).append(_skill(cell))
    days = f"training days ({surface.draw})" if surface.unit == "days" else "markets"
    head = f"test skill, %, by {days}"
    yield [head, *dict.fromkeys(cell.train_days for cell in surface.cells)]
    for budget, skills in rows.items():
        yield [label(budget), *skills]
    for name, baseline in surface.baselines.items():
        yield [name.replace("_", " "), *map(_skill, baseline.cells)]


def _fold_table(law: StudyLaw) -> Iterator[Row]:
    """The slope over sizes in each fold of a walk forward."""
    yield ["test years from", "test days", "positive", "slope (95 % interval), nats a decade"]
    for fold in law.ladder.parameters.folds:
        low, high = fold.interval95
        slope = f"{fold.slope:+.4f} ({low:+.4f} to {high:+.4f})"
        yield [str(fold.origin), str(fold.days), f"{fold.positives:g}", slope]


def _market_table(markets: Markets) -> Iterator[Row]:
    """The test skill of each size and each baseline in each market."""
    first = next(iter(markets.rows.values()))
    names = [*map(label, first.skill), *(name.replace("_", " ") for name in first.baselines)]
    yield ["test skill, %", "test days", "positive, %", *names]
    for name, row in markets.rows.items():
        skills = [*map(fmean, row.skill.values()), *row.baselines.values()]
        yield [name, f"{row.days:,}", percent(row.positives / row.days), *map(percent, skills)]


def _slope_table(law: StudyLaw) -> Iterator[Row]:
    yield ["axis", "slope (95 % interval), nats a decade", "verdict"]
    yield ["parameters", _slope(law.ladder.parameters.slope), law.ladder.parameters.verdict]
    for draw, surface in law.surfaces.items():
        yield [f"parameters ({draw})", _slope(surface.parameters.slope), surface.parameters.verdict]
        name = f"{surface.unit} ({draw})" if surface.unit == "days" else surface.unit
        yield [name, _slope(surface.samples.slope), surface.samples.verdict]
        if surface.interaction:
            yield [f"both ({draw})", _slope(surface.interaction), ""]


def label(budget: str) -> str:
    """A budget as a page writes it: `200k`, `2M`, `2B`."""
    return budget.replace("m", "M").replace("b", "B")


def percent(value: float) -> str:
    """A fraction in per cent, without the sign: `17.5`."""
    return f"{100 * value:.1f}"


def _skill(score: Score) -> str:
    low, high = score.skill_interval95
    return f"{percent(score.skill)} ({percent(low)} to {percent(high)})"


def _slope(slope: Effect) -> str:
    low, high = slope.interval95
    return f"{slope.estimate:+.4f} ({low:+.4f} to {high:+.4f})"
