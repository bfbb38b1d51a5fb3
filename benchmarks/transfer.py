"""Does one learning rate serve every size? Loss against the rate, a line a size, several seeds.

    python benchmarks/transfer.py results/transfer --budgets 200k 600k 2m --jobs 2
    python benchmarks/transfer.py results/transfer --budgets --draw docs/transfer.svg \\
        --table configs/transfer/patchtst.json

Other batches and other numbers of epochs, for data that a recipe was not made for:

    python benchmarks/transfer.py results/transfer_currencies --budgets 200k \\
        --config configs/daily/currencies_development.yaml --batches 64 128 256 --epochs 1 2 4

Trained and judged on development years, those of the config: no day of a study's test is read. Each
run is a file in the folder that is named first, so a stopped command goes on where it was. A run is
judged three ways: by the weights of its best look at validation, by its last weights, and by the
mean of its weights over the last quarter of the schedule. The plot and the table hold the runs with
the config's own batch and epochs.
Build the features first: snakemake results/daily/development_1pct/data.md5
"""

import argparse
import dataclasses
import itertools
import math
import multiprocessing
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from common import header, parser, row

from scaling import config as configs
from scaling.data.dataset import Study, load_study
from scaling.law.transfer import COLUMNS, SAME
from scaling.metrics import log_loss
from scaling.record import atomic_file, provenance, read_json, write_json
from scaling.sizes import budget_parameters, load_model_config
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
WAYS = {"best": "best look", "last": "last weights", "mean": "mean of the last quarter"}


class Run(NamedTuple):
    """One training of the plot."""

    budget: str
    batch_size: int
    epochs: int
    rate: float
    seed: int

    def path(self, folder: Path) -> Path:
        """Where its result lies."""
        schedule = f"batch{self.batch_size}.epochs{self.epochs}"
        return folder / f"{self.budget}.{schedule}.rate{self.rate:g}.seed{self.seed}.json"


def development_study(config: configs.TrainingConfig) -> tuple[Study, Study]:
    """What is trained on, and the same with the judged years."""
    judged = load_study(config, blocks=("train", "validation", "test"))
    if judged.dates.max() >= NO_DAY_FROM:
        raise SystemExit(f"reads {judged.dates.max()}; allowed: days before {NO_DAY_FROM}")
    return load_study(config), judged


def train_run(job: tuple[Run, Path, Path]) -> Path:
    """Train one run and write what came of it; returns where."""
    run, path, folder = job
    config = configs.load_config(path, run.budget, run.seed)
    shape = load_model_config(run.budget, config.family)
    optimiser = dataclasses.replace(
        config.optimiser, batch_size=run.batch_size, epochs=run.epochs, learning_rate=run.rate
    )
    study, years = development_study(config)
    hardware = hardware_of(config, MICRO_BATCH, threads=1)
    model = fresh_model(config, shape, study, run.seed)
    training = Training(model, study, Recipe(optimiser, run.seed, shape), hardware)
    found = walk(training, years)
    fifths = np.array_split(training.losses.numpy(), 5)
    made = {
        **run._asdict(),
        "steps": training.total_steps,
        "looks": training.progress.looks,
        **found,
        "train_losses": [float(part.mean()) for part in fifths],
        "clipped": float((training.norms > optimiser.gradient_clip).float().mean()),
        "seconds": training.progress.seconds,
    }
    write_json(run.path(folder), made)
    return run.path(folder)


def walk(training: Training, years: Study) -> dict[str, Any]:
    """All steps of a training, then its three networks judged on validation and judged years."""
    kept = training.model.state_dict()
    while not training.finished:
        training.step()
        if training.look_due:
            loss = training.look()["val_log_loss"]
            if loss == min(look["val_log_loss"] for look in training.progress.looks):
                kept = {name: w.clone() for name, w in training.model.state_dict().items()}
    outcome = training.outcome()
    weights = {"best": kept, "last": outcome.last_weights, "mean": outcome.weights}
    return {way: judged(training, years, weights[way]) for way in WAYS}


def judged(training: Training, years: Study, weights: dict[str, Any]) -> dict[str, float]:
    """The log-loss of some weights on validation and on the judged years."""
    model, hardware = training.model, training.hardware
    model.load_state_dict(weights)
    found = {}
    for block in ("validation", "test"):
        days = years.samples[block]
        p = predict(model, years.dataset, days, hardware.device, hardware.precision)
        found[block] = log_loss(years.labels(block), p)
    return found


def wanted(asked: argparse.Namespace) -> list[Run]:
    """The runs that are asked for, seed by seed, so that a stopped plot has some of each rate."""
    own = configs.load_config(asked.config).optimiser
    batches, epochs = asked.batches or [own.batch_size], asked.epochs or [own.epochs]
    return [
        Run(budget, *schedule, rate, seed)
        for budget in asked.budgets
        for seed, *schedule, rate in itertools.product(asked.seeds, batches, epochs, asked.rates)
        if budget not in ONE_SEED or seed == SEEDS[0]
    ]


# The finished runs of each size, batch, number of epochs and rate, in this order.
Cells = dict[tuple[str, int, int, float], list[dict[str, Any]]]


def cells_of(folder: Path) -> Cells:
    """All finished runs; the smallest size comes first."""
    found: Cells = {}
    for run in map(read_json, sorted(folder.glob("*.json"))):
        cell = run["budget"], run["batch_size"], run["epochs"], run["rate"]
        found.setdefault(cell, []).append(run)
    ascending = sorted(found, key=lambda cell: (budget_parameters(cell[0]), *cell[1:]))
    return {cell: found[cell] for cell in ascending}


