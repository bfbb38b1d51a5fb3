"""Try random recipes on the validation block, with seeds that no study uses.

python -m scaling.sweep --config configs/daily/threshold_1pct.yaml --param-budget 2m \\
    --batch-size results/daily/threshold_1pct/2m.batch_size.json \\
    --output results/daily/threshold_1pct/2m.sweep.json

Each training that is done is kept beside the output until the sweep is complete, so a command that
was stopped goes on where it was.
"""

import argparse
import dataclasses
import shutil
from pathlib import Path

from scaling import identities
from scaling.errors import EXIT_STOPPED, UserError, run_command
from scaling.names import experiment_name
from scaling.record import micro_batch_of, provenance, write_json
from scaling.run import sample_flags, sample_of
from scaling.sizes import load_model_config


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m scaling.sweep", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    add("--config", type=Path, required=True, help="one experiment, configs/daily/*.yaml")
    add("--param-budget", required=True, help="2m, 20m, ...: a file in configs/model")
    sample_flags(parser)
    add("--batch-size", type=Path, required=True, help="JSON of find_batch_size")
    add("--threads", type=int, help="CPU threads (default: all)")
    add("--output", type=Path, required=True, help="JSON: every recipe with its losses, the best")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int | None:
    """Train every recipe with every seed, and say whether one beats the experiment's own."""
    arguments = parse(argv)
    config = identities.load_run(arguments.config, arguments.param_budget, **sample_of(arguments))
    model = load_model_config(config.param_budget, config.family)

    import numpy as np

    from scaling.data.dataset import load_study
    from scaling.data.features import verified_data
    from scaling.machine.guard import ThermalGuard
    from scaling.training import search
    from scaling.training.run import found_out
    from scaling.training.trainer import Stopped
    from scaling.training.trial import hardware_of

    if config.seed in search.SEEDS:
        raise UserError(f"{arguments.config}: seed: got {config.seed}, which sweeps use; change it")
    if not config.recipe.weight_decay:
        raise UserError(f"{arguments.config}: weight_decay: got 0, of which nothing is a multiple")
    prices, features = verified_data(config)
    micro_batch = micro_batch_of(arguments.batch_size, config.optimiser.batch_size)
    hardware = hardware_of(config, micro_batch, arguments.threads)
    study = load_study(config)
    recipes = search.drawn(search.own_settings(config, model))
    asked = identities.run_of(config, model, experiment_name(arguments.config), "sweep")
    asked = dataclasses.replace(asked, prices=prices, features=features)
    run = found_out(asked, study, hardware)
    done = arguments.output.with_suffix(".trials")
    try:
        with ThermalGuard(config.thermal, hardware.device.type) as guard:
            trials = search.Trials(config, model, study, hardware, guard, run, done)
            # Seed by seed, so that what a stopped sweep has are all recipes with some seeds.
            by_seed = [[trials.loss_of(r, seed) for r in recipes] for seed in search.SEEDS]
    except Stopped as stop:
        print(f"stopped: {stop}; the same command goes on from there")
        return EXIT_STOPPED
    losses = np.array(by_seed).T
    found = search.compared(losses)
    record = {
        "kind": "sweep",
        **run.titles(arguments.output.name.removesuffix(".sweep.json")),
        "identity": run.as_json(),
        "seeds": search.SEEDS,
        "recipes": [
            {**dataclasses.asdict(settings), "val_log_losses": list(row)}
            for settings, row in zip(recipes, losses.tolist(), strict=True)
        ],
        **found,
        **provenance(),
    }
    write_json(arguments.output, record)
    shutil.rmtree(done)
    low, high = found["gain_interval"]
    settings = dataclasses.asdict(recipes[found["best"]])
    print(
        f"made {arguments.output}: {len(recipes) - 1} random recipes with {len(search.SEEDS)} "
        f"seeds each; the best has validation log-loss {losses[found['best']].mean():.4f}, the "
        f"experiment's own {losses[0].mean():.4f} (gain {found['gain']:+.4f}, 95 % interval "
        f"{low:+.4f} to {high:+.4f})"
    )
    lines = "".join(f"\n  {key}: {value:g}" for key, value in settings.items())
    print(f"next: try at another size{lines}" if found["holds"] else "next: keep the recipe")
    return None


if __name__ == "__main__":
    run_command(main)
