"""The scores of forecasts on both judged blocks, of all markets together and of each alone."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from scaling.data.dataset import Study
from scaling.metrics import fit_recalibration, score

BLOCKS = ("validation", "test")


def scores(study: Study, p: Mapping[str, npt.NDArray[np.float64]]) -> dict[str, Any]:
    """Metrics of forecasts on both blocks, and on test once recalibrated as validation asks.

    `p` maps a block to the forecasts of its samples. Under `assets` stand the scores of each judged
    market where several are. All skill is over the one base rate of the study.
    """
    y, rate = {block: study.labels(block) for block in BLOCKS}, study.train_base_rate
    recalibration = fit_recalibration(y["validation"], p["validation"])
    found: dict[str, Any] = {
        "recalibration": recalibration._asdict(),
        **{block: score(y[block], p[block], rate) for block in BLOCKS},
        "test_recalibrated": score(y["test"], recalibration(p["test"]), rate),
    }
    if len(study.judged) > 1:
        own = {block: study.days(block)["asset"] for block in BLOCKS}
        found["assets"] = {
            name: {
                block: score(y[block][own[block] == name], p[block][own[block] == name], rate)
                for block in BLOCKS
            }
            for name in study.judged
        }
    return found