def of_the_config(cells: Cells, config: configs.TrainingConfig) -> Cells:
    """The runs with the config's own batch and epochs."""
    own = config.optimiser.batch_size, config.optimiser.epochs
    return {cell: runs for cell, runs in cells.items() if cell[1:3] == own}


def mean_and_error(runs: Sequence[dict[str, Any]], way: str) -> tuple[float, float]:
    """The mean over seeds of the judged loss, and its standard error (not a number for one)."""
    losses: npt.NDArray[np.float64] = np.array([run[way]["test"] for run in runs])
    if len(losses) < 2:
        return float(losses.mean()), math.nan
    return float(losses.mean()), float(losses.std(ddof=1)) / math.sqrt(len(losses))


def print_table(cells: Cells) -> None:
    """A row for each size, schedule and rate."""
    header("size", "batch", "epochs", "rate", "seeds", *WAYS.values(), "clipped steps")
    for (budget, batch_size, epochs, rate), runs in cells.items():
        shown = []
        for way in WAYS:
            loss, error = mean_and_error(runs, way)
            shown.append(f"{loss:.4f}" + ("" if math.isnan(error) else f" ± {error:.4f}"))
        clipped = 100 * np.mean([run["clipped"] for run in runs])
        row(budget, batch_size, epochs, f"{rate:g}", len(runs), *shown, f"{clipped:.0f} %")


def write_table(cells: Cells, path: Path, config_path: Path) -> None:
    """What `law.transfer` of a config names: of each run the loss of what a training keeps."""
    settings = configs.as_dict(configs.load_config(config_path))
    content = {
        "kind": "transfer",
        "config": str(config_path),
        "settings": {key: settings[key] for key in SAME},
        "last_day": settings["splits"]["test"][1],
        "runs": [
            {**{key: run[key] for key in COLUMNS[:-1]}, "log_loss": run["mean"]["test"]}
            for runs in cells.values()
            for run in runs
        ],
        "versions": provenance()["versions"],
    }
    write_json(path, content)


def draw(cells: Cells, path: Path, config: configs.TrainingConfig) -> None:
    """The judged loss of the mean of the last quarter against the rate, a line a size."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    from scaling.figures.plots import colour, marker
    from scaling.figures.svg import STYLE, to_svg

    first, last = (day.year for day in config.splits.test)
    with rc_context(STYLE):
        figure = Figure(figsize=(7.2, 3.8), layout="constrained")
        axes = figure.add_subplot()
        for index, budget in enumerate(dict.fromkeys(budget for budget, *_ in cells)):
            own = {cell[-1]: runs for cell, runs in cells.items() if cell[0] == budget}
            points = [mean_and_error(runs, "mean") for runs in own.values()]
            seeds = max(len(runs) for runs in own.values())
            losses, errors = zip(*points, strict=True)
            axes.errorbar(
                list(own),
                losses,
                np.nan_to_num(errors),
                fmt=f"{marker(index)}-",
                color=colour(index),
                ms=5,
                label=f"{budget}, {seeds} seed{'s' if seeds > 1 else ''}",
            )
        axes.set_xscale("log", base=2)
        axes.set_xticks(RATES, [f"{rate:g}" for rate in RATES])
        axes.set_xlabel("learning rate of the base size")
        axes.set_ylabel(f"log-loss on {first}-{last}, nats")
        axes.legend()
        drawn = to_svg(figure, "transfer")
    with atomic_file(path) as stream:
        stream.write(drawn.file.encode())


def main() -> None:
    """Train what is missing, then print the table, and draw it if asked."""
    arguments = parser(__doc__)
    add = arguments.add_argument
    add("folder", type=Path, help="where each run is a file")
    add("--config", type=Path, default=CONFIG, help="development years; default: %(default)s")
    add("--budgets", nargs="*", default=list(BUDGETS), help="default: %(default)s")
    add("--batches", type=int, nargs="+", help="default: the config's own")
    add("--epochs", type=int, nargs="+", help="default: the config's own")
    add("--rates", type=float, nargs="*", default=list(RATES), help="default: %(default)s")
    add("--seeds", type=int, nargs="*", default=list(SEEDS), help="default: %(default)s")
    add("--jobs", type=int, default=1, help="runs at a time, one thread each")
    add("--draw", type=Path, help="an SVG of all finished runs")
    add(
        "--table",
        type=Path,
        help="the JSON of all finished runs that a config's law.transfer names",
    )
    asked = arguments.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    jobs = [(run, asked.config, asked.folder) for run in wanted(asked)]
    jobs = [(run, *of) for run, *of in jobs if not run.path(asked.folder).exists()]
    if jobs:
        with multiprocessing.get_context("spawn").Pool(asked.jobs) as pool:
            for path in pool.imap_unordered(train_run, jobs):
                print(f"made {path}: {read_json(path)['mean']['test']:.4f}", flush=True)
    cells = cells_of(asked.folder)
    print_table(cells)
    config = configs.load_config(asked.config)
    own = of_the_config(cells, config)
    if asked.draw:
        draw(own, asked.draw, config)
    if asked.table:
        write_table(own, asked.table, asked.config)


if __name__ == "__main__":
    main()
