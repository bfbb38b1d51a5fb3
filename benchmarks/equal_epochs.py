"""The same steps or the same epochs, where some runs have fewer days: both, on validation.

    python benchmarks/equal_epochs.py

On the axis of days every run takes the same number of optimiser steps, so that a run on fewer days
sees each of them more often. The alternative is that each day is seen equally often, so that a run
on fewer days takes fewer steps. This trains both and prints the validation log-loss of each.
Build the features first: snakemake data/processed/v1/SP500_features_a20.parquet
"""

import argparse
import dataclasses
import sys
from pathlib import Path
from statistics import mean

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scaling import config as configs
from scaling.data.dataset import Study, load_study
from scaling.machine.guard import ThermalGuard
from scaling.run import TrainingDays
from scaling.sizes import load_model_config
from scaling.training.trainer import Recipe
from scaling.training.trial import hardware_of, trial

CONFIG = Path("configs/daily/sp500_1pct.yaml")
DAYS = (500, 1000, 2000, 4000)
SEEDS = (1000, 1001)  # no study uses them
MICRO_BATCH = 32


def losses(config: configs.TrainingConfig, study: Study, seeds: tuple[int, ...]) -> list[float]:
    """The validation log-loss of each seed."""
    model = load_model_config(config.param_budget, config.family)
    hardware = hardware_of(config, MICRO_BATCH, threads=1)
    found = []
    with ThermalGuard(config.thermal, hardware.device.type) as guard:
        for seed in seeds:
            outcome = trial(config, study, Recipe(config.optimiser, seed, model), hardware, guard)
            found.append(outcome.validation["log_loss"])
    return found


def main() -> None:
    """Print a row for each number of days."""
    parser = argparse.ArgumentParser(prog="python benchmarks/equal_epochs.py", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--budget", default="200k", help="default: %(default)s")
    budget = parser.parse_args().budget
    print("| days | equal steps | equal epochs | steps' seeds | epochs' seeds |")
    print("|---|---|---|---|---|")
    for days in DAYS:
        config = configs.load_config(CONFIG, budget, days=TrainingDays(days))
        study = load_study(config)
        steps = losses(config, study, SEEDS)
        fewer = dataclasses.replace(study, epoch_windows=len(study.samples["train"]))
        epochs = losses(config, fewer, SEEDS)
        seeds = (" ".join(f"{loss:.4f}" for loss in found) for found in (steps, epochs))
        print(f"| {days:,} | {mean(steps):.4f} | {mean(epochs):.4f} | {' | '.join(seeds)} |")


if __name__ == "__main__":
    main()
