"""Judge one trained model on validation and test.

    python -m scaling.evaluate --config configs/daily/threshold_1pct.yaml \\
        --checkpoint results/daily/threshold_1pct/2m.ckpt \\
        --predictions 2m.predictions.parquet --output 2m.eval.json
"""

import argparse
import dataclasses
from pathlib import Path

from scaling import identities
from scaling.errors import run_command
from scaling.record import provenance, write_json, write_parquet
from scaling.run import MACHINE, refuse
from scaling.sizes import load_model_config


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m scaling.evaluate",
        description="Judge a trained model on validation and test, mean weights and last weights.",
    )
    add = parser.add_argument
    add("--config", type=Path, required=True, help="the experiment it was trained for")
    add("--checkpoint", type=Path, required=True)
    add("--predictions", type=Path, required=True, help="parquet, one row per day and weights")
    add("--output", type=Path, required=True, help="JSON: metrics, checks, provenance")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Refuse what does not belong together, predict, measure, check, write."""
    arguments = _parser().parse_args(argv)

    from scaling.judging import checks, evaluation
    from scaling.judging.identity import asked_now
    from scaling.judging.run_files import file_digests
    from scaling.judging.scores import BLOCKS

    trained = evaluation.load_trained(arguments.checkpoint)
    config = identities.config_of(arguments.config, trained.run.name)
    again = f"train it again: snakemake --force {arguments.checkpoint}"
    asked = asked_now(arguments.config, trained.run.name)
    refuse(arguments.checkpoint, trained.run.difference(asked, MACHINE), again)

    from scaling.data.dataset import load_study
    from scaling.machine.device import choose_device, choose_precision, device_name, tune
    from scaling.training.model import build_model, count_parameters

    study = load_study(config, blocks=("train", *BLOCKS))
    asked = dataclasses.replace(asked, labels=study.label_hash)
    refuse(arguments.checkpoint, trained.run.difference(asked, MACHINE), again)
    content, record = trained.content, trained.record
    evaluation.refuse_other_normaliser(content, study, arguments.checkpoint)

    device = choose_device(config.device)
    precision = choose_precision(str(trained.run.precision), device)
    tune(device)
    shape = load_model_config(record["budget"], config.family)
    model = build_model(shape, config.window, len(study.feature_names)).to(device)
    record["parameters"] = count_parameters(model)
    p, metrics = evaluation.judge(model, content, study, device, precision, arguments.checkpoint)
    found = [
        *checks.study_checks(study, config),
        *checks.model_checks(
            record,
            (study.labels("validation"), p["mean", "validation"]),
            p["mean", "test"],
            precision,
        ),
    ]
    rows = evaluation.prediction_rows(trained, study, p)
    write_parquet(arguments.predictions, rows, trained.run.as_json())
    content = {
        "kind": "evaluation",
        **trained.run.titles(record["run"]),
        "identity": trained.run.as_json(),
        "made_by": identities.judged_by(config),
        "parameters": record["parameters"],
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
        **file_digests(arguments.checkpoint, arguments.predictions),
        **provenance(),
    }
    write_json(arguments.output, content)
    checks.say_what_did_not_pass(found)
    test = metrics["mean"]["test"]
    print(
        f"made {arguments.predictions} and {arguments.output}: test log-loss "
        f"{test['log_loss']:.4f}, skill {100 * test['log_loss_skill']:.1f} %, "
        f"{sum(item['passed'] is True for item in found)} of {len(found)} checks passed\n"
        f"next: snakemake results/{record['experiment']}/report.html"
    )


if __name__ == "__main__":
    run_command(main)
