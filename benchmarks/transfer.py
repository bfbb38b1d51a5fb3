"""Does one learning rate serve every size? Loss against the rate, a line a size, several seeds.

    python benchmarks/transfer.py results/transfer --budgets 200k 600k 2m --jobs 2
    python benchmarks/transfer.py results/transfer --draw docs/transfer.svg

Trained and judged on development years (configs/daily/development_1pct.yaml): no day of a study's
test is read. Each run is a file in the folder that is named first, so a stopped command goes on
where it was. A run is judged three ways: by the weights of its best look at validation, by its last
weights, and by the mean of its weights over the last quarter of the schedule (Haegele et al. 2024,
arXiv 2405.18392). Build the features first: snakemake data/processed/v1/SPY_features_a20.parquet
"""

import argparse
import dataclasses
import itertools
import math
import multiprocessing
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from scaling import config as configs
from scaling.data.dataset import Study, load_study
from scaling.metrics import log_loss
from scaling.record import read_json, write_json
from scaling.sizes import load_model_config
from scaling.training.run import fresh_model
from scaling.training.step import predict
from scaling.training.trainer import Recipe, Training
from scaling.training.trial import hardware_of

CONFIG = Path("configs/daily/development_1pct.yaml")
NO_DAY_FROM = np.datetime64("2014-01-01")  # where the tests of the shipped studies begin
RATES = (0.00025, 0.0005, 0.001, 0.002, 0.004)
BUDGETS = ("200k", "600k", "2m", "20m")
SEEDS = (1000, 1001, 1002, 1003)  # no study uses them
ONE_SEED = ("20m",)
MICRO_BATCH = 32
LOOKS = 9  # at validation, each after 1.41 times the steps of the one before
AVERAGED = 0.25  # of the schedule, its end


class Run(NamedTuple):
    """One training of the plot."""

    budget: str
    rate: float
    seed: int

    def path(self, folder: Path) -> Path:
        """Where its result lies."""
        return folder / f"{self.budget}.rate{self.rate:g}.seed{self.seed}.json"


def look_steps(steps: int) -> list[int]:
    """The steps after which validation is looked at: equal ratios, the last one the last step."""
    return sorted({max(1, round(steps * 2 ** (-k / 2))) for k in range(LOOKS)})


def development_study(config: configs.TrainingConfig) -> tuple[Study, Study]:
    """What is trained on, and the same with the judged years."""
    judged = load_study(config, blocks=("train", "validation", "test"))
    if judged.dates.max() >= NO_DAY_FROM:
        raise SystemExit(f"{CONFIG} reads {judged.dates.max()}; allowed: before {NO_DAY_FROM}")
    return load_study(config), judged


def train_run(run: Run, folder: Path) -> None:
    """Train one run and write what came of it."""
    config = configs.load_config(CONFIG, run.budget, run.seed)
    shape = load_model_config(run.budget, config.family)
    optimiser = dataclasses.replace(config.optimiser, learning_rate=run.rate)
    study, years = development_study(config)
    hardware = hardware_of(config, MICRO_BATCH, threads=1)
    model = fresh_model(config, shape, study, run.seed)
    training = Training(model, study, Recipe(optimiser, run.seed, shape), hardware, print)
    found = walk(training, years)
    steps = training.total_steps
    write_json(
        run.path(folder),
        {**run._asdict(), "steps": steps, **found, **measured(training, optimiser.gradient_clip)},
    )


def walk(training: Training, years: Study) -> dict[str, Any]:
    """All steps of a training: the looks at validation, and three networks judged."""
    steps, model = training.total_steps, training.model
    looks, kept, total, averaged = [], {}, {}, 0
    y = years.labels("validation")
    for step in range(1, steps + 1):
        training.step()
        if step > (1 - AVERAGED) * steps:
            averaged += 1
            for name, value in model.state_dict().items():
                total[name] = total.get(name, 0) + value.double()
        if step in look_steps(steps):
            loss = log_loss(y, forecast(training, years, "validation"))
            looks.append({"step": step, "val_log_loss": loss})
            if loss == min(look["val_log_loss"] for look in looks):
                kept = {name: value.clone() for name, value in model.state_dict().items()}
    last = {name: value.clone() for name, value in model.state_dict().items()}
    mean = {name: (value / averaged).to(last[name].dtype) for name, value in total.items()}
    found: dict[str, Any] = {"looks": looks}
    for name, weights in (("best", kept), ("last", last), ("mean", mean)):
        model.load_state_dict(weights)
        found[name] = {
            block: log_loss(years.labels(block), forecast(training, years, block))
            for block in ("validation", "test")
        }
    return found


