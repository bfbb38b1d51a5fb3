"""Bring trackers up to the local records (`sync`), or make MLflow's store beforehand (`init`)."""

import argparse
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scaling.config import RESULTS_ROOT, TrackingConfig
from scaling.errors import UserError, run_command
from scaling.tracking.backends import (
    Backend,
    Ending,
    MlflowBackend,
    Row,
    RunInfo,
    local_uri,
    make_backends,
    results_root,
)
from scaling.tracking.local import is_alive, read_lines

SUFFIX = ".metrics.jsonl"
KILLED = "ended without a word: killed, or the machine went down"


def _rows(lines: list[dict[str, Any]]) -> list[Row]:
    return [
        Row(
            line["step"],
            line["time"],
            {k: float(v) for k, v in line.items() if k not in ("step", "time")},
        )
        for line in lines
        if "step" in line
    ]


def _ending(lines: list[dict[str, Any]], rows: list[Row]) -> Ending:
    last = rows[-1] if rows else Row(0, lines[0]["time"], {})
    told = next((line["ending"] for line in reversed(lines) if "ending" in line), None)
    return Ending(**told) if told else Ending("failed", KILLED, {}, last.step, last.time)


def _wanted(args: argparse.Namespace, recorded: dict[str, Any]) -> TrackingConfig:
    """The trackers the run was configured with, unless the flags say otherwise."""
    return TrackingConfig(
        mlflow=recorded["mlflow"] if args.to is None else args.to == "mlflow",
        mlflow_uri=recorded["mlflow_uri"],
        wandb=recorded["wandb"] if args.to is None else args.to == "wandb",
        wandb_project=args.wandb_project or recorded["wandb_project"],
    )


def _replay(backend: Backend, info: RunInfo, lines: list[dict[str, Any]], alive: bool) -> int:
    """Send one record to one tracker; returns how many points it did not have."""
    backend.open(info, lines[0]["key"], lines[0]["time"])
    rows = _rows(lines)
    added = backend.log(rows)
    for line in lines:
        # A file that was moved or deleted since then cannot be sent; the numbers still are.
        if "artifact" in line and (path := info.directory / line["artifact"]).is_file():
            backend.artifact(path)
    if not alive:
        backend.close(_ending(lines, rows))
    return added


def _records(directory: Path, run: str | None) -> Iterator[tuple[Path, list[dict[str, Any]]]]:
    paths = sorted(directory.glob(f"{run or '*'}{SUFFIX}"))
    if not paths:
        raise UserError(
            f"{directory}: no {run or '*'}{SUFFIX} there; give the folder of one study, "
            "for example --results results/daily/threshold_1pct"
        )
    for path in paths:
        lines = read_lines(path)
        if not lines or "key" not in lines[0]:
            print(f"{path}: left out, its first line does not say which run it is")
            continue
        yield path, lines


def how_to_look(uri: str) -> str:
    """What to do to see a store in a browser."""
    return f"open {uri}" if uri.startswith("http") else f"type: mlflow ui --backend-store-uri {uri}"


def sync(args: argparse.Namespace) -> None:
    """Replay every record of one study into the trackers that lack it."""
    added = runs = 0
    where = ""
    for path, lines in _records(args.results, args.run):
        told = lines[0]["run_info"]
        info = RunInfo(**{**told, "directory": args.results})
        for backend in make_backends(_wanted(args, lines[0]["tracking"]), results_root(info)):
            if isinstance(backend, MlflowBackend) and args.mlflow_uri:
                backend.uri = args.mlflow_uri  # a flag is nearer than the shell's environment
            if backend.name == "wandb" and os.environ.get("WANDB_MODE") == "offline":
                kept = sorted(args.results.glob(f"wandb/offline-run-*-{lines[0]['key']}"))
                if kept:
                    print(f"{path}: kept offline already; to upload it, type: wandb sync {kept[0]}")
                    continue
            try:
                new = _replay(backend, info, lines, is_alive(path))
            except Exception as error:
                why = " ".join(str(error).split())[:300]
                raise UserError(
                    f"{path}: {backend.name} did not take it ({type(error).__name__}: {why}); "
                    "see that its server is up, then type the same command again"
                ) from None
            print(f"{info.run}: {new} new points in {backend.name}")
            added, runs = added + new, runs + 1
            if isinstance(backend, MlflowBackend):
                where = f"; to look at them, {how_to_look(backend.uri)}"
    print(f"{runs} uploads, {added} points were missing and are there now{where}")


def init(args: argparse.Namespace) -> None:
    """Make MLflow's local store, which jobs that start together would otherwise queue for."""
    make_backends(TrackingConfig(mlflow=False), args.results)  # the quiet environment
    uri = local_uri(args.results)
    MlflowBackend(uri, args.results).make_store()
    print(f"{uri} is ready; to look at it, {how_to_look(uri)}")


def main(argv: list[str] | None = None) -> None:
    """Parse, then `sync` or `init`."""
    parser = argparse.ArgumentParser(prog="python -m scaling.track", description=__doc__)
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("sync", help="replay local records into trackers that lack them")
    one.add_argument("--results", type=Path, required=True, help="a study: results/<experiment>")
    one.add_argument("--run", help="only this run, for example 2m.seed43")
    one.add_argument("--to", choices=("mlflow", "wandb"), help="default: what the run asked for")
    one.add_argument("--mlflow-uri", help="default: MLFLOW_TRACKING_URI, the config, the local one")
    one.add_argument("--wandb-project", help="default: the config's")
    one.set_defaults(run_it=sync)
    two = commands.add_parser("init", help="make MLflow's sqlite store")
    two.add_argument("--results", type=Path, default=RESULTS_ROOT, help="holds mlflow.db")
    two.set_defaults(run_it=init)
    args = parser.parse_args(argv)
    args.run_it(args)


if __name__ == "__main__":
    run_command(main)
