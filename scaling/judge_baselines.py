"""Fit the baselines, and judge them on the days that the networks are judged on.

    python -m scaling.judge_baselines --config configs/daily/threshold_1pct.yaml \\
        --data-md5 STAMP --predictions baselines.predictions.parquet --output baselines.json
"""

import argparse
from pathlib import Path

from scaling.config import as_dict, load_config
from scaling.digest import code_digest
from scaling.errors import run_command
from scaling.names import experiment_name
from scaling.record import provenance, write_json, write_parquet


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m scaling.judge_baselines",
        description="Base rate, recent rate, volatility models, logistic regression, trees.",
    )
    add = parser.add_argument
    add("--config", type=Path, required=True, help="one experiment, configs/daily/*.yaml")
    add("--train-days", type=int, help="days of the training block to fit to (default: all)")
    add("--days", choices=("recent", "blocks"), help="the last ones, or quarters drawn by the seed")
    add("--data-md5", type=Path, help="the stamp of check_data, to be matched")
    add("--predictions", type=Path, required=True, help="parquet, one row per day and model")
    add("--output", type=Path, required=True, help="JSON: settings and metrics of each baseline")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Fit without the test block in memory, then predict validation and test."""
    arguments = _parser().parse_args(argv)
    config = load_config(
        arguments.config,
        train_days=arguments.train_days,
        days=arguments.days,
    )

    from scaling.data.dataset import load_study
    from scaling.data.features import verified_data
    from scaling.judging.baselines import (
        JUDGED,
        fit_baselines,
        judge,
        volatility_ignores_the_future,
    )
    from scaling.judging.checks import say_what_did_not_pass
    from scaling.law.runs import days_columns

    prices_md5, features_md5 = verified_data(config, arguments.data_md5)
    fitted = fit_baselines(load_study(config), config.task)
    for name, reason in fitted.missing.items():
        print(f"MISSING, {name}: {reason}; the study has no such row")
    study = load_study(config, blocks=("train", *JUDGED))
    found = [volatility_ignores_the_future(study, config.task)]
    predictions, models = judge(fitted.baselines, study, config.task)
    write_parquet(arguments.predictions, predictions.assign(**days_columns(config, study)))
    record = {
        "kind": "baselines",
        "experiment": experiment_name(arguments.config),
        "config": as_dict(config),
        "data_md5": prices_md5,
        "features_md5": features_md5,
        "label_hash": study.label_hash,
        "train_base_rate": study.train_base_rate,
        "models": models,
        "missing": fitted.missing,
        "checks": found,
        "code_digest": code_digest("judge_baselines"),
        **provenance(),
    }
    write_json(arguments.output, record)
    say_what_did_not_pass(found)
    skills = ", ".join(
        f"{name.replace('_', ' ')} {100 * model['test']['log_loss_skill']:.1f} %"
        for name, model in models.items()
    )
    print(
        f"made {arguments.predictions} and {arguments.output}: test log-loss skill {skills}\n"
        f"next: snakemake results/{record['experiment']}/scaling_law.json"
    )


if __name__ == "__main__":
    run_command(main)