def forecast(training: Training, years: Study, block: str) -> Any:
    """The network's probabilities of a block."""
    hardware = training.hardware
    dataset, days = years.dataset, years.samples[block]
    return predict(training.model, dataset, days, hardware.device, hardware.precision)


def measured(training: Training, clip: float) -> dict[str, Any]:
    """What the trainer saw: training losses by fifth of the schedule, and clipped steps."""
    fifths = np.array_split(training.losses.numpy(), 5)
    return {
        "train_losses": [float(part.mean()) for part in fifths],
        "clipped": float((training.norms > clip).float().mean()),
        "seconds": training.progress.seconds,
    }


def wanted(arguments: argparse.Namespace) -> list[Run]:
    """The runs that are asked for and not there yet: seed by seed, so that each rate has some."""
    runs = []
    for budget in arguments.budgets:
        seeds = [s for s in arguments.seeds if budget not in ONE_SEED or s == SEEDS[0]]
        runs += [
            Run(budget, rate, seed) for seed, rate in itertools.product(seeds, arguments.rates)
        ]
    return [run for run in runs if not run.path(arguments.folder).exists()]


def in_process(job: tuple[Run, Path]) -> Run:
    """One run in a process of the pool."""
    train_run(*job)
    return job[0]


def main() -> None:
    """Train what is missing, then print the table, and draw it if asked."""
    parser = argparse.ArgumentParser(prog="python benchmarks/transfer.py", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    add("folder", type=Path, help="where each run is a file")
    add("--budgets", nargs="*", default=list(BUDGETS), help="default: %(default)s")
    add("--rates", type=float, nargs="*", default=list(RATES), help="default: %(default)s")
    add("--seeds", type=int, nargs="*", default=list(SEEDS), help="default: %(default)s")
    add("--jobs", type=int, default=1, help="runs at a time, one thread each")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    jobs = [(run, arguments.folder) for run in wanted(arguments)]
    context = multiprocessing.get_context("spawn")
    with context.Pool(arguments.jobs, maxtasksperchild=None) as pool:
        for run in pool.imap_unordered(in_process, jobs):
            found = read_json(run.path(arguments.folder))
            judged = ", ".join(
                f"{way} {found[way]['test']:.4f}" for way in ("best", "last", "mean")
            )
            print(f"{run}: {judged}; {found['seconds']:.0f} s", flush=True)
    print(table(read_json(path) for path in sorted(arguments.folder.glob("*.json"))))


def table(runs: Iterable[dict[str, Any]]) -> str:
    """The judged loss of each size and rate, as mean over seeds and their standard error."""
    cells: dict[tuple[str, float], list[dict[str, Any]]] = {}
    for run in runs:
        cells.setdefault((run["budget"], run["rate"]), []).append(run)
    lines = ["| size | rate | seeds | best look | last | mean of the last quarter | clipped |"]
    lines.append("|---|---|---|---|---|---|---|")
    for (budget, rate), found in sorted(
        cells.items(), key=lambda c: (BUDGETS.index(c[0][0]), c[0][1])
    ):
        ways = []
        for way in ("best", "last", "mean"):
            losses = [run[way]["test"] for run in found]
            error = np.std(losses, ddof=1) / math.sqrt(len(losses)) if len(losses) > 1 else math.nan
            ways.append(f"{np.mean(losses):.4f} ± {error:.4f}")
        clipped = 100 * np.mean([run["clipped"] for run in found])
        lines.append(
            f"| {budget} | {rate:g} | {len(found)} | {' | '.join(ways)} | {clipped:.0f} % |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
