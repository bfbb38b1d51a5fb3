"""What `python -m scaling.train` is asked for, checked before torch is imported."""

import argparse
import logging
from dataclasses import dataclass
from pathlib import Path

from scaling import config as configs
from scaling.data.features import verified_data
from scaling.names import Run, artefact, experiment_name, resume_directory, run_name
from scaling.record import micro_batch_of
from scaling.sizes import ModelConfig, load_model_config

LOG = logging.getLogger(__name__)
SMALLEST_MICRO_BATCH = 8


@dataclass(frozen=True)
class Request:
    """What is to be trained, on which data, and where its files are."""

    config_path: Path
    config: configs.TrainingConfig
    model: ModelConfig
    prices_md5: str
    features_md5: str
    experiment: str
    run: str
    output: Path
    record: Path
    micro_batch: int
    threads: int | None
    shard: bool
    overwrite: bool

    @property
    def resume(self) -> Path:
        """Where the run's resume states and its lock lie."""
        return resume_directory(self.experiment, self.run)


def checked_request(arguments: argparse.Namespace) -> Request:
    """The request of a command line, its config and data checked; a `UserError` if unsound."""
    config = configs.load_config(
        arguments.config,
        arguments.param_budget,
        arguments.seed,
        arguments.train_days,
        arguments.days,
    )
    own_seed = configs.load_config(arguments.config).seed
    experiment = experiment_name(arguments.config)
    asked = Run(config.param_budget, config.seed, config.train_days, config.days)
    run = run_name(asked, own_seed)
    output = arguments.output or artefact(experiment, run, "ckpt")
    search = arguments.batch_size or artefact(experiment, config.param_budget, "batch_size.json")
    prices_md5, features_md5 = verified_data(config, arguments.data_md5)
    return Request(
        config_path=arguments.config,
        config=config,
        model=load_model_config(config.param_budget, config.family),
        prices_md5=prices_md5,
        features_md5=features_md5,
        experiment=experiment,
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
