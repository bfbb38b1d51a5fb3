"""How often should each day be passed, where there are fewer of them? Several ways, on validation.

    python benchmarks/passes.py
    python benchmarks/passes.py --config configs/daily/currencies_development.yaml --markets 1 4

A study over days or markets gives each day as many passes, so that a run on fewer days takes fewer
steps. With as many steps, a run on fewer days would see each of them more often. This trains fewer
days, or fewer markets, with more and more passes and prints the validation log-loss of each.
Build the features first: snakemake results/daily/sp500_1pct/data.md5
"""

import dataclasses
from pathlib import Path
from statistics import mean

from common import header, parser, row

from scaling import config as configs
from scaling.data.dataset import load_study
from scaling.machine.guard import ThermalGuard
from scaling.run import TrainingDays
from scaling.sizes import load_model_config
from scaling.training.trainer import Recipe
from scaling.training.trial import hardware_of, trial

CONFIG = Path("configs/daily/sp500_1pct.yaml")
DAYS = (500, 1000, 2000, 4000)
TIMES = (1, 2, 4)  # the config's epochs
SEEDS = (1000, 1001)  # no study uses them
MICRO_BATCH = 32


def losses(config: configs.TrainingConfig, epochs: int) -> list[float]:
    """The validation log-loss of each seed."""
    study, shape = load_study(config), load_model_config(config.param_budget, config.family)
    hardware = hardware_of(config, MICRO_BATCH, threads=1)
    optimiser = dataclasses.replace(config.optimiser, epochs=epochs)
    with ThermalGuard(config.thermal, hardware.device.type) as guard:
        found = [
            trial(config, study, Recipe(optimiser, seed, shape), hardware, guard) for seed in SEEDS
        ]
    return [outcome.validation["log_loss"] for outcome in found]


def main() -> None:
    """Print a row for each number of days or markets, and of passes."""
    arguments = parser(__doc__)
    arguments.add_argument("--config", type=Path, default=CONFIG, help="default: %(default)s")
    arguments.add_argument("--budget", default="200k", help="default: %(default)s")
    arguments.add_argument("--days", type=int, nargs="+", default=DAYS, help="the last ones")
    arguments.add_argument("--markets", type=int, nargs="+", help="instead of days")
    asked = arguments.parse_args()
    header("trained on", "passes", "log-loss", *(f"seed {seed}" for seed in SEEDS))
    for number in asked.markets or asked.days:
        sample = {"markets": number} if asked.markets else {"days": TrainingDays(number)}
        config = configs.load_config(asked.config, asked.budget, **sample)
        config = dataclasses.replace(config, precision="bf16")
        epochs = config.optimiser.epochs
        for passes in (epochs * times for times in TIMES):
            found = losses(config, passes)
            row(number, passes, f"{mean(found):.4f}", *(f"{loss:.4f}" for loss in found))


if __name__ == "__main__":
    main()
