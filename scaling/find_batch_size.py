"""Find the micro-batch: `python -m scaling.find_batch_size --config configs/daily/....yaml`.

Doubles from 8 until memory is full or the optimiser's batch is reached, and takes the fastest size
that fits. Each size does three real training steps in a process of its own, under a memory ceiling.
With `--processes N` in N processes that train together, and share a model too large for one.
"""

import argparse
import signal
import sys
import time
from pathlib import Path

from scaling import config as configs
from scaling.errors import UserError, run_command
from scaling.record import fingerprint, provenance, read_json, write_json
from scaling.training.batch_size import (
    HEADROOM,
    TIMEOUT,
    Probe,
    Result,
    _context,
    _fits,
    choose,
    parameters_of,
    refuse_nothing_fits,
    run_probe,
    search,
)


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m scaling.find_batch_size",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--config", type=Path, required=True, help="one experiment, configs/daily/*.yaml")
    add("--param-budget", help="2m, 20m, ...: a file in configs/model (default: the config's)")
    add("--seed", type=int, help="of the random windows and weights (default: the config's)")
    add("--device", choices=("auto", "cpu", "cuda", "mps"), help="default: the config's")
    add("--processes", type=int, default=1, help="that train together, a GPU each (default: 1)")
    add("--max", type=int, help="search no further (default: the config's optimiser batch)")
    add(
        "--timeout", type=float, default=TIMEOUT, help="seconds for one size (default: %(default)g)"
    )
    add("--output", type=Path, help="JSON (default: results/<experiment>/<budget>.batch_size.json)")
    arguments = parser.parse_args(argv)
    if arguments.max is not None and arguments.max < 1:
        raise UserError(f"--max: got {arguments.max}; allowed: 1 or more")
    if arguments.processes < 1:
        raise UserError(f"--processes: got {arguments.processes}; allowed: 1 or more")
    if not arguments.timeout > 0:
        raise UserError(f"--timeout: got {arguments.timeout}; allowed: seconds above 0")
    return arguments


def main(argv: list[str] | None = None) -> None:
    """Search, write the JSON and say what was chosen; a search that still holds is not repeated."""
    arguments = parse(argv)
    config = configs.load_config(arguments.config, arguments.param_budget, arguments.seed)
    budget, batch_size = config.param_budget, config.optimiser.batch_size
    model = configs.load_model_config(budget)
    experiment = configs.experiment_name(arguments.config)
    output = arguments.output or configs.artefact(experiment, budget, "batch_size.json")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # takes probes along
    if sys.platform == "linux":
        _context()
        from multiprocessing import forkserver

        forkserver.ensure_running()  # imports torch while this process does

    from scaling.data.features import FEATURE_NAMES
    from scaling.machine.device import choose_device, choose_precision, device_name, free_memory

    device = choose_device(arguments.device or config.device)
    precision = choose_precision(config.precision, device)
    processes = arguments.processes
    share = max(1, batch_size // processes)
    limit = arguments.max or share
    if limit > config.splits.min_samples:  # fewer samples than that are refused anyway
        from scaling.data.dataset import load_study

        limit = min(limit, len(load_study(config).samples["train"]))
    identity = {
        "model": configs.as_dict(model),
        "window": configs.as_dict(config.window),
        "feature_names": FEATURE_NAMES,
        "device": device.type,
        "device_name": device_name(device),
        "precision": precision,
        "versions": provenance()["versions"],
        "batch_size": batch_size,
        "limit": limit,
    }
    if processes > 1:
        identity["processes"] = processes
    asked = fingerprint(identity)
    following = f"next: snakemake {configs.artefact(experiment, budget, 'ckpt')}"
    if output.is_file() and read_json(output).get("fingerprint") == asked:
        chosen = read_json(output)["micro_batch"]
        print(f"{output} holds for this model and device: micro-batch {chosen}; {following}")
        return

    import torch

    from scaling.machine.processes import too_large

    gpus = torch.cuda.device_count() if device.type == "cuda" else processes
    if gpus < processes:
        raise UserError(f"--processes: got {processes}; allowed: a GPU each, and {gpus} are here")
    # The processes of a CPU divide its memory.
    free = free_memory(device.type) // (1 if device.type == "cuda" else processes)
    ceiling = int(free * (1 - HEADROOM))
    parameters = parameters_of(model, config.window, len(FEATURE_NAMES))
    sharded = processes > 1 and too_large(parameters, free)
    probe = Probe(
        model,
        config.window,
        config.optimiser,
        n_channels=len(FEATURE_NAMES),
        device=device.type,
        precision=precision,
        seed=config.seed,
        ceiling=ceiling,
        processes=processes,
        sharded=sharded,
    )

    def try_size(micro_batch: int) -> Result:
        result = run_probe(probe, micro_batch, arguments.timeout)
        speed = result["samples_per_second"]
        told = f"{speed:.1f} samples/s" if speed else result["detail"]
        print(f"micro-batch {micro_batch}: {result['status']}, {told}", flush=True)
        return result

    start = time.monotonic()
    tried = search(try_size, share, limit)
    refuse_nothing_fits(budget, probe, tried)
    micro_batch = choose(tried, share)
    largest = max(result["micro_batch"] for result in _fits(tried))
    content = {
        "kind": "batch_size",
        "budget": budget,
        "fingerprint": asked,
        **identity,
        "n_channels": probe.n_channels,
        "ceiling_bytes": ceiling,
        "processes": processes,
        "sharded": sharded,
        "timeout_seconds": arguments.timeout,
        "tried": tried,
        "largest": largest,
        "micro_batch": micro_batch,
        "seconds": time.monotonic() - start,
        "provenance": provenance(),
    }
    write_json(output, content)
    print(
        f"made {output}: micro-batch {micro_batch} is the fastest, {largest} the largest tried "
        f"that fits, of at most {limit}; {following}"
    )


if __name__ == "__main__":
    run_command(main)
