"""The scores of each market alone, in a study that judges several."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from scaling.data.dataset import Study
from scaling.metrics import score


def by_market(
    study: Study,
    y: Mapping[str, npt.NDArray[np.int8]],
    p: Mapping[str, npt.NDArray[np.float64]],
) -> dict[str, Any]:
    """Under `assets` the scores of each judged market; nothing where one market is judged.

    `y` and `p` map a block to the labels and the forecasts of its samples. All skill is over the
    one base rate of the study.
    """
    if len(study.judged) == 1:
        return {}
    of_row = {block: study.days(block)["asset"] for block in y}
    return {
        "assets": {
            name: {
                block: score(
                    y[block][of_row[block] == name],
                    p[block][of_row[block] == name],
                    study.train_base_rate,
                )
                for block in y
            }
            for name in study.judged
        }
    }
