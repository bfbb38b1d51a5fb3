"""Other recipes of a size than its own, several seeds each, on validation.

    python benchmarks/recipe.py --budget 200k
    python benchmarks/recipe.py --budget 20m --rate 2 --decay 10 --seeds 1001

One seed cannot tell two recipes apart that differ by less than 0.003 nats, and a sweep has but one
(docs/experiments.md). This asks whether another learning rate is better, or a decay that really
shrinks the weights, and gives each recipe the same seeds, which no study uses. `logit moved` is how
far one Adam step at the highest rate can move the logit of the fresh network.
Build the features first: snakemake data/processed/v1/SPY_features_a20.parquet
"""

import argparse
import dataclasses
import math
import sys
from pathlib import Path
from statistics import mean

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from scaling import config as configs
from scaling.data.dataset import Study, load_study
from scaling.machine.guard import ThermalGuard
from scaling.sizes import OptimiserConfig, load_model_config
from scaling.training.recipe import Recipe, recipe_of
from scaling.training.run import fresh_model
from scaling.training.step import learning_rate
from scaling.training.trial import hardware_of, trial

CONFIG = Path("configs/daily/threshold_1pct.yaml")
MICRO_BATCH = 32


def recipes(own: OptimiserConfig, rates: list[float], decays: list[float]) -> list[OptimiserConfig]:
    """The size's own recipe, then each with another rate, then each with another decay."""
    others = [dataclasses.replace(own, learning_rate=own.learning_rate * x) for x in rates]
    return [own, *others, *(dataclasses.replace(own, weight_decay=decay) for decay in decays)]


def weights_kept(recipe: OptimiserConfig, steps: int) -> float:
    """The share of a weight that decay alone leaves after a whole training."""
    rates = (
        learning_rate(step, steps, recipe.learning_rate, recipe.warmup_fraction)
        for step in range(steps)
    )
    return math.prod(1 - rate * recipe.weight_decay for rate in rates)


def logit_moved(model: torch.nn.Module, study: Study) -> float:
    """How far one Adam step can move the logit, for each unit of the learning rate.

    Adam's first step moves every weight by the rate, whichever way its gradient points. So the mean
    logit of a batch moves by the rate times the L1 norm of its gradient.
    """
    every = study.samples["train"]
    days = torch.from_numpy(every[:: len(every) // MICRO_BATCH].copy())
    model.eval()(study.dataset.batch(days)[0]).mean().backward()
    return sum(float(p.grad.abs().sum()) for p in model.parameters() if p.grad is not None)


def main() -> None:
    """Print a row for each recipe as soon as it is trained."""
    parser = argparse.ArgumentParser(prog="python benchmarks/recipe.py", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    add("--budget", default="200k", help="default: %(default)s")
    add("--rate", type=float, nargs="*", default=[0.5, 2.0], help="times the size's own")
    add("--decay", type=float, nargs="*", default=[1.0, 10.0], help="of 10 at most")
    add("--seeds", type=int, nargs="+", default=[1001, 1002, 1003], help="default: %(default)s")
    arguments = parser.parse_args()
    config = configs.load_config(CONFIG, arguments.budget)
    model = load_model_config(config.param_budget, config.family)
    study, hardware = load_study(config), hardware_of(config, MICRO_BATCH, threads=1)
    own = recipe_of(config, model).optimiser
    steps = own.epochs * math.ceil(study.epoch_windows / own.batch_size)
    moved = logit_moved(fresh_model(config, model, study, arguments.seeds[0]), study)
    losses: list[list[float]] = []
    print(
        "| budget | rate | logit moved | decay | weights kept | log-loss | minus its own, by seed |"
    )
    print("|---|---|---|---|---|---|---|", flush=True)
    with ThermalGuard(config.thermal, hardware.device.type) as guard:
        for asked in recipes(own, arguments.rate, arguments.decay):
            losses.append([])
            for seed in arguments.seeds:
                recipe = Recipe(asked, seed)
                outcome = trial(config, model, study, recipe, hardware, guard)
                losses[-1].append(outcome.progress.best_log_loss)
            gaps = ", ".join(f"{a - b:+.4f}" for a, b in zip(losses[-1], losses[0], strict=True))
            print(
                f"| {config.param_budget} | {asked.learning_rate:.3g} | "
                f"{asked.learning_rate * moved:.1f} | {asked.weight_decay:g} | "
                f"{100 * weights_kept(asked, steps):.0f} % | {mean(losses[-1]):.4f} | {gaps} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
