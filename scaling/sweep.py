"""Choose a size's recipe on the validation block, with a seed that no study uses.

python -m scaling.sweep --config configs/daily/threshold_1pct.yaml --param-budget 2m \\
    --batch-size results/daily/threshold_1pct/2m.batch_size.json \\
    --output results/daily/threshold_1pct/2m.sweep.json
"""

import argparse
from dataclasses import replace
from pathlib import Path

from scaling import config as configs
from scaling.errors import EXIT_STOPPED, UserError, run_command
from scaling.names import experiment_name
from scaling.record import micro_batch_of, provenance, write_json
from scaling.run import days_flags, days_of
from scaling.sizes import MULTIPLIERS, load_model_config, model_config_path

# No study may use these: the seed of the search, and those that confirm what it found.
SEARCH_SEED, CONFIRMING = 1000, (1001, 1002, 1003)


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m scaling.sweep", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    add("--config", type=Path, required=True, help="one experiment, configs/daily/*.yaml")
    add("--param-budget", required=True, help="2m, 20m, ...: a file in configs/model")
    days_flags(parser)
    add("--batch-size", type=Path, required=True, help="JSON of find_batch_size")
    add("--threads", type=int, help="CPU threads (default: all)")
    add("--output", type=Path, required=True, help="JSON: every trial, and the best multipliers")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int | None:
    """Walk from the budget's own recipe until the best one has worse neighbours on all sides."""
    arguments = parse(argv)
    config = configs.load_config(
        arguments.config, arguments.param_budget, SEARCH_SEED, days=days_of(arguments)
    )
    if (own := configs.load_config(arguments.config).seed) in (SEARCH_SEED, *CONFIRMING):
        raise UserError(f"{arguments.config}: seed: got {own}, which sweeps use; give another")
    model = load_model_config(config.param_budget, config.family)

    from scaling.data.dataset import load_study
    from scaling.data.features import verified_data
    from scaling.machine.guard import ThermalGuard
    from scaling.training import sweep
    from scaling.training.recipe import recipe_of
    from scaling.training.trainer import Stopped
    from scaling.training.trial import hardware_of

    least, most = sweep.DECAYS
    if not least <= (decay := recipe_of(config, model).optimiser.weight_decay) <= most:
        raise UserError(f"weight_decay: got {decay:g}; a sweep starts between {least} and {most:g}")
    prices, features = verified_data(config)
    micro_batch = micro_batch_of(arguments.batch_size, config.optimiser.batch_size)
    hardware = hardware_of(config, micro_batch, arguments.threads)
    study = load_study(config)
    try:
        with ThermalGuard(config.thermal, hardware.device.type) as guard:
            trials = sweep.Trials(config, model, study, hardware, guard)
            losses = sweep.search(trials.loss_of, sweep.START)
            searched = len(trials.done)
            gains = sweep.confirmed(trials.loss_of, sweep.best_of(losses), CONFIRMING)
    except Stopped as stop:
        print(f"stopped: {stop}; the sweep starts anew next time")
        return EXIT_STOPPED
    best, interior = sweep.best_of(losses), sweep.settled(losses)
    gain = sum(gains) / len(gains) if gains else 0.0
    tried, again = trials.done[:searched], trials.done[searched:]
    found = model.multiplied(sweep.multipliers(best))
    chosen = {name: getattr(found, name) for name in MULTIPLIERS}
    run = replace(
        configs.run_of(config, model, experiment_name(arguments.config), "sweep"),
        prices=prices,
        features=features,
        labels=study.label_hash,
        device=hardware.device.type,
        precision=hardware.precision,
        micro_batch=micro_batch,
    )
    record = {
        "kind": "sweep",
        **run.titles(arguments.output.name.removesuffix(".sweep.json")),
        "identity": run.as_json(),
        "trials": tried,
        "best": min(tried, key=lambda one: one["val_log_loss"]),
        "best_multipliers": chosen,
        "confirmation": {
            "trials": again,
            "gains": gains,
            "gain": gain,
            "holds": sweep.holds(gains),
        },
        "interior": interior,
        **provenance(),
    }
    write_json(arguments.output, record)
    edge = "" if interior else " (some neighbours were not tried, so it may be no minimum)"
    print(
        f"made {arguments.output}: {searched} recipes tried, the best has validation log-loss "
        f"{losses[best]:.4f}{edge}; the budget's own has {losses[sweep.START]:.4f}"
    )
    lines = "".join(f"\n  {key}: {value:g}" for key, value in chosen.items())
    path = model_config_path(config.param_budget, config.family)
    if sweep.holds(gains):
        print(f"with {len(gains)} other seeds it gains {gain:.4f}\nnext: set in {path}{lines}")
    else:
        print(f"with other seeds it is no better ({gain:.4f})\nnext: leave {path} as it is")
    return None


if __name__ == "__main__":
    run_command(main)
