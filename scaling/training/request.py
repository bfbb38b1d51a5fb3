"""What `python -m scaling.train` is asked for, checked before torch is imported."""

import argparse
import logging
from dataclasses import dataclass, replace
from pathlib import Path

from scaling import config as configs
from scaling import identities
from scaling.data.features import verified_data
from scaling.names import artefact, experiment_name, resume_directory
from scaling.record import micro_batch_of
from scaling.run import Run, sample_of
from scaling.sizes import ModelConfig, load_model_config

LOG = logging.getLogger(__name__)
SMALLEST_MICRO_BATCH = 8


@dataclass(frozen=True)
class Request:
    """What is to be trained, on which data, and where its files are."""

    config_path: Path
    config: configs.TrainingConfig
    model: ModelConfig
    asked: Run
    run: str
    """Its name."""
    output: Path
    record: Path
    micro_batch: int
    threads: int | None
    shard: bool
    overwrite: bool

    @property
    def resume(self) -> Path:
        """Where the run's resume states and its lock lie."""
        return resume_directory(self.asked.experiment, self.run)


def checked_request(arguments: argparse.Namespace) -> Request:
    """The request of a command line, its config and data checked; a `UserError` if unsound."""
    config = identities.load_run(
        arguments.config, arguments.param_budget, arguments.seed, **sample_of(arguments)
    )
    model = load_model_config(config.param_budget, config.family)
    prices, features = verified_data(config)
    asked = identities.run_of(config, model, experiment_name(arguments.config))
    run = asked.name.written(configs.load_config(arguments.config).seed)
    output = arguments.output or artefact(asked.experiment, run, "ckpt")
    beside = artefact(asked.experiment, config.param_budget, "batch_size.json")
    search = arguments.batch_size or beside
    return Request(
        config_path=arguments.config,
        config=config,
        model=model,
        asked=replace(asked, prices=prices, features=features),
        run=run,
        output=output,
        record=arguments.record or output.with_suffix(".json"),
        micro_batch=micro_batch(search, config.optimiser.batch_size),
        threads=arguments.threads,
        shard=arguments.shard,
        overwrite=arguments.overwrite,
    )


def micro_batch(search: Path, batch_size: int) -> int:
    """What the batch-size search found; without one a small size, and a word about it."""
    if search.is_file():
        return micro_batch_of(search, batch_size)
    small = min(SMALLEST_MICRO_BATCH, batch_size)
    LOG.warning(f"no batch-size search at {search}: micro-batch {small}; snakemake {search}")
    return small
