"""Control: trained on shuffled labels, a sound pipeline has hardly any validation skill. Optional.

    python -m scaling.shuffled_control --config configs/daily/threshold_1pct.yaml \\
        --param-budget 200k --output results/daily/threshold_1pct/200k.shuffled.json
"""

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from scaling import config as configs
from scaling import identities
from scaling.errors import UserError, run_command
from scaling.record import micro_batch_of, provenance, write_json
from scaling.run import sample_flags, sample_of
from scaling.sizes import load_model_config

if TYPE_CHECKING:
    from scaling.data.dataset import Study

# On SPY the skills of ten permutations at 200k spread by 0.8 %, and the days hardly add to that. By
# simulation a skill of 0 is shown to be below 0.5 % in two of three such controls of 20
# permutations, in one of five of 5 and in none of 1.
PERMUTATIONS = 20
WORDS = {True: "passed, ", False: "CHECK FAILED, ", None: ""}


def with_shuffled_labels(study: "Study", seed: int) -> "Study":
    """The same study with permuted training labels; the validation labels stay."""
    import numpy as np
    import torch

    days = torch.from_numpy(study.samples["train"])
    order = torch.from_numpy(np.random.default_rng(seed).permutation(len(days)))
    dataset = study.dataset.to(torch.device("cpu"))
    dataset.labels = dataset.labels.clone()
    dataset.labels[days] = dataset.labels[days[order]]
    return dataclasses.replace(study, dataset=dataset)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m scaling.shuffled_control",
        description=f"Train {PERMUTATIONS} times on shuffled labels; no skill must come of it.",
    )
    add = parser.add_argument
    add("--config", type=Path, required=True, help="one experiment, configs/daily/*.yaml")
    add("--param-budget", help="2m, 20m, ...: a file in configs/model (default: the config's)")
    sample_flags(parser)
    add("--batch-size", type=Path, required=True, help="JSON of find_batch_size")
    add("--output", type=Path, required=True, help="JSON: skill of each permutation, the check")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Train, measure on validation, write."""
    arguments = _parser().parse_args(argv)
    config = identities.load_run(arguments.config, arguments.param_budget, **sample_of(arguments))
    model_config = load_model_config(config.param_budget, config.family)

    import numpy as np

    from scaling.data.dataset import load_study
    from scaling.judging import checks
    from scaling.judging.evaluation import daily_losses
    from scaling.judging.identity import asked_now
    from scaling.law.bootstrap import Settings
    from scaling.machine.guard import ThermalGuard
    from scaling.training.run import found_out, fresh_model
    from scaling.training.step import predict
    from scaling.training.trainer import Recipe, Stopped
    from scaling.training.trial import hardware_of, trial

    asked = asked_now(arguments.config, identities.name_of(config))
    micro_batch = micro_batch_of(arguments.batch_size, config.optimiser.batch_size)
    hardware = hardware_of(config, micro_batch)
    study = load_study(config)
    seeds = range(config.seed, config.seed + PERMUTATIONS)
    days = study.samples["validation"]
    skills, losses = [], []
    try:
        with ThermalGuard(config.thermal, hardware.device.type) as guard:
            for seed in seeds:
                shuffled = with_shuffled_labels(study, seed)
                recipe = Recipe(config.recipe, seed, model_config)
                outcome = trial(config, shuffled, recipe, hardware, guard)
                skills.append(outcome.validation["skill"])
                model = fresh_model(config, model_config, study, seed).to(hardware.device)
                model.load_state_dict(outcome.weights)
                dataset = study.dataset.to(hardware.device)
                p = predict(model, dataset, days, hardware.device, hardware.precision)
                losses.append(daily_losses(study, p))
    except Stopped as stop:
        raise UserError(f"stopped: {stop}; cool down and type it again") from None
    base = daily_losses(study, np.full(len(days), study.train_base_rate))
    law = configs.LawConfig()
    settings = Settings(config.task.horizon, law.delta, law.bootstrap_samples)
    found = checks.shuffled_labels_teach_nothing(np.stack(losses), base, settings)
    run = found_out(asked, study, hardware)
    record = {
        "kind": "shuffled control",
        **run.titles(arguments.output.name.removesuffix(".shuffled.json")),
        "identity": run.as_json(),
        "made_by": identities.controlled_by(config),
        "seeds": list(seeds),
        "validation_skills": skills,
        "check": found,
        **provenance(),
    }
    write_json(arguments.output, record)
    print(
        f"made {arguments.output}: {WORDS[found['passed']]}{found['found']}\n"
        f"next: snakemake results/{record['experiment']}/report.html"
    )


if __name__ == "__main__":
    run_command(main)
