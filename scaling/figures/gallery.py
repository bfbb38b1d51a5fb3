"""All figures of one study, drawn from its files."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from scaling.figures import plots, surfaces
from scaling.judging.checks import LARGEST_SHIFT
from scaling.judging.study_files import StudyFiles
from scaling.metrics import log_loss
from scaling.run import Draw


def draw(study: StudyFiles, sweeps: Sequence[Mapping[str, Any]]) -> dict[str, Figure]:
    """Every figure of `page.FIGURES` by name, and those of `page.OPTIONAL` that the study has.

    The ladder and its diagnostics show the networks that were trained on all days.
    """
    ladder = study.ladder
    drawn = draw_forecasts(study.law, ladder.predictions, ladder.baseline_predictions) | {
        "compute": plots.compute(_losses(ladder)),
        "learning_curves": plots.learning_curves(ladder.records),
        "drift": plots.drift(ladder.evaluations[0]["drift"], LARGEST_SHIFT),
    }
    if sweeps:
        drawn["sweeps"] = plots.sweeps(sweeps)
    return drawn | draw_surfaces(study.law.get("two_axes", {}))


def draw_surfaces(laws: Mapping[Draw, Mapping[str, Any]]) -> dict[str, Figure]:
    """The figures of two axes. The first way to draw the days has them, all have the last one."""
    if not laws:
        return {}
    first = next(iter(laws.values()))
    drawn = {
        "two_axes": surfaces.loss_against_days(first),
        "loss_by_size": surfaces.loss_against_size(first),
        "skill_map": surfaces.skill_map(first),
    }
    if any(cell["ensemble"] for cell in first["cells"]):
        drawn["ensembles"] = surfaces.ensembles(first)
    return drawn | ({"draws": surfaces.draws(laws)} if len(laws) > 1 else {})


def draw_forecasts(
    law: Mapping[str, Any], predictions: pd.DataFrame, baseline_predictions: pd.DataFrame
) -> dict[str, Figure]:
    """The figures that need no more than a law and the prediction rows that it was fitted to."""
    networks = _test_forecasts(predictions[predictions["weights"] == "best"], "budget")
    baselines = _test_forecasts(baseline_predictions, "model")
    best, against = law["best_network"]["budget"], law["best_network"]["against"]
    strongest = max(against, key=lambda name: against[name]["skill"])
    rival = baselines[strongest]
    base_loss = log_loss(rival["y"], [law["base_rate"]] * len(rival))
    ordered = {size["budget"]: networks[size["budget"]] for size in law["sizes"]}
    return {
        "ladder": plots.ladder(
            law["sizes"], base_loss, {name: row["skill"] for name, row in against.items()}
        ),
        "reliability": plots.reliability_diagram(
            {
                best: (networks[best]["y"], networks[best]["p"]),
                strongest: (rival["y"], rival["p"]),
            }
        ),
        "skill_by_year": plots.skill_by_year({**ordered, strongest: rival}, law["base_rate"]),
    }


def _test_forecasts(rows: pd.DataFrame, name: str) -> dict[str, pd.DataFrame]:
    """Rows of date, y, p on the test days for each `name`; of several seeds, their mean."""
    keys = [key for key in ("date", "asset") if key in rows]  # several markets have an asset
    return {
        str(model): own.groupby(keys, as_index=False).agg(y=("y", "first"), p=("p", "mean"))
        for model, own in rows[rows["split"] == "test"].groupby(name, sort=False)
    }


def _losses(study: StudyFiles) -> pd.DataFrame:
    """One row for each run: budget, flops, test log_loss."""
    return pd.DataFrame(
        [
            {
                "budget": record["budget"],
                "flops": record["flops"],
                "log_loss": evaluation["metrics"]["best"]["test"]["log_loss"],
            }
            for record, evaluation in zip(study.records, study.evaluations, strict=True)
        ]
    )
