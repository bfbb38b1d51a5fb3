"""How networks of a walk forward age: each judged on the later test blocks, too. Optional.

    python -m scaling.age --config configs/daily/sp500_walk.yaml \\
        --checkpoints results/daily/sp500_walk/200k.from*.ckpt \\
        --output results/daily/sp500_walk/200k.age.json
"""

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from scaling import identities
from scaling.config import TrainingConfig, load_config
from scaling.errors import UserError, run_command
from scaling.names import experiment_name
from scaling.record import provenance, write_json

if TYPE_CHECKING:
    from scaling.judging.evaluation import Trained


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m scaling.age",
        description="Judge the networks of every fold on all later test blocks: loss by age.",
    )
    add = parser.add_argument
    add("--config", type=Path, required=True, help="an experiment that walks forward")
    add("--checkpoints", type=Path, nargs="+", required=True, help="one size, all folds and seeds")
    add("--output", type=Path, required=True, help="JSON: loss by age, and of each fold and block")
    return parser


def by_fold(networks: Sequence["Trained"], config: TrainingConfig) -> "dict[int, list[Trained]]":
    """The networks of each fold, in the order of their seeds.

    Raises `UserError` unless these are one size on all its training days, with the same seeds in
    every fold of a walk that has several.
    """
    origins, names = identities.origins_of(config), [network.run.name for network in networks]
    if len(origins) < 2:
        raise UserError(
            f"the experiment has {len(origins)} fold(s), and later blocks need two or more; "
            "allowed: one with walk_forward, such as configs/daily/sp500_walk.yaml"
        )
    asked = {
        dataclasses.replace(names[0], origin=origin, seed=name.seed)
        for origin in origins
        for name in names
    }
    if odd := [*(asked ^ {*names}), *(name for name in names if names.count(name) > 1)]:
        raise UserError(
            f"--checkpoints: {', '.join(sorted(map(str, {*odd})))}: missing, twice or of another "
            "walk; allowed: one size, in every fold once with each seed"
        )
    ordered = sorted(networks, key=lambda network: network.run.name.seed)
    return {fold: [n for n in ordered if n.run.name.origin == fold] for fold in origins}


def main(argv: list[str] | None = None) -> None:
    """Judge each fold's networks on all later blocks, estimate what age does, write."""
    arguments = _parser().parse_args(argv)
    config = load_config(arguments.config)

    from tqdm import tqdm

    from scaling.judging.evaluation import load_trained
    from scaling.judging.identity import refuse_outdated
    from scaling.judging.later_blocks import judge_later
    from scaling.law.ageing import ageing
    from scaling.law.bootstrap import Settings

    networks = by_fold([load_trained(path) for path in arguments.checkpoints], config)
    runs = [network.run for own in networks.values() for network in own]
    refuse_outdated(runs, arguments.config)
    last = identities.judged_block(config)[1]
    later = {
        origin: judge_later(own, identities.config_of(arguments.config, own[0].run.name), last)
        for origin, own in tqdm(networks.items(), desc="judging", unit="fold")
    }
    walk, days = config.walk_forward, next(iter(later.values())).dates
    assert walk is not None, "it has folds"
    years = days.astype("datetime64[Y]").astype(int) + 1970
    law = config.law
    found = ageing(
        runs[0].name.budget,
        {origin: own.losses for origin, own in later.items()},
        {origin: own.base for origin, own in later.items()},
        years - (years - walk.first_test) % walk.test_years,
        walk.validation_years,
        Settings(config.task.horizon, law.delta, law.bootstrap_samples),
    )
    record = {
        "kind": "ageing",
        "experiment": experiment_name(arguments.config),
        "runs": [run.as_json() for run in runs],
        "made_by": identities.aged_by(config),
        **dataclasses.asdict(found),
        **provenance(),
    }
    write_json(arguments.output, record)
    print(
        f"made {arguments.output}: {found.sentence}\n"
        f"next: snakemake results/{record['experiment']}/report.html"
    )


if __name__ == "__main__":
    run_command(main)
