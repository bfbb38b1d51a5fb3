"""A training that leaves no files, for sweeps and controls."""

import tempfile

import torch

from scaling import config as configs
from scaling.data.dataset import Study
from scaling.machine.device import choose_device, choose_precision, tune
from scaling.tracking.trackers import NoTracker
from scaling.training.checkpoint import ResumeStore
from scaling.training.run import fresh_model
from scaling.training.trainer import Guard, Hardware, Outcome, Recipe, train


def hardware_of(
    config: configs.TrainingConfig, micro_batch: int, threads: int | None = None
) -> Hardware:
    """The config's device and precision, for a training in this one process."""
    device = choose_device(config.device)
    precision = choose_precision(config.precision, device)
    if threads:
        torch.set_num_threads(threads)
    tune(device)
    return Hardware(device, precision, micro_batch)


def trial(
    config: configs.TrainingConfig,
    study: Study,
    recipe: Recipe,
    hardware: Hardware,
    guard: Guard,
) -> Outcome:
    """Train a fresh model of the recipe's seed. Raises `trainer.Stopped` where heat asks it to."""
    with tempfile.TemporaryDirectory() as states:
        return train(
            fresh_model(config, recipe.shape, study, recipe.seed),
            study,
            recipe,
            hardware,
            guard=guard,
            tracker=NoTracker(),
            store=ResumeStore(states),
            checkpoint_minutes=config.checkpoint_minutes,
        )
