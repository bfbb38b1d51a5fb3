"""Fit the baselines, and judge them on the days that the networks are judged on.

    python -m scaling.judge_baselines --config configs/daily/threshold_1pct.yaml \\
        --data-md5 STAMP --predictions baselines.predictions.parquet --output baselines.json
"""

import argparse
from pathlib import Path

from scaling.config import as_dict, experiment_name, load_config
from scaling.errors import run_command
from scaling.record import code_digest, provenance, write_json, write_parquet


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m scaling.judge_baselines",
        description="Base rate, logistic regression, random forest, gradient boosting.",
    )
    add = parser.add_argument
    add("--config", type=Path, required=True, help="one experiment, configs/daily/*.yaml")
    add("--data-md5", type=Path, help="the stamp of check_data, to be matched")
    add("--predictions", type=Path, required=True, help="parquet: model, date, split, y, p")
    add("--output", type=Path, required=True, help="JSON: settings and metrics of each baseline")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Fit without the test block in memory, then predict validation and test."""
    arguments = _parser().parse_args(argv)
    config = load_config(arguments.config)

    import pandas as pd

    from scaling.data.dataset import load_study
    from scaling.data.features import verified_data
    from scaling.judging.baselines import fit_baselines, last_rows
    from scaling.metrics import fit_recalibration, score

    prices_md5, features_md5 = verified_data(config, arguments.data_md5)
    baselines = fit_baselines(load_study(config))
    study = load_study(config, blocks=("train", "validation", "test"))
    rate = study.train_base_rate
    frames, models = [], {}
    for name, baseline in baselines.items():
        p = {block: baseline.predict(last_rows(study, block)) for block in ("validation", "test")}
        y = {block: study.labels(block) for block in p}
        frames += [
            pd.DataFrame(
                {
                    "model": name,
                    "date": study.dates[study.samples[block]].astype("datetime64[us]"),
                    "split": block,
                    "y": y[block],
                    "p": p[block],
                }
            )
            for block in p
        ]
        recalibration = fit_recalibration(y["validation"], p["validation"])
        models[name] = {
            "settings": baseline.settings,
            "recalibration": recalibration._asdict(),
            "validation": score(y["validation"], p["validation"], rate),
            "test": score(y["test"], p["test"], rate),
            "test_recalibrated": score(y["test"], recalibration(p["test"]), rate),
        }
    write_parquet(arguments.predictions, pd.concat(frames, ignore_index=True))
    record = {
        "kind": "baselines",
        "experiment": experiment_name(arguments.config),
        "config": as_dict(config),
        "data_md5": prices_md5,
        "features_md5": features_md5,
        "label_hash": study.label_hash,
        "train_base_rate": rate,
        "models": models,
        "code_digest": code_digest("judge_baselines"),
        **provenance(),
    }
    write_json(arguments.output, record)
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
