"""Whether a run on disk is the one that config, data and code ask for now.

Snakemake knows why it made a file only as long as it has its folder `.snakemake`. Without it, and
in a copy of the results elsewhere, an old model would pass for the one of a changed config.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scaling import config as configs
from scaling.data.features import verified_data
from scaling.digest import code_digest
from scaling.errors import UserError
from scaling.names import artefact
from scaling.sizes import load_model_config

Record = Mapping[str, Any]


def refuse_outdated(records: Sequence[Record], config: Path, stamp: Path | None = None) -> None:
    """Raise `UserError` if any run would be trained otherwise now, with each key that differs.

    `records` are run records, from their files or from checkpoints. `config` is the experiment's
    file. `stamp` is what `check_data` wrote, and is compared if it is given. Packages and the
    device do not count: a run from another machine is the same run.
    """
    outdated = []
    prices, features = verified_data(configs.load_config(config), stamp)
    for record in records:
        wanted = configs.config_of_run(config, record)
        model = load_model_config(record["budget"], wanted.family)
        asked = {
            **_settings(configs.as_dict(wanted), configs.as_dict(model)),
            "prices": prices,
            "features": features,
            "training code": code_digest("train", family=wanted.family),
        }
        trained = {
            **_settings(record["config"], record["model"]),
            "prices": record["data_md5"],
            "features": record["features_md5"],
            "training code": record["code_digest"],
        }
        differing = [
            f"{key} was {trained.get(key)}, and is {asked.get(key)} now"
            for key in (*asked, *(trained.keys() - asked.keys()))
            if trained.get(key) != asked.get(key)
        ]
        if differing:
            outdated.append((record, differing))
    if outdated:
        paths = [str(artefact(r["experiment"], r["run"], "ckpt")) for r, _ in outdated]
        others = f" ({len(paths) - 1} more runs are old, too)" if len(paths) > 1 else ""
        raise UserError(
            f"{paths[0]}: trained for something else: {'; '.join(outdated[0][1])}{others}; train "
            f"again: snakemake --force {' '.join(paths)}"
        )


def _settings(config: Record, model: Record) -> dict[str, Any]:
    """What trains a run, by its dotted key: `optimiser.learning_rate`, `model.d_model`."""
    found: dict[str, Any] = {}
    for key, value in {**configs.what_trains(config), "model": model}.items():
        if isinstance(value, Mapping):
            found |= {f"{key}.{name}": part for name, part in value.items()}
        else:
            found[key] = value
    return found
