"""The report's page: `page.html` filled with the numbers of a study, which its filters format.

The page holds its figures and its style sheet, so that one file is the whole report.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from scaling.config import TaskConfig
from scaling.figures.catalogue import CATALOGUE, FOLDER
from scaling.figures.gallery import Shown, draw
from scaling.figures.surfaces import baselines_shown
from scaling.figures.svg import to_svg
from scaling.judging.study_files import StudyFiles
from scaling.law import baselines
from scaling.law.cells import Cell
from scaling.law.power_law import ASSUMED
from scaling.law.result import StudyLaw
from scaling.law.runs import BASE_RATE
from scaling.law.sentence import rounded
from scaling.law.verdict import EQUIVALENCE
from scaling.metrics import score
from scaling.run import Run

BLOCKS = ("train", "validation", "test")

# --- filters: how the page writes a number ---------------------------------------------------


def number(value: float | None, digits: int = 3) -> str:
    """A number with a true minus sign, or a dash where the rows do not define it."""
    return "–" if value is None else f"{value:.{digits}f}".replace("-", "−")


def percent(value: float | None, digits: int = 1) -> str:
    """A fraction as per cent."""
    return "–" if value is None else f"{number(100 * value, digits)} %"


def span(ends: Sequence[float | None], digits: int = 4, scale: float = 1) -> str:
    """An interval; an end that is None is open."""
    return " to ".join("open" if end is None else number(scale * end, digits) for end in ends)


def thousands(value: float | None) -> str:
    """A whole number with its thousands apart."""
    return "–" if value is None else f"{value:,.0f}"


def chance(p: float) -> str:
    """A p-value."""
    return "< 0.001" if p < 0.001 else number(p)


def power_of_ten(value: float | None) -> str:
    """`1.2 × 10¹⁵`."""
    if value is None:
        return "–"
    mantissa, exponent = f"{value:.1e}".split("e")
    raised = str(int(exponent)).translate(str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻"))
    return f"{mantissa} × 10{raised}"


def duration(seconds: float | None) -> str:
    """Hours, or minutes for less than one hour."""
    if seconds is None:
        return "–"
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds / 60:.1f} min"


def rate(value: float) -> str:
    """A learning rate."""
    return f"{value:.2g}"


def words(name: str) -> str:
    """`logistic_regression` as words."""
    return name.replace("_", " ")


FILTERS = (
    *(number, percent, span, thousands, chance, power_of_ten, duration, rate, words),
    rounded,
)

# --- what the page says ----------------------------------------------------------------------


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def mean_scores(scores: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """Each measure's mean over runs; None where no run defines it."""
    names = [name for name in scores[0] if name != "undefined"]
    return {name: _mean(score[name] for score in scores) for name in names}


def _size_row(size: Cell) -> dict[str, Any]:
    """What the tables of models show of a size, as far as the law knows it."""
    return {
        "name": size.budget,
        "parameters": size.parameters,
        "seeds": len(size.seeds),
        "skill": size.skill,
        "skill_interval": size.skill_interval95,
    }


def _networks(study: StudyFiles) -> list[dict[str, Any]]:
    """One row for each size, smallest first: means over its seeds and folds."""
    rows = []
    for size in study.law.ladder.cells:
        metrics = [e["metrics"] for e in study.evaluations if e["budget"] == size.budget]
        runs = [record for record in study.records if record["budget"] == size.budget]
        rows.append(
            {
                **_size_row(size),
                "without_embeddings": runs[0]["parameters_without_embeddings"],
                "seconds": _mean(run["seconds"] for run in runs),
                "flops": _mean(run["flops"] for run in runs),
                "test": mean_scores([m["mean"]["test"] for m in metrics]),
                "recalibrated": mean_scores([m["mean"]["test_recalibrated"] for m in metrics]),
                "last_skill": _mean(m["last"]["test"]["log_loss_skill"] for m in metrics),
            }
        )
    return rows


