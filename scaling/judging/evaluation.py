"""One trained model judged on validation and test; what does not belong together is refused."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from scaling import config as configs
from scaling.data.dataset import Study
from scaling.errors import UserError
from scaling.judging.markets import by_market
from scaling.judging.run_files import refuse_other_name
from scaling.machine.device import Precision
from scaling.metrics import fit_recalibration, score
from scaling.sizes import DEFAULT_FAMILY, ModelConfig
from scaling.training import checkpoint
from scaling.training.step import predict

BLOCKS = ("validation", "test")
WEIGHTS = {"best": "weights", "last": "last_weights"}  # name in the predictions: in a checkpoint

Probabilities = dict[tuple[str, str], npt.NDArray[np.float64]]


class Judged(NamedTuple):
    """Forecasts by (weights, block), and metrics by weights."""

    probabilities: Probabilities
    metrics: dict[str, Any]


def load_trained(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The content of a trained network's checkpoint, and the run record in it.

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
    refuse_other_name(path, record)
    return content, record


def refuse_other_config(
    record: dict[str, Any], config: configs.TrainingConfig, model: ModelConfig, where: Path
) -> None:
    """A checkpoint trained for another question, period or shape is a `UserError` naming the keys.

    `record` is the run record inside the checkpoint.
    """
    asked = configs.training_identity(config, model)
    asked["training"]["family"] = config.family
    # Older records name no family.
    was_asked = {"family": DEFAULT_FAMILY, **record["config"]}
    trained = {"training": was_asked, "model": record["model"]}
    differing = [
        f"{key} {was!r} at training, {value!r} now"
        for part, values in asked.items()
        for key, value in values.items()
        if (was := trained[part].get(key)) != value
    ]
    if differing:
        raise UserError(
            f"{where}: trained with another config: {'; '.join(differing)}; train it again: "
            f"snakemake {where}, or give the config it was trained with"
        )


def refuse_other_data(record: dict[str, Any], found: dict[str, str], where: Path) -> None:
    """A checkpoint whose data or labels are not the study's is a `UserError` naming both."""
    meaning = {
        "data_md5": "trained on other prices: MD5",
        "features_md5": "trained on other features: MD5",
        "label_hash": "trained on other labels or days: hash",
    }
    for key, value in found.items():
        if record.get(key) != value:
            raise UserError(
                f"{where}: {meaning[key]} {record.get(key)}, the study's is {value}; "
                f"train it again: snakemake --force {where}"
            )


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
) -> Judged:
    """Forecasts and metrics of both weights in the checkpoint `content`, on both blocks."""
    dataset = study.dataset.to(device)
    y = {block: study.labels(block) for block in BLOCKS}
    p: Probabilities = {}
    metrics: dict[str, Any] = {}
    for weights, key in WEIGHTS.items():
        load_weights(model, content[key], where)
        for block in BLOCKS:
            p[weights, block] = predict(model, dataset, study.samples[block], device, precision)
        own = {block: p[weights, block] for block in BLOCKS}
        metrics[weights] = measured(y, own, study.train_base_rate) | by_market(study, y, own)
    return Judged(p, metrics)


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


def measured(
    y: dict[str, npt.NDArray[np.int8]], p: dict[str, npt.NDArray[np.float64]], base_rate: float
) -> dict[str, Any]:
    """Metrics of forecasts on both blocks, and on test once recalibrated as validation asks."""
    recalibration = fit_recalibration(y["validation"], p["validation"])
    return {
        "recalibration": recalibration._asdict(),
        **{block: score(y[block], p[block], base_rate) for block in BLOCKS},
        "test_recalibrated": score(y["test"], recalibration(p["test"]), base_rate),
    }


def prediction_rows(record: dict[str, Any], study: Study, p: Probabilities) -> pd.DataFrame:
    """One row per weights, block and day: budget, parameters, seed, date, split, weights, y, p."""
    return pd.concat(
        [
            pd.DataFrame(
                {
                    "budget": record["budget"],
                    "parameters": record["parameters"],
                    "seed": record["seed"],
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
