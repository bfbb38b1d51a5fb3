"""Fit the baselines, and judge them on the days that the networks are judged on.

    python -m scaling.judge_baselines --config configs/daily/threshold_1pct.yaml \\
        --predictions baselines.predictions.parquet --output baselines.json
"""

import argparse
from dataclasses import replace
from pathlib import Path

from scaling import identities
from scaling.errors import run_command
from scaling.names import experiment_name
from scaling.record import provenance, write_json, write_parquet
from scaling.run import sample_flags, sample_of


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m scaling.judge_baselines",
        description="Base rate, recent rate, volatility models, logistic regression, trees.",
    )
    add = parser.add_argument
    add("--config", type=Path, required=True, help="one experiment, configs/daily/*.yaml")
    sample_flags(parser)
    add("--predictions", type=Path, required=True, help="parquet, one row per day and model")
    add("--output", type=Path, required=True, help="JSON: settings and metrics of each baseline")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Fit without the test block in memory, then predict validation and test."""
    arguments = _parser().parse_args(argv)
    config = identities.load_run(arguments.config, **sample_of(arguments))
    run = identities.baselines_run(config, experiment_name(arguments.config))

    from scaling.data.dataset import load_study
    from scaling.data.features import verified_data
    from scaling.judging.baselines import fit_baselines, judge, volatility_ignores_the_future
    from scaling.judging.checks import say_what_did_not_pass
    from scaling.judging.scores import BLOCKS

    prices, features = verified_data(config)
    fitted = fit_baselines(load_study(config), config.task)
    for name, reason in fitted.missing.items():
        print(f"MISSING, {name}: {reason}; the study has no such row")
    study = load_study(config, blocks=("train", *BLOCKS))
    found = [volatility_ignores_the_future(study, config.task)]
    predictions, models = judge(fitted.baselines, study, config.task, run.name)
    run = replace(run, prices=prices, features=features, labels=study.label_hash)
    write_parquet(arguments.predictions, predictions, run.as_json())
    record = {
        "kind": "baselines",
        **run.titles(run.name.written(own_seed=run.name.seed)),
        "identity": run.as_json(),
        "train_base_rate": study.train_base_rate,
        "models": models,
        "missing": fitted.missing,
        "checks": found,
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
