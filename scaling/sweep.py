"""Choose a size's recipe on the validation block, with a seed that no study uses.

python -m scaling.sweep --config configs/daily/threshold_1pct.yaml --param-budget 2m \\
    --batch-size results/daily/threshold_1pct/2m.batch_size.json \\
    --output results/daily/threshold_1pct/2m.sweep.json
"""

import argparse
import dataclasses
import math
from pathlib import Path
from typing import Any

from scaling import config as configs
from scaling.digest import code_digest
from scaling.errors import EXIT_STOPPED, UserError, run_command
from scaling.record import micro_batch_of, provenance, write_json

SWEEP_SEED = 1000  # studies count up from 42
SWEPT = ("learning_rate", "weight_decay", "epochs")


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m scaling.sweep", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    add("--config", type=Path, required=True, help="one experiment, configs/daily/*.yaml")
    add("--param-budget", required=True, help="2m, 20m, ...: a file in configs/model")
    add("--seed", type=int, default=SWEEP_SEED, help="default: %(default)s")
    add("--train-days", type=int, help="train on so many days (default: all)")
    add("--days", help="recent (default) or blocks: how those days are drawn")
    add("--batch-size", type=Path, required=True, help="JSON of find_batch_size")
    add("--threads", type=int, help="CPU threads (default: all)")
    add("--output", type=Path, required=True, help="JSON: every trial, and the best multipliers")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int | None:
    """Walk from the budget's own recipe until the best one has worse neighbours on all sides."""
    arguments = parse(argv)
    config = configs.load_config(
        *(arguments.config, arguments.param_budget, arguments.seed),
        *(arguments.train_days, arguments.days),
    )
    if config.seed == configs.load_config(arguments.config).seed:
        raise UserError(f"--seed {config.seed} is the study's own; give one that no run uses")
    model = configs.load_model_config(config.param_budget, config.family)

    from scaling.data.dataset import load_study
    from scaling.data.features import verified_data
    from scaling.machine.guard import ThermalGuard
    from scaling.training import sweep
    from scaling.training.trainer import Recipe, Stopped
    from scaling.training.trial import hardware_of, trial

    prices_md5, _ = verified_data(config)
    micro_batch = micro_batch_of(arguments.batch_size, config.optimiser.batch_size)
    hardware = hardware_of(config, micro_batch, arguments.threads)
    study = load_study(config)
    trials: list[dict[str, Any]] = []

    def loss_of(place: sweep.Place) -> float:
        tried = model.multiplied(sweep.multipliers(place))
        asked = tried.recipe(config.optimiser)
        # A trial runs its whole schedule: one that was stopped early would be judged on less.
        whole = dataclasses.replace(asked, early_stopping_patience=asked.epochs)
        least, most = sweep.DECAYS
        if not least <= asked.weight_decay <= most:
            return math.inf
        settings = {name: getattr(whole, name) for name in SWEPT}
        print(f"{config.param_budget}: {settings}", flush=True)
        progress = trial(config, tried, study, Recipe(whole, config.seed), hardware, guard).progress
        loss = progress.best_log_loss
        trials.append(settings | {"val_log_loss": loss, "curve": progress.epochs})
        print(f"    validation log-loss {loss:.5f}", flush=True)
        return loss

    try:
        with ThermalGuard(config.thermal, hardware.device.type) as guard:
            losses = sweep.search(loss_of, sweep.START)
    except Stopped as stop:
        print(f"stopped: {stop}; the sweep starts anew next time")
        return EXIT_STOPPED
    best, interior = sweep.best_of(losses), sweep.settled(losses)
    found = model.multiplied(sweep.multipliers(best))
    chosen = {name: getattr(found, name) for name in configs.MULTIPLIERS}
    record = {
        "kind": "sweep",
        "budget": config.param_budget,
        **configs.training_identity(config, model),
        "seed": config.seed,
        "trials": trials,
        "best": min(trials, key=lambda tried: tried["val_log_loss"]),
        "best_multipliers": chosen,
        "interior": interior,
        "data_md5": prices_md5,
        "label_hash": study.label_hash,
        "code_digest": code_digest("sweep", family=config.family),
        **provenance(),
    }
    write_json(arguments.output, record)
    edge = "" if interior else " (some neighbours were not tried: not a minimum yet)"
    lines = "".join(f"\n  {key}: {value:g}" for key, value in chosen.items())
    print(
        f"made {arguments.output}: {len(trials)} recipes tried, the best has validation log-loss "
        f"{losses[best]:.4f}{edge}; the budget's own has {losses[sweep.START]:.4f}\nnext: set in "
        f"{configs.model_config_path(config.param_budget, config.family)}{lines}"
    )
    return None


if __name__ == "__main__":
    run_command(main)
