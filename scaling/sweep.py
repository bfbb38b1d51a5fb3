"""Choose a budget's learning rate on the validation block, with a seed that no study uses.

python -m scaling.sweep --config configs/daily/threshold_1pct.yaml --param-budget 2m \\
    --batch-size results/daily/threshold_1pct/2m.batch_size.json \\
    --output results/daily/threshold_1pct/2m.sweep.json
"""

import argparse
import dataclasses
import tempfile
from pathlib import Path

from scaling import config as configs
from scaling.errors import EXIT_STOPPED, UserError, run_command
from scaling.record import code_digest, micro_batch_of, provenance, write_json

# Factors of two around the width rule, the same number of trials for every rung of a ladder.
FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0)
MOST_EXTENSIONS = 2
SWEEP_SEED = 1000  # studies count up from 42


def best_of(trials: dict[float, float]) -> tuple[float, bool]:
    """The multiplier with the lowest log-loss, and whether others were tried on both sides."""
    best = min(trials, key=lambda multiplier: trials[multiplier])
    return best, min(trials) < best < max(trials)


def main(argv: list[str] | None = None) -> int | None:
    """Try multipliers around the budget's own until the best one has neighbours on both sides."""
    parser = argparse.ArgumentParser(prog="python -m scaling.sweep", description=__doc__)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--param-budget", required=True)
    parser.add_argument("--seed", type=int, default=SWEEP_SEED)
    parser.add_argument("--batch-size", type=Path, required=True, help="JSON of find_batch_size")
    parser.add_argument("--threads", type=int, help="CPU threads (default: all)")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args(argv)
    config = configs.load_config(arguments.config, arguments.param_budget, arguments.seed)
    if config.seed == configs.load_config(arguments.config).seed:
        raise UserError(f"--seed {config.seed} is the study's own; give one that no run uses")
    shape = configs.load_model_config(config.param_budget)

    import torch

    from scaling.data.dataset import load_study
    from scaling.data.features import verified_data
    from scaling.machine.device import choose_device, choose_precision, tune
    from scaling.machine.guard import ThermalGuard
    from scaling.tracking.trackers import NoTracker
    from scaling.training import trainer
    from scaling.training.checkpoint import ResumeStore
    from scaling.training.model import build_model

    prices_md5, _ = verified_data(config)
    micro_batch = micro_batch_of(arguments.batch_size, config.optimiser.batch_size)
    device = choose_device(config.device)
    precision = choose_precision(config.precision, device)
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    tune(device)
    study = load_study(config)
    curves: dict[float, list[dict[str, float]]] = {}
    losses: dict[float, float] = {}

    def attempt(multiplier: float) -> None:
        trainer.seed_everything(config.seed)
        model = build_model(shape, config.window, len(study.feature_names))
        print(f"{config.param_budget}: learning-rate multiplier {multiplier:g}", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            outcome = trainer.train(
                model,
                study,
                # Every trial runs its whole schedule: a stopped one would be judged on less.
                dataclasses.replace(
                    config.optimiser, early_stopping_patience=config.optimiser.epochs
                ),
                peak_learning_rate=config.optimiser.learning_rate * multiplier,
                seed=config.seed,
                micro_batch=micro_batch,
                device=device,
                precision=precision,
                guard=guard,
                tracker=NoTracker(),
                store=ResumeStore(folder),
                state=None,
                checkpoint_minutes=config.checkpoint_minutes,
            )
        curves[multiplier] = outcome.progress.epochs
        losses[multiplier] = outcome.progress.best_log_loss

    try:
        with ThermalGuard(config.thermal, device.type) as guard:
            for factor in FACTORS:
                attempt(shape.learning_rate_multiplier * factor)
            for _ in range(MOST_EXTENSIONS):
                best, interior = best_of(losses)
                if interior:
                    break
                attempt(best * 2 if best == max(losses) else best / 2)
    except trainer.Stopped as stop:
        print(f"stopped: {stop}; the sweep starts anew next time")
        return EXIT_STOPPED
    best, interior = best_of(losses)
    write_json(
        arguments.output,
        {
            "kind": "sweep",
            "budget": config.param_budget,
            **configs.training_identity(config, shape),
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
            "code_digest": code_digest("sweep"),
            **provenance(),
        },
    )
    edge = "" if interior else " (at the edge of what was tried: not a minimum yet)"
    print(
        f"made {arguments.output}: best multiplier {best:g}{edge}, validation log-loss "
        f"{losses[best]:.4f}\nnext: set learning_rate_multiplier: {best:g} in "
        f"{configs.model_config_path(config.param_budget)}"
    )
    return None


if __name__ == "__main__":
    run_command(main)
