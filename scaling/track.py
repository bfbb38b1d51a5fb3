"""Bring trackers up to the local records (`sync`), or make MLflow's store beforehand (`init`)."""

import argparse
import os
from dataclasses import replace
from pathlib import Path

from scaling.errors import UserError, run_command
from scaling.names import RESULTS_ROOT
from scaling.tracking.local import RecordedRun, read_run, record_paths, replay
from scaling.tracking.mlflow import MlflowBackend, how_to_look, local_uri
from scaling.tracking.run import Backend, Hopeless, failure
from scaling.tracking.trackers import make_backends
from scaling.tracking.wandb import kept_offline


def wanted(arguments: argparse.Namespace, recorded: RecordedRun) -> list[Backend]:
    """The trackers that the run was configured with, unless the flags name another."""
    config = recorded.tracking
    if arguments.to is not None:
        config = replace(config, mlflow=arguments.to == "mlflow", wandb=arguments.to == "wandb")
    return make_backends(config, recorded.info.results_root, arguments.mlflow_uri)


def upload(path: Path, recorded: RecordedRun, backend: Backend) -> int | None:
    """How many points of the record at `path` were new to a tracker; None if it has them."""
    if backend.name == "wandb" and os.environ.get("WANDB_MODE") == "offline":
        kept = kept_offline(recorded.info, recorded.key)
        if kept:
            print(f"{path}: kept offline already; to upload it, type: wandb sync {kept}")
            return None
    try:
        added = replay(recorded, backend)
    except Exception as error:
        cure = "" if isinstance(error, Hopeless) else "see that its server is up, "
        raise UserError(
            f"{path}: {backend.name} did not take it ({failure(error)}); "
            f"{cure}then type the same command again"
        ) from None
    print(f"{recorded.info.run}: {added} new points in {backend.name}")
    return added


def sync(arguments: argparse.Namespace) -> None:
    """Upload what the trackers lack of the local records of one study."""
    uploads: list[int] = []
    look = ""
    for path in record_paths(arguments.results, arguments.run):
        recorded = read_run(path)
        if recorded is None:
            print(f"{path}: left out, its first line does not say which run it is")
            continue
        for backend in wanted(arguments, recorded):
            added = upload(path, recorded, backend)
            if added is not None:
                uploads.append(added)
                if isinstance(backend, MlflowBackend):
                    look = f"; to look at them, {how_to_look(backend.uri)}"
    print(f"{len(uploads)} uploads, {sum(uploads)} points were missing and are there now{look}")


def init(arguments: argparse.Namespace) -> None:
    """Make MLflow's local store, so that jobs that start together need not wait for each other."""
    uri = local_uri(arguments.results)
    MlflowBackend(uri, arguments.results).make_store()
    print(f"{uri} is ready; to look at it, {how_to_look(uri)}")


def main(argv: list[str] | None = None) -> None:
    """Parse, then `sync` or `init`."""
    parser = argparse.ArgumentParser(prog="python -m scaling.track", description=__doc__)
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("sync", help="upload what trackers lack of a study's local records")
    one.add_argument("--results", type=Path, required=True, help="a study: results/<experiment>")
    one.add_argument("--run", help="only this run, for example 2m.seed43")
    one.add_argument("--to", choices=("mlflow", "wandb"), help="default: what the run asked for")
    one.add_argument(
        "--mlflow-uri",
        help="default: MLFLOW_TRACKING_URI, else the config's, else the store under results/",
    )
    one.set_defaults(run_it=sync)
    two = commands.add_parser("init", help="make MLflow's sqlite store")
    two.add_argument("--results", type=Path, default=RESULTS_ROOT, help="the folder of mlflow.db")
    two.set_defaults(run_it=init)
    arguments = parser.parse_args(argv)
    arguments.run_it(arguments)


if __name__ == "__main__":
    run_command(main)
