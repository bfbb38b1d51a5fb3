"""What a study's networks know beyond volatility, and what that would have earned."""

from dataclasses import replace

import pandas as pd

from scaling.config import EarningsConfig, TaskConfig
from scaling.law.direction import OUTCOMES, NotMeasured, forecasts_of, measure_direction
from scaling.law.earnings import measure_earnings
from scaling.law.result import StudyLaw
from scaling.law.runs import with_training_days


def with_what_is_beyond_volatility(
    law: StudyLaw,
    networks: pd.DataFrame,
    baselines: pd.DataFrame,
    task: TaskConfig,
    earnings: EarningsConfig,
) -> StudyLaw:
    """The law with `direction` and `earnings` of its ladder, or the reason why it has none.

    `networks` and `baselines` are the prediction rows that the law was fitted to.
    """
    if not {*OUTCOMES} <= {*baselines}:
        unknown = "the rows of the baselines do not say what the close did afterwards"
        return replace(law, direction=NotMeasured(unknown), earnings=NotMeasured(unknown))
    samples, best = law.settings.samples, law.best_network.budget
    forecasts = forecasts_of(*(_of_the_ladder(law, rows) for rows in (networks, baselines)))
    return replace(
        law,
        direction=measure_direction(forecasts, task, samples=samples),
        earnings=measure_earnings(forecasts, best, task, earnings, samples=samples),
    )


def _of_the_ladder(law: StudyLaw, rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of models that saw the training days and the markets of the ladder."""
    asked = law.ladder.cells[0].train_days
    rows = with_training_days(rows)
    rows = rows[rows["markets"] == 0]
    return rows[(rows["train_days"] == asked) & (rows["draw"] == law.ladder.draw)]