def _baselines(study: StudyFiles) -> list[dict[str, Any]]:
    """One row for each baseline, which has neither seeds nor epochs: means over the folds."""
    rows = []
    for name, compared in study.law.best_network.against.items():
        of_folds = [made["models"][name] for made in study.baselines]
        rows.append(
            {
                "skill_interval": None,
                "last_skill": None,
                "name": words(name),
                "skill": compared.skill,
                "test": mean_scores([model["test"] for model in of_folds]),
                "recalibrated": mean_scores([model["test_recalibrated"] for model in of_folds]),
            }
        )
    return rows


def _recipes(study: StudyFiles, sweeps: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """For each sweep its best recipe, and the recipes that the ladder was trained with."""
    rows = []
    for sweep in sweeps:
        records = [record for record in study.records if record["budget"] == sweep["budget"]]
        trained = [Run.of(record, record["run"]) for record in records]
        rows.append(
            {
                "budget": sweep["budget"],
                "best": _recipe(sweep["recipes"][sweep["best"]]),
                "tried": len(sweep["recipes"]) - 1,
                "seeds": len(sweep["seeds"]),
                "own_is_best": sweep["best"] == 0,
                "holds": sweep["holds"],
                "gain": sweep["gain"],
                "interval": sweep["gain_interval"],
                "trained": sorted(
                    {_recipe({**run.settings["optimiser"], **run.model}) for run in trained}
                ),
            }
        )
    return rows


def _recipe(settings: Mapping[str, Any]) -> str:
    """`'learning rate 0.001, weight decay 0.01, 5 epochs, initial deviation 0.02, dropout 0.1'`."""
    return (
        f"learning rate {rate(settings['learning_rate'])}, weight decay "
        f"{rate(settings['weight_decay'])}, {settings['epochs']} epochs, initial deviation "
        f"{rate(settings['initial_deviation'])}, dropout {rate(settings['dropout'])}"
    )


def _provenance(study: StudyFiles) -> list[tuple[str, str]]:
    """Data, labels, code, versions and machines, each with its name."""

    def distinct(key: str, items: Sequence[Mapping[str, Any]] = study.records) -> str:
        return ", ".join(sorted({str(item.get(key)) for item in items}))

    def made_with(key: str) -> str:
        return ", ".join(sorted({str(run.values()[key]) for run in runs}))

    law, runs = study.law, [Run.of(record, record["run"]) for record in study.records]
    settings = runs[0].settings
    made = (law.provenance, *study.records, *study.evaluations)
    changed = " with uncommitted changes" if any(item["git_dirty"] for item in made) else ""
    origins = law.test_days.origins
    splits = {} if origins else settings["splits"]
    return [
        ("experiment", law.experiment),
        ("family of networks", settings["family"]),
        ("question", TaskConfig(**settings["task"]).question()),
        *((block, " to ".join(splits[block])) for block in splits if block in BLOCKS),
        *([("test years of the folds from", ", ".join(map(str, origins)))] if origins else []),
        ("prices, MD5", made_with("prices")),
        ("features, MD5", made_with("features")),
        ("labels, hash", made_with("labels")),
        ("training base rate", percent(law.base_rate, 2)),
        ("runs", ", ".join(record["run"] for record in study.records)),
        ("code, digest of training", made_with("code")),
        ("git commit", distinct("git_commit", made) + changed),
        ("versions, training", " | and ".join(sorted({*map(_versions, study.records)}))),
        ("versions, law", _versions(law.provenance)),
        ("trained on", distinct("device_name")),
        ("precision", made_with("precision")),
        _bootstrap_row(law),
    ]


def _versions(made: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {version}" for name, version in made["versions"].items())


def _bootstrap_row(law: StudyLaw) -> tuple[str, str]:
    """How the intervals were drawn."""
    settings, block = law.settings, law.ladder.parameters.block_length
    said = f"{settings.samples:,} samples, mean block {block} days, seed {settings.seed}"
    return "bootstrap", said


def html_page(
    study: StudyFiles,
    shown: Shown,
    checks: Sequence[Mapping[str, Any]],
    differences: Sequence[str],
    left_out: Sequence[str],
    svg: Mapping[str, str],
) -> str:
    """The whole page; `shown` is the part of the study that was trained on all days.

    `checks` are merged over runs. `differences` has a line for each setting, besides size, in which
    the runs differ. `left_out` has a line for each file that was given and not used.
    `svg` maps the names of the figures that were drawn to `<svg>` elements. Everything but the
    checks and the laws of two axes is about the runs on all training days.
    """
    ladder, laws = shown.study, list(study.law.surfaces.values())
    two_axes = (
        {
            "surfaces": laws,
            "points": laws[0].baselines[BASE_RATE].cells,
            "rivals": baselines_shown(laws[0]),
            "assumed": ASSUMED,
            "more": laws[0].unit,
            "many": {"days": "training days"}.get(laws[0].unit, laws[0].unit),
        }
        if laws
        else {}
    )
    return _render(
        "two_axes.html" if laws else "page.html",
        svg,
        law=study.law,
        networks=_networks(ladder),
        baselines=_baselines(ladder),
        prevalence=_mean(e["metrics"]["mean"]["test"]["prevalence"] for e in ladder.evaluations),
        runs=study.records,
        checks=checks,
        failed=[item for item in checks if item["passed"] is False],
        unchecked=[item for item in checks if item["passed"] is None],
        differences=differences,
        left_out=left_out,
        ageings=shown.ageings,
        sweeps=_recipes(ladder, shown.sweeps),
        markets=shown.markets,
        drift=ladder.evaluations[-1]["drift"],  # of the newest fold
        provenance=_provenance(study),
        **two_axes,
    )


def ladder_page(law: StudyLaw, networks: pd.DataFrame, baselines: pd.DataFrame) -> str:
    """The whole page of somebody else's ladder, of which prediction rows alone are known.

    `law` was fitted to `networks` and `baselines`, which have the columns of
    `scaling.law.prediction_rows.read_rows`.
    """
    rate, made = law.base_rate, law.provenance
    tested = networks[(networks["split"] == "test") & (networks["weights"] == "mean")]
    rivals = baselines[baselines["split"] == "test"]
    figures = draw(Shown(StudyFiles(law, [], [], [], networks, baselines)))
    return _render(
        "ladder.html",
        {name: to_svg(figure, name).element for name, figure in figures.items()},
        law=law,
        networks=[
            {
                **_size_row(size),
                "test": mean_scores(
                    [
                        score(run["y"], run["p"], rate)
                        for _, run in tested[tested["budget"] == size.budget].groupby("seed")
                    ]
                ),
            }
            for size in law.ladder.cells
        ],
        baselines=[
            {
                "name": words(str(name)),
                "skill": law.best_network.against[str(name)].skill,
                "skill_interval": None,
                "test": score(rows["y"], rows["p"], rate),
            }
            for name, rows in rivals.groupby("model", sort=False)
        ],
        **dict.fromkeys(("checks", "failed", "differences", "left_out", "ageings", "markets"), ()),
        provenance=[
            *((f"{path}, MD5", md5) for path, md5 in law.inputs.items()),
            ("horizon", f"{law.settings.horizon} day(s)"),
            ("base rate, as given", f"{law.base_rate:g}"),
            ("git commit", f"{made['git_commit']}{' with changes' if made['git_dirty'] else ''}"),
            ("versions", _versions(made)),
            _bootstrap_row(law),
        ],
    )


def _render(template: str, svg: Mapping[str, str], **values: Any) -> str:
    """A template of this folder, filled; `svg` maps the names of figures to `<svg>` elements."""
    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {written.__name__: written for written in FILTERS}
    return environment.get_template(template).render(
        svg={name: Markup(element) for name, element in svg.items()},
        captions={figure.name: figure.caption for figure in CATALOGUE},
        rules={"baselines": baselines.RULE, "equivalence": EQUIVALENCE},
        **values,
    )
