"""Choose a budget's learning rate on the validation block, with a seed that no study uses.

python -m scaling.sweep --config configs/daily/threshold_1pct.yaml --param-budget 2m \\
    --batch-size results/daily/threshold_1pct/2m.batch_size.json \\
    --output results/daily/threshold_1pct/2m.sweep.json
"""

import argparse
import dataclasses
from pathlib import Path

from scaling import config as configs
from scaling.digest import code_digest
from scaling.errors import EXIT_STOPPED, UserError, run_command
from scaling.record import micro_batch_of, provenance, write_json

SWEEP_SEED = 1000  # studies count up from 42


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m scaling.sweep", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    add("--config", type=Path, required=True, help="one experiment, configs/daily/*.yaml")
    add("--param-budget", required=True, help="2m, 20m, ...: a file in configs/model")
    add("--seed", type=int, default=SWEEP_SEED, help="default: %(default)s")
    add("--batch-size", type=Path, required=True, help="JSON of find_batch_size")
    add("--threads", type=int, help="CPU threads (default: all)")
    add("--output", type=Path, required=True, help="JSON: every trial, and the best multiplier")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int | None:
    """Try multipliers around the budget's own until the best one has neighbours on both sides."""
    arguments = parse(argv)
    config = configs.load_config(arguments.config, arguments.param_budget, arguments.seed)
    if config.seed == configs.load_config(arguments.config).seed:
        raise UserError(f"--seed {config.seed} is the study's own; give one that no run uses")
    # A trial runs its whole schedule: one that was stopped early would be judged on less.
    whole = dataclasses.replace(config.optimiser, early_stopping_patience=config.optimiser.epochs)
    model = configs.load_model_config(config.param_budget, config.family)

    from scaling.data.dataset import load_study
    from scaling.data.features import verified_data
    from scaling.machine.guard import ThermalGuard
    from scaling.training.sweep import best_of, search
    from scaling.training.trainer import Recipe, Stopped
    from scaling.training.trial import hardware_of, trial

    prices_md5, _ = verified_data(config)
    micro_batch = micro_batch_of(arguments.batch_size, config.optimiser.batch_size)
    hardware = hardware_of(config, micro_batch, arguments.threads)
    study = load_study(config)
    curves: dict[float, list[dict[str, float]]] = {}

    def loss_of(multiplier: float) -> float:
        print(f"{config.param_budget}: learning-rate multiplier {multiplier:g}", flush=True)
        recipe = Recipe(whole, whole.learning_rate * multiplier, config.seed)
        progress = trial(config, model, study, recipe, hardware, guard).progress
        curves[multiplier] = progress.epochs
        return progress.best_log_loss

    try:
        with ThermalGuard(config.thermal, hardware.device.type) as guard:
            losses = search(loss_of, model.learning_rate_multiplier)
    except Stopped as stop:
        print(f"stopped: {stop}; the sweep starts anew next time")
        return EXIT_STOPPED
    best, interior = best_of(losses)
    record = {
        "kind": "sweep",
        "budget": config.param_budget,
        **configs.training_identity(config, model),
        "seed": config.seed,
        "learning_rate": config.optimiser.learning_rate,
        "trials": [
            {"multiplier": m, "val_log_loss": losses[m], "epochs": curves[m]}
            for m in sorted(losses)
        ],
        "best_multiplier": best,
        "interior": interior,
        "data_md5": prices_md5,
        "label_hash": study.label_hash,
        "code_digest": code_digest("sweep", family=config.family),
        **provenance(),
    }
    write_json(arguments.output, record)
    edge = "" if interior else " (at the edge of what was tried: not a minimum yet)"
    print(
        f"made {arguments.output}: best multiplier {best:g}{edge}, validation log-loss "
        f"{losses[best]:.4f}\nnext: set learning_rate_multiplier: {best:g} in "
        f"{configs.model_config_path(config.param_budget, config.family)}"
    )
    return None


if __name__ == "__main__":
    run_command(main)
