"""Whether a run on disk is the one that config, data and code ask for now.

Snakemake knows why it made a file only as long as it has its folder `.snakemake`. Without it, and
in a copy of the results elsewhere, an old model would pass for the one of a changed config.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from scaling import config as configs
from scaling import identities
from scaling.data.features import verified_data
from scaling.names import artefact, experiment_name
from scaling.run import MACHINE, Run, RunName, refuse
from scaling.sizes import load_model_config


def asked_now(config_path: Path, name: RunName) -> Run:
    """The run of that name as the experiment's file, the data and the code ask for it now."""
    config = identities.config_of(config_path, name)
    model = load_model_config(name.budget, config.family)
    prices, features = verified_data(config)
    asked = identities.run_of(config, model, experiment_name(config_path))
    return replace(asked, prices=prices, features=features)


def refuse_outdated(
    runs: Sequence[Run], config_path: Path, may_differ: Collection[str] = MACHINE
) -> None:
    """Raise `UserError` if any of the runs would be trained otherwise now, naming each key."""
    own_seed = configs.load_config(config_path).seed
    outdated = {}
    for run in runs:
        if found := run.difference(asked_now(config_path, run.name), may_differ):
            path = artefact(run.experiment, run.name.written(own_seed), "ckpt")
            outdated[str(path)] = found
    if outdated:
        first, *others = outdated
        more = f"{len(others)} more runs are old, too; " if others else ""
        again = f"{more}train again: snakemake --force {' '.join(outdated)}"
        refuse(first, outdated[first], again)
