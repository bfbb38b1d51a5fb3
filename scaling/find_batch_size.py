"""Find the micro-batch: `python -m scaling.find_batch_size --config configs/daily/....yaml`.

Doubles from 8 until memory is full or the optimiser's batch is reached, and takes the largest size
that fits. Each size does three real training steps in a process of its own, under a memory ceiling.
With `--processes N` the steps are taken by N processes that train together, and divide a model that
is too large for one of them.
"""

import argparse
import signal
import sys
import time
from pathlib import Path

from scaling import config as configs
from scaling import identities
from scaling.errors import UserError, run_command
from scaling.names import artefact, experiment_name
from scaling.record import fingerprint, provenance, read_json, write_json
from scaling.training.probe import TIMEOUT, Result, run_probe, start_server


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m scaling.find_batch_size", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
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
    for name in ("max", "processes", "timeout"):
        if (got := getattr(arguments, name)) is not None and not got > 0:
            raise UserError(f"--{name}: got {got}; allowed: more than 0")
    return arguments


def main(argv: list[str] | None = None) -> None:
    """Search, write the JSON and say what was chosen; a search that still holds is not repeated."""
    arguments = parse(argv)
    config = configs.load_config(arguments.config, arguments.param_budget, arguments.seed)
    budget = config.param_budget
    experiment = experiment_name(arguments.config)
    output = arguments.output or artefact(experiment, budget, "batch_size.json")
    run = identities.newest_of(config).written(config.seed)
    following = f"next: snakemake {artefact(experiment, run, 'ckpt')}"
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # takes probes along
    start_server(config.family)

    from scaling.training import batch_size as sizes

    asked = sizes.planned(config, arguments)
    holds_for = fingerprint(asked.identity)
    if output.is_file() and read_json(output).get("fingerprint") == holds_for:
        chosen = read_json(output)["micro_batch"]
        print(f"{output} holds for this model and device: micro-batch {chosen}; {following}")
        return

    def try_size(micro_batch: int) -> Result:
        result = run_probe(asked.probe, micro_batch, arguments.timeout)
        speed = result["samples_per_second"]
        told = f"{speed:.1f} samples/s" if speed else result["detail"]
        print(f"micro-batch {micro_batch}: {result['status']}, {told}", flush=True)
        return result

    start = time.monotonic()
    tried = sizes.search(try_size, asked.limit)
    sizes.refuse_nothing_fits(budget, asked.probe, tried)
    micro_batch = sizes.choose(tried, asked.share)
    largest = max(result["micro_batch"] for result in sizes.fitting(tried))
    content = {
        "kind": "batch_size",
        "budget": budget,
        "fingerprint": holds_for,
        **asked.identity,
        "n_channels": asked.probe.n_channels,
        "ceiling_bytes": asked.probe.ceiling,
        "sharded": asked.probe.sharded,
        "timeout_seconds": arguments.timeout,
        "tried": tried,
        "largest": largest,
        "micro_batch": micro_batch,
        "seconds": time.monotonic() - start,
        "provenance": provenance(),
    }
    write_json(output, content)
    print(
        f"made {output}: micro-batch {micro_batch}, the largest that fits an optimiser batch of "
        f"{asked.share} a process; {following}"
    )


if __name__ == "__main__":
    run_command(main)
