"""All figures of one study, drawn from its files."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from scaling.figures import plots
from scaling.judging.checks import LARGEST_SHIFT
from scaling.judging.study_files import StudyFiles
from scaling.metrics import log_loss


def draw(study: StudyFiles, sweeps: Sequence[Mapping[str, Any]]) -> dict[str, Figure]:
    """Every figure of `page.FIGURES` by name, and "sweeps" where there are any."""
    law = study.law
    networks, baselines = _test_forecasts(study)
    best, against = law["best_network"]["budget"], law["best_network"]["against"]
    strongest = max(against, key=lambda name: against[name]["skill"])
    rival = baselines[strongest]
    base_loss = log_loss(rival["y"], [law["base_rate"]] * len(rival))
    drawn = {
        "ladder": plots.ladder(
            law["sizes"], base_loss, {name: row["skill"] for name, row in against.items()}
        ),
        "compute": plots.compute(_losses(study)),
        "learning_curves": plots.learning_curves(study.records),
        "reliability": plots.reliability_diagram(
            {
                best: (networks[best]["y"], networks[best]["p"]),
                strongest: (rival["y"], rival["p"]),
            }
        ),
        "skill_by_year": plots.skill_by_year({**networks, strongest: rival}, law["base_rate"]),
        "drift": plots.drift(study.evaluations[0]["drift"], LARGEST_SHIFT),
    }
    return drawn | ({"sweeps": plots.sweeps(sweeps)} if sweeps else {})


def _test_forecasts(
    study: StudyFiles,
) -> tuple[dict[str, pd.DataFrame], dict[str, pd.DataFrame]]:
    """Rows of date, y, p on the test days: of each size, the mean over seeds; of each baseline."""
    networks = study.predictions
    networks = networks[(networks["weights"] == "best") & (networks["split"] == "test")]
    baselines = study.baseline_predictions
    baselines = baselines[baselines["split"] == "test"]
    return {
        budget: networks[networks["budget"] == budget]
        .groupby("date", as_index=False)
        .agg(y=("y", "first"), p=("p", "mean"))
        for budget in study.budgets
    }, {str(name): rows for name, rows in baselines.groupby("model", sort=False)}


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
