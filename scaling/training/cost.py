"""What trainings cost on paper: counts, times and memory, before anything runs."""

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from scaling import config as configs
from scaling import identities
from scaling.data.dataset import split_samples, training_days, training_markets
from scaling.data.features import feature_days, feature_names
from scaling.data.prices import prices_of
from scaling.machine.processes import STATE_BYTES
from scaling.names import experiment_path
from scaling.record import read_json
from scaling.run import RunName
from scaling.sizes import load_model_config
from scaling.training.batch_size import parameters_of
from scaling.training.model import check_budget, training_flops

FORWARD_SHARE = 1 / 3  # of a training step: the backward pass costs twice the forward


@dataclass(frozen=True)
class Cost:
    """One training on paper. Seconds are None if the speed of the device is not known."""

    experiment: str
    run: str
    parameters: int
    flops: float
    memory: int  # bytes
    expected: float | None  # seconds, by the batch-size search or the device's FLOP/s
    source: str
    measured: float | None  # seconds, by the run record


def epoch_windows(config: configs.TrainingConfig) -> tuple[int, int]:
    """Training and validation windows of one epoch, counted from the prices alone."""
    trained, validation = training_markets(config), 0
    days = []
    for market in config.data.markets:
        prices = prices_of(market, config.data.manifest)
        dates = feature_days(market.features, prices).to_numpy()
        samples = split_samples(dates, config.splits, config.window.warmup, config.task.horizon)
        if market.name in trained:
            days.append(dates[samples["train"]])
        validation += len(samples["validation"]) if market.judged else 0
    dates = np.concatenate(days)
    return len(training_days(np.arange(len(dates)), dates, config)), validation


def _read_if_there(path: Path) -> dict[str, Any]:
    return read_json(path) if path.is_file() else {}


def cost_of(experiment: str, run: RunName, results: Path, device_flops: float | None) -> Cost:
    """The cost of one training: all its epochs, validation included, early stopping not counted.

    FLOPs are the model's matrix products. Memory is what the batch-size search measured, or,
    where there is none, the optimiser's state alone.
    """
    path = experiment_path(experiment)
    config = identities.config_of(path, run)
    model = load_model_config(run.budget, config.family)
    n_channels = len(feature_names(config.data.markets[0].features))
    parameters = parameters_of(model, config.window, n_channels)
    check_budget(run.budget, model.family, parameters)
    train, validation = epoch_windows(config)
    windows = config.recipe.epochs * (train + FORWARD_SHARE * validation)
    flops = windows * training_flops(model, config.window, n_channels)
    name = run.written(configs.load_config(path).seed)
    search = _read_if_there(results / experiment / f"{run.budget}.batch_size.json")
    record = _read_if_there(results / experiment / f"{name}.json")
    tried = {size["micro_batch"]: size for size in search.get("tried", ())}
    chosen = tried.get(search.get("micro_batch"), {})
    memory = chosen.get("peak_bytes") or STATE_BYTES * parameters
    if device_flops:
        expected, source = flops / device_flops, "FLOP/s"
    elif chosen.get("samples_per_second"):
        expected, source = windows / chosen["samples_per_second"], "search"
    else:
        expected, source = None, "-"
    measured = record.get("seconds")
    return Cost(experiment, name, parameters, flops, int(memory), expected, source, measured)


def makespan(seconds: Iterable[float], devices: int) -> float:
    """Time until the last job ends, the longest jobs first, one job per device.

    Within 4/3 of the best possible order (Graham 1969).
    """
    busy = [0.0] * devices
    for job in sorted(seconds, reverse=True):
        heapq.heappush(busy, heapq.heappop(busy) + job)
    return max(busy)


def duration(seconds: float | None) -> str:
    """`'95 s'`, `'12 min'`, `'3.4 h'`, `'2.1 d'`; `'-'` for None."""
    if seconds is None:
        return "-"
    for unit, size, limit in (("s", 1, 100), ("min", 60, 6000), ("h", 3600, 172_800)):
        if seconds < limit:
            return f"{seconds / size:.{0 if unit == 's' else 1}f} {unit}"
    return f"{seconds / 86_400:.1f} d"


def table(costs: Sequence[Cost]) -> str:
    """One line per job, in columns."""
    head = ("experiment", "run", "parameters", "PFLOP", "GiB", "expected", "by", "measured")
    rows = [
        (
            cost.experiment,
            cost.run,
            f"{cost.parameters:,}",
            f"{cost.flops / 1e15:.3g}",
            f"{cost.memory / 2**30:.2f}",
            duration(cost.expected),
            cost.source,
            duration(cost.measured),
        )
        for cost in costs
    ]
    return _in_columns([head, *rows], names=2)


def table_of_budgets(costs: Sequence[Cost]) -> str:
    """One line per budget: what its trainings cost together, and the time of one of them.

    `expected` and `measured` are medians, `of` is the number of trainings that have a run record.
    """
    head = ("budget", "trainings", "PFLOP", "GiB", "one by one", "expected", "measured", "of")
    rows = []
    for budget in dict.fromkeys(cost.run.partition(".")[0] for cost in costs):
        own = [cost for cost in costs if cost.run.partition(".")[0] == budget]
        times = [cost.expected for cost in own if cost.expected is not None]
        measured = [cost.measured for cost in own if cost.measured is not None]
        known = len(times) == len(own)
        rows.append(
            (
                budget,
                f"{len(own)}",
                f"{sum(cost.flops for cost in own) / 1e15:.3g}",
                f"{max(cost.memory for cost in own) / 2**30:.3g}",
                duration(sum(times) if known else None),
                duration(median(times) if known else None),
                duration(median(measured) if measured else None),
                f"{len(measured)}",
            )
        )
    return _in_columns([head, *rows], names=1)


def _in_columns(rows: Sequence[Sequence[str]], names: int) -> str:
    """The first `names` columns to the left, the numbers after them to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]

    def line(row: Sequence[str]) -> str:
        cells = [
            f"{cell:<{width}}" if place < names else f"{cell:>{width}}"
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        return "  ".join(cells).rstrip()

    return "\n".join(map(line, rows))


def totals(costs: Sequence[Cost], gpus: Sequence[int]) -> list[str]:
    """The sum over all trainings, the time on several devices, and expected against measured."""
    flops = sum(cost.flops for cost in costs)
    lines = [f"total: {len(costs)} trainings, {flops / 1e15:.3g} PFLOP"]
    known = [cost.expected for cost in costs if cost.expected is not None]
    if len(known) < len(costs):
        lines.append(
            f"{len(costs) - len(known)} of {len(costs)} have no expected time: type "
            "--device-flops 160e9 (two CPU cores, fp32), or let `snakemake --until "
            "find_batch_size` measure this device"
        )
    for count in gpus if known else ():
        name = "1 device" if count == 1 else f"{count} devices"
        lines.append(f"{name}: {duration(makespan(known, count))}")
    times = [(cost.expected, cost.measured) for cost in costs]
    done = [(paper, real) for paper, real in times if paper is not None and real is not None]
    if done:
        expected, measured = (sum(column) for column in zip(*done, strict=True))
        lines.append(
            f"finished: {len(done)}, expected {duration(expected)}, measured {duration(measured)} "
            f"({measured / expected:.2f} times the expected)"
        )
    return lines
