"""Judge one trained model on validation and test: the one command that shows a network test days.

    python -m scaling.evaluate --config configs/daily/threshold_1pct.yaml \\
        --checkpoint results/daily/threshold_1pct/2m.ckpt --data-md5 STAMP \\
        --predictions 2m.predictions.parquet --output 2m.eval.json
"""

import argparse
from pathlib import Path
from typing import Any

from scaling import config as configs
from scaling.errors import UserError, run_command
from scaling.record import code_digest, provenance, write_json, write_parquet

BLOCKS = ("validation", "test")
WEIGHTS = {"best": "weights", "last": "last_weights"}  # as predictions name it: as checkpoints do


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m scaling.evaluate",
        description="Judge one trained model on validation and test, best and last weights.",
    )
    add = parser.add_argument
    add("--config", type=Path, required=True, help="the experiment it was trained for")
    add("--checkpoint", type=Path, required=True)
    add("--data-md5", type=Path, help="the stamp of check_data, to be matched")
    add("--predictions", type=Path, required=True, help="parquet, one row per day and weights")
    add("--output", type=Path, required=True, help="JSON: metrics, checks, provenance")
    return parser


def refuse_other_config(
    record: dict[str, Any], config: configs.TrainingConfig, model: configs.ModelConfig, where: Path
) -> None:
    """A checkpoint trained for another question, period or shape is a `UserError` naming the keys.

    `record` is the run record inside the checkpoint.
    """
    asked = configs.training_identity(config, model)
    trained = {"training": record["config"], "model": record["model"]}
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


def main(argv: list[str] | None = None) -> None:
    """Refuse what does not belong together, predict, measure, check, write."""
    arguments = _parser().parse_args(argv)

    from scaling.judging.run_files import file_digests, refuse_other_name
    from scaling.training import checkpoint

    content = checkpoint.load(arguments.checkpoint)
    record = checkpoint.record_of(content)
    refuse_other_name(arguments.checkpoint, record)
    config = configs.load_config(arguments.config, record["budget"], record["seed"])
    model_config = configs.load_model_config(record["budget"])
    refuse_other_config(record, config, model_config, arguments.checkpoint)

    import pandas as pd
    import torch

    from scaling.data.dataset import load_study
    from scaling.data.features import load_features, verified_data
    from scaling.data.prices import load_prices
    from scaling.judging import checks
    from scaling.machine.device import choose_device, choose_precision, device_name, tune
    from scaling.metrics import fit_recalibration, score
    from scaling.training import trainer
    from scaling.training.model import build_model, count_parameters

    prices_md5, features_md5 = verified_data(config, arguments.data_md5)
    study = load_study(config, blocks=("train", *BLOCKS))
    identity = {
        "data_md5": prices_md5,
        "features_md5": features_md5,
        "label_hash": study.label_hash,
    }
    refuse_other_data(record, identity, arguments.checkpoint)
    stored = content["normaliser"]
    if not all(
        torch.allclose(stored[name], getattr(study.normaliser, name)) for name in ("mean", "std")
    ):
        raise UserError(
            f"{arguments.checkpoint}: its normaliser is not that of the training rows; "
            f"train it again: snakemake --force {arguments.checkpoint}"
        )

    device = choose_device(config.device)
    precision = choose_precision(record["precision"], device)
    tune(device)
    model = build_model(model_config, config.window, len(study.feature_names)).to(device)
    parameters = count_parameters(model)
    dataset = study.dataset.to(device)
    frames = []
    metrics: dict[str, Any] = {}
    p: dict[tuple[str, str], Any] = {}
    y = {block: study.labels(block) for block in BLOCKS}
    for weights, key in WEIGHTS.items():
        try:
            model.load_state_dict(content[key])
        except RuntimeError as error:
            reason = " ".join(str(error).split())
            raise UserError(
                f"{arguments.checkpoint}: its weights are not those of the model built now "
                f"({reason[:200]}); train it again: snakemake --force {arguments.checkpoint}"
            ) from None
        for block in BLOCKS:
            days = study.samples[block]
            p[weights, block] = trainer.predict(model, dataset, days, device, precision)
            frames.append(
                pd.DataFrame(
                    {
                        "budget": record["budget"],
                        "parameters": parameters,
                        "seed": record["seed"],
                        "date": study.dates[days].astype("datetime64[us]"),
                        "split": block,
                        "weights": weights,
                        "y": y[block],
                        "p": p[weights, block],
                    }
                )
            )
        recalibration = fit_recalibration(y["validation"], p[weights, "validation"])
        rate = study.train_base_rate
        metrics[weights] = {
            "recalibration": recalibration._asdict(),
            **{block: score(y[block], p[weights, block], rate) for block in BLOCKS},
            "test_recalibrated": score(y["test"], recalibration(p[weights, "test"]), rate),
        }
    prices, features = load_prices(config.data.prices), load_features(config.data.features)
    found = [
        *checks.study_checks(study, config, prices, features),
        *checks.model_checks(
            {**record, "parameters": parameters},
            (y["validation"], p["best", "validation"]),
            p["best", "test"],
            precision,
        ),
    ]
    write_parquet(arguments.predictions, pd.concat(frames, ignore_index=True))
    evaluation = {
        "kind": "evaluation",
        "experiment": record["experiment"],
        "run": record["run"],
        "budget": record["budget"],
        "parameters": parameters,
        "seed": record["seed"],
        **identity,
        "train_base_rate": study.train_base_rate,
        "metrics": metrics,
        "checks": found,
        "drift": checks.drift_table(
            {block: study.raw_features[days] for block, days in study.samples.items()},
            study.feature_names,
        ),
        "device": device.type,
        "device_name": device_name(device),
        "precision": precision,
        "trained_by": {key: record[key] for key in ("fingerprint", "code_digest", "git_commit")},
        **file_digests(arguments.checkpoint, arguments.predictions),
        "code_digest": code_digest("evaluate"),
        **provenance(),
    }
    write_json(arguments.output, evaluation)
    failed = [item for item in found if not item["passed"]]
    for item in failed:
        print(f"CHECK FAILED, {item['name']}: {item['found']}; allowed: {item['allowed']}")
    test = metrics["best"]["test"]
    print(
        f"made {arguments.predictions} and {arguments.output}: test log-loss "
        f"{test['log_loss']:.4f}, skill {100 * test['log_loss_skill']:.1f} %, "
        f"{len(found) - len(failed)} of {len(found)} checks passed\n"
        f"next: snakemake results/{record['experiment']}/report.html"
    )


if __name__ == "__main__":
    run_command(main)
