"""The batch-size search: micro-batches doubled until memory is full."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from scaling import config as configs
from scaling.data.features import feature_names
from scaling.errors import UserError
from scaling.machine.device import choose_device, choose_precision, device_name, free_memory
from scaling.machine.processes import STATE_BYTES, too_large
from scaling.record import provenance
from scaling.sizes import ModelConfig, load_model_config
from scaling.training.model import build_model, count_parameters
from scaling.training.probe import Probe, Result

FIRST_SIZE = 8
HEADROOM = 0.125  # of the free memory, left to the rest of the machine
GIB = 2**30


@dataclass(frozen=True)
class Search:
    """A search in which no size exceeds `limit`; a process has `share` samples of a batch."""

    probe: Probe
    share: int
    limit: int
    identity: dict[str, Any]
    """What the answer depends on. Another identity needs another search."""


def planned(config: configs.TrainingConfig, arguments: argparse.Namespace) -> Search:
    """The search that the command line asks for; a `UserError` if there are too few GPUs."""
    model = load_model_config(config.param_budget, config.family)
    device = choose_device(arguments.device or config.device)
    precision = choose_precision(config.precision, device)
    batch_size, processes = config.optimiser.batch_size, arguments.processes
    share = max(1, batch_size // processes)
    limit = arguments.max or share
    if limit > config.splits.min_samples:  # fewer samples than that are refused anyway
        from scaling.data.dataset import load_study

        limit = min(limit, len(load_study(config).samples["train"]))
    gpus = torch.cuda.device_count() if device.type == "cuda" else processes
    if gpus < processes:
        raise UserError(f"--processes: got {processes}; allowed: a GPU each, and {gpus} are here")
    # The processes of a CPU divide its memory.
    free = free_memory(device.type) // (1 if device.type == "cuda" else processes)
    names = feature_names(config.data.markets[0].features)
    parameters = parameters_of(model, config.window, len(names))
    probe = Probe(
        model,
        config.window,
        config.optimiser,
        n_channels=len(names),
        device=device.type,
        precision=precision,
        seed=config.seed,
        ceiling=int(free * (1 - HEADROOM)),
        processes=processes,
        sharded=processes > 1 and too_large(parameters, free),
    )
    identity = {
        "family": model.family,
        "model": configs.as_dict(model),
        "window": configs.as_dict(config.window),
        "feature_names": names,
        "device": device.type,
        "device_name": device_name(device),
        "precision": precision,
        "versions": provenance()["versions"],
        "batch_size": batch_size,
        "limit": limit,
        "processes": processes,
    }
    return Search(probe, share, limit, identity)


def search(try_size: Callable[[int], Result], limit: int) -> list[Result]:
    """Double from 8 to `limit` at most, until a size does not fit.

    Where not even the first size fits, smaller ones are tried, down to 1.
    """
    first = next(size for size in (FIRST_SIZE, 4, 2, 1) if size <= limit)
    tried = [try_size(first)]
    larger, smaller = 2 * first, first // 2
    while tried[-1]["status"] == "ok" and larger <= limit:
        tried.append(try_size(larger))
        larger *= 2
    while not fitting(tried) and smaller:
        tried.append(try_size(smaller))
        smaller //= 2
    return tried


def fitting(tried: list[Result]) -> list[Result]:
    """The sizes that fit."""
    return [result for result in tried if result["status"] == "ok"]


def choose(tried: list[Result], share: int) -> int:
    """The largest size that fits, at most a process's `share` of the optimiser's batch.

    Memory alone decides. Speeds are recorded for `scaling.plan`, but a choice by speed differed
    from one search to the next, and each micro-batch rounds differently.
    """
    return max(int(r["micro_batch"]) for r in fitting(tried) if r["micro_batch"] <= share)


def parameters_of(model: ModelConfig, window: configs.WindowConfig, n_channels: int) -> int:
    """Counted without taking memory for them."""
    with torch.device("meta"):
        return count_parameters(build_model(model, window, n_channels))


def refuse_nothing_fits(budget: str, probe: Probe, tried: list[Result]) -> None:
    """If no size fits, raise a `UserError` with the memory needed and the memory there is."""
    if fitting(tried):
        return
    parameters = parameters_of(probe.model, probe.window, probe.n_channels)
    needed = STATE_BYTES * parameters / (probe.processes if probe.sharded else 1)
    told = "; ".join(f"{r['micro_batch']}: {r['status']}, {r['detail']}" for r in tried)
    raise UserError(
        f"{budget}: no micro-batch fits, not even {tried[-1]['micro_batch']} ({told}); "
        f"weights, gradients and Adam alone need {needed / GIB:.2f} GiB, activations come on top; "
        f"allowed here: {probe.ceiling / GIB:.2f} GiB on {probe.device}; free memory, type a "
        f"smaller --param-budget, or share it: --processes {2 * probe.processes}"
    )
