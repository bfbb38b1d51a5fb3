"""One trained model judged on validation and test; what does not belong together is refused."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from scaling.data.dataset import Study
from scaling.errors import UserError
from scaling.judging.run_files import run_in
from scaling.judging.scores import BLOCKS, scores
from scaling.machine.device import Precision
from scaling.metrics import log_losses
from scaling.run import Run
from scaling.training import checkpoint
from scaling.training.step import predict

WEIGHTS = {"mean": "weights", "last": "last_weights"}  # name in the predictions: in a checkpoint

Probabilities = dict[tuple[str, str], npt.NDArray[np.float64]]  # by weights and block


class Trained(NamedTuple):
    """One trained network: its file, the content of the checkpoint, the record in it, the run."""

    path: Path
    content: dict[str, Any]
    record: dict[str, Any]
    run: Run


def load_trained(path: Path) -> Trained:
    """Read a trained network's checkpoint.

    Raises `UserError` for a damaged file, for one that holds no finished training, and for one that
    bears another run's name.
    """
    content = checkpoint.load(path)
    missing = {"weights", "normaliser", "record"} - set(content)
    if missing:
        raise UserError(
            f"{path}: holds no {' and no '.join(sorted(missing))}, so it is no trained network; "
            "give the .ckpt of a run, for example results/daily/threshold_1pct/2m.ckpt"
        )
    record = checkpoint.record_of(content)
    return Trained(path, content, record, run_in(record, path))


def refuse_other_normaliser(content: dict[str, Any], study: Study, where: Path) -> None:
    """A checkpoint whose normaliser is not that of the study's training rows is a `UserError`."""
    stored, fitted = content["normaliser"], study.normaliser
    if not all(torch.allclose(stored[name], getattr(fitted, name)) for name in ("mean", "std")):
        raise UserError(
            f"{where}: its normaliser is not that of the training rows; "
            f"train it again: snakemake --force {where}"
        )


def judge(
    model: torch.nn.Module,
    content: dict[str, Any],
    study: Study,
    device: torch.device,
    precision: Precision,
    where: Path,
) -> tuple[Probabilities, dict[str, Any]]:
    """Forecasts of both weights in the checkpoint `content` on both blocks, and their metrics."""
    dataset = study.dataset.to(device)
    p: Probabilities = {}
    metrics: dict[str, Any] = {}
    for weights, key in WEIGHTS.items():
        load_weights(model, content[key], where)
        for block in BLOCKS:
            p[weights, block] = predict(model, dataset, study.samples[block], device, precision)
        metrics[weights] = scores(study, {block: p[weights, block] for block in BLOCKS})
    return p, metrics


def daily_losses(
    study: Study, p: npt.ArrayLike, block: str = "validation"
) -> npt.NDArray[np.float64]:
    """The log-loss of each day of a block, of several markets their mean, from `p` [samples]."""
    losses = pd.Series(log_losses(study.labels(block), p))
    return np.asarray(losses.groupby(study.days(block)["date"]).mean(), float)


def load_weights(model: torch.nn.Module, weights: dict[str, torch.Tensor], where: Path) -> None:
    """Put a checkpoint's weights into the model; weights of another shape are a `UserError`."""
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"{where}: its weights are not those of the model built now ({reason[:200]}); "
            f"train it again: snakemake --force {where}"
        ) from None


def prediction_rows(trained: Trained, study: Study, p: Probabilities) -> pd.DataFrame:
    """One row for each weights, block and day: what names the run, parameters, date, split, y, p.

    `counted_days` and `counted_markets` are how many of both it was trained on.
    """
    known = {
        **trained.run.name.columns(),
        **study.counted,
        "parameters": trained.record["parameters"],
    }
    return pd.concat(
        [
            pd.DataFrame(
                {
                    **known,
                    **study.days(block),
                    "split": block,
                    "weights": weights,
                    "y": study.labels(block),
                    "p": probabilities,
                }
            )
            for (weights, block), probabilities in p.items()
        ],
        ignore_index=True,
    )
