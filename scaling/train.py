"""Train one model: `python -m scaling.train --config configs/daily/threshold_1pct.yaml`."""

import argparse
import errno
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scaling import config as configs
from scaling.errors import EXIT_STOPPED, UserError, run_command
from scaling.record import (
    COMPUTING_PACKAGES,
    code_digest,
    fingerprint,
    micro_batch_of,
    provenance,
    read_json,
    versions_of,
    write_json,
)

if TYPE_CHECKING:
    from scaling.tracking.run import Status
    from scaling.training.trainer import Outcome

SMALLEST_MICRO_BATCH = 8
UNWRITABLE = (errno.EROFS, errno.EACCES, errno.EEXIST, errno.ENOTDIR, errno.ENOSPC, errno.EDQUOT)
TAGS = ("budget", "seed", "parameters", "data_md5", "git_commit", "device")
LOCK_WAIT_SECONDS = 120  # an orphan whose snakemake was killed needs this long to save and leave


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The command line; what is not given is the path that the workflow would use."""
    parser = argparse.ArgumentParser(prog="python -m scaling.train", description=__doc__)
    add = parser.add_argument
    add("--config", type=Path, required=True, help="one experiment, configs/daily/*.yaml")
    add("--param-budget", help="2m, 20m, ...: a file in configs/model (default: the config's)")
    add("--seed", type=int, help="default: the config's")
    add("--data-md5", type=Path, help="the stamp of check_data, to be matched")
    add("--batch-size", type=Path, help="JSON of find_batch_size (default: beside the output)")
    add("--output", type=Path, help="checkpoint (default: results/<experiment>/<run>.ckpt)")
    add("--record", type=Path, help="run record (default: the output, with .json)")
    add("--log", type=Path, help="a file for every message; FILE.history keeps earlier tries")
    add("--threads", type=int, help="CPU threads (default: all)")
    add("--shard", action="store_true", help="FSDP2 also where one device holds the whole state")
    add("--overwrite", action="store_true", help="replace a checkpoint of other settings")
    add("--stop-with-parent", action="store_true", help="save and stop if the caller is killed")
    arguments = parser.parse_args(argv)
    if arguments.threads is not None and arguments.threads < 1:
        parser.error(f"--threads {arguments.threads}: at least 1")
    return arguments


def make_say(log: Path | None) -> Callable[[str], None]:
    """Messages go past the progress bar to the terminal, to the log and to its history.

    Snakemake empties a declared log before each try; the history beside it keeps them all.
    """
    from tqdm import tqdm

    files = [log, log.with_suffix(".history")] if log else []

    def say(message: str) -> None:
        tqdm.write(message, file=sys.stderr)
        for path in files:
            try:
                with path.open("a") as stream:
                    stream.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {message}\n")
            except OSError as error:  # a full disk must not end the training that it reports
                tqdm.write(f"{path}: {error.strerror}", file=sys.stderr)

    if log:
        log.parent.mkdir(parents=True, exist_ok=True)
    return say


def catch_signals(stop_with_parent: bool) -> Callable[[], str | None]:
    """Signals set a flag that the loop looks at between steps, so a step is never torn."""
    received: list[str] = []
    for name in ("SIGTERM", "SIGINT", "SIGUSR1"):
        signal.signal(getattr(signal, name), lambda *_, name=name: received.append(name))
    parent = os.getppid()

    def stop_requested() -> str | None:
        if stop_with_parent and os.getppid() != parent:
            return "the process that started it has ended"
        return received[0] if received else None

    return stop_requested


def already_made(output: Path, record_path: Path, wanted: str) -> bool:
    """True if the very same run is there already; another run's file is a `UserError`."""
    if not output.exists():
        return False
    found = read_json(record_path).get("fingerprint") if record_path.is_file() else None
    if found == wanted:
        return True
    raise UserError(
        f"{output} exists and was made with other settings, data or code (fingerprint {found}, "
        f"now {wanted}); keep it under another name, or type --overwrite"
    )


def main(argv: list[str] | None = None) -> int | None:
    """Train one budget and seed, and write its checkpoint and run record."""
    arguments = parse(argv)
    first = os.environ.get("RANK", "0") == "0"  # of torchrun's processes one speaks
    say = make_say(arguments.log) if first else lambda message: None
    try:
        with ExitStack() as held:
            return train_one(arguments, say, held)
    except UserError as error:
        if arguments.log:
            say(f"stopped by an error: {error}")
        raise
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise
        raise UserError(
            f"{error.filename or 'writing'}: {error.strerror}; it must be writable: mend that, "
            "then the same command goes on from the last saved state"
        ) from None


@contextmanager
def sole_trainer(directory: Path, output: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Hold the run's lock, waiting a little for an orphan to save and leave; freed by any death."""
    from filelock import FileLock, Timeout

    directory.mkdir(parents=True, exist_ok=True)
    lock = FileLock(directory / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        say(f"another training of {output} holds {lock.lock_file}: waiting {LOCK_WAIT_SECONDS} s")
        try:
            lock.acquire(timeout=LOCK_WAIT_SECONDS)
        except Timeout:
            raise UserError(
                f"{output} is being trained by another process; let it finish, or end it (it saves "
                f"its state first): pkill -TERM -f 'scaling.train.*{output.stem}'"
            ) from None
    try:
        yield
    finally:
        lock.release()


def train_one(arguments: argparse.Namespace, say: Callable[[str], None], held: ExitStack) -> int:
    """Check everything, build, train, write; returns the exit code. `held` frees the device."""
    config = configs.load_config(arguments.config, arguments.param_budget, arguments.seed)
    own_seed = configs.load_config(arguments.config).seed
    model_config = configs.load_model_config(config.param_budget)
    experiment = configs.experiment_name(arguments.config)
    run = configs.run_name(config.param_budget, config.seed, own_seed)
    output = arguments.output or configs.artefact(experiment, run, "ckpt")
    record_path = arguments.record or output.with_suffix(".json")
    search = arguments.batch_size or configs.artefact(
        experiment, config.param_budget, "batch_size.json"
    )
    from scaling.data.features import verified_data

    prices_md5, features_md5 = verified_data(config, arguments.data_md5)
    if search.is_file():
        micro_batch = micro_batch_of(search, config.optimiser.batch_size)
    else:
        micro_batch = min(SMALLEST_MICRO_BATCH, config.optimiser.batch_size)
        say(f"no batch-size search at {search}: micro-batch {micro_batch}; snakemake {search}")
    stop_requested = catch_signals(arguments.stop_with_parent)

    import torch

    from scaling.data.dataset import load_study
    from scaling.machine.device import choose_device, choose_precision, device_name, tune
    from scaling.machine.guard import ThermalGuard
    from scaling.machine.processes import claimed_device, joined, shared_if_large
    from scaling.tracking.run import RunInfo
    from scaling.tracking.trackers import NoTracker, Trackers, open_trackers
    from scaling.training import checkpoint, trainer
    from scaling.training import model as models

    device = held.enter_context(
        claimed_device(choose_device(config.device), torch.cuda.device_count(), say)
    )
    group = held.enter_context(joined(device, arguments.shard))
    precision = choose_precision(config.precision, device)
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    tune(device)
    study = load_study(config)
    channels = len(study.feature_names)
    identity = {
        **configs.training_identity(config, model_config),
        "prices_md5": prices_md5,
        "features_md5": features_md5,
        "label_hash": study.label_hash,
        "micro_batch": micro_batch,
        "device": device.type,
        "precision": precision,
        "code_digest": code_digest("train"),
        "versions": versions_of(COMPUTING_PACKAGES),
    }
    group.refuse_other_than_first(identity)
    identity_print = fingerprint(identity)
    output.parent.mkdir(parents=True, exist_ok=True)
    for block, days in study.samples.items():
        say(f"{block}: {len(days):,} samples, {study.labels(block).sum():,} positive")

    trainer.seed_everything(config.seed)
    model = models.build_model(model_config, config.window, channels)
    parameters = models.count_parameters(model)
    models.check_budget(config.param_budget, parameters)
    group = shared_if_large(group, device, parameters, say)
    # What is known before the first step; `finished_record` adds what training found out.
    record = {
        "kind": "train",
        "experiment": experiment,
        "run": run,
        "budget": config.param_budget,
        "parameters": parameters,
        "seed": config.seed,
        "config": configs.as_dict(config),
        "model": configs.as_dict(model_config),
        "data_md5": prices_md5,
        "features_md5": features_md5,
        "feature_names": list(study.feature_names),
        "label_hash": study.label_hash,
        "train_base_rate": study.train_base_rate,
        "fingerprint": identity_print,
        "code_digest": identity["code_digest"],
        "micro_batch": micro_batch,
        "device": device.type,
        "device_name": device_name(device),
        "threads": torch.get_num_threads(),
        "processes": group.size,
        "sharded": group.sharded,
        "precision": precision,
        **provenance(),
    }
    window_flops = models.training_flops(model_config, config.window, channels)
    info = RunInfo(
        experiment=experiment,
        run=run,
        params={**configs.as_dict(config.optimiser), **configs.as_dict(model_config)},
        tags={key: str(record[key]) for key in TAGS},
        directory=output.parent,
        datasets=[("prices", str(config.data.prices), prices_md5)],
    )
    resume = configs.resume_directory(experiment, run)
    with sole_trainer(resume, output, say) if group.first else nullcontext():
        # Looked at under the lock: who waited for another trainer may find its work done.
        if not arguments.overwrite and group.from_first(
            lambda: already_made(output, record_path, identity_print)
        ):
            say(f"{output} is up to date (fingerprint {identity_print}): nothing to train")
            return 0
        store = checkpoint.ResumeStore(resume / identity_print)
        state, problems = store.load() if group.first else (None, [])
        step = group.from_first(lambda: state["progress"]["step"] if state else None)
        if step is not None and not group.first:
            state = store.at(step)
        for problem in problems:
            say(f"{problem}; the state before it is used")
        progress = state["progress"] if state else {}
        trackers: Trackers | NoTracker = NoTracker()
        if group.first:
            trackers = open_trackers(
                config.tracking,
                info,
                resume_ids=progress.get("tracker_ids"),
                resume_step=progress.get("step"),
                on_problem=say,
            )
        trackers.artifact(arguments.config)
        say(
            f"training {run} of {experiment}: {parameters:,} parameters on {device} in "
            f"{precision}, micro-batch {micro_batch}"
        )
        ending: tuple[Status, str] = ("failed", "an error; see the log")
        try:
            with ThermalGuard(config.thermal, device.type) as guard:
                outcome = trainer.train(
                    model,
                    study,
                    config.optimiser,
                    peak_learning_rate=config.optimiser.learning_rate
                    * model_config.learning_rate_multiplier,
                    seed=config.seed,
                    micro_batch=micro_batch,
                    device=device,
                    precision=precision,
                    guard=guard,
                    tracker=trackers,
                    store=store,
                    state=state,
                    checkpoint_minutes=config.checkpoint_minutes,
                    stop_requested=stop_requested,
                    say=say,
                    group=group,
                )
            if not group.first:
                return 0
            record |= finished_record(outcome, window_flops) | {"thermal": guard.summary()}
            content = {
                "weights": outcome.best_weights,
                "last_weights": outcome.last_weights,
                "normaliser": {"mean": study.normaliser.mean, "std": study.normaliser.std},
                "record": json.dumps(record),
            }
            # The record first, so that after any kill a checkpoint on disk is beside its own.
            output.unlink(missing_ok=True)
            try:
                write_json(record_path, {**record, "tracking": trackers.ids})
                checkpoint.save(output, content)
            except (OSError, RuntimeError) as error:
                raise UserError(
                    f"{output}: could not be written ({error}); the saved state is kept: make "
                    "room, then the same command goes on"
                ) from None
            trackers.artifact(output)
            ending = ("finished", outcome.stop_reason)
            for states in resume.iterdir():  # this run's, and those of settings since changed
                if states.is_dir():
                    shutil.rmtree(states)
        except trainer.Stopped as stop:
            ending = ("stopped", str(stop))
            held.callback(group.wait)  # else srun, at the first that leaves, ends who still writes
            say(f"stopped: {stop}; the same command resumes at step {stop.step:,}")
            return EXIT_STOPPED
        finally:
            trackers.finish(*ending, {"parameters": parameters, **record.get("validation", {})})
    say(
        f"made {output}: {parameters:,} parameters, best epoch {record['best_epoch']} of "
        f"{len(record['epochs'])}, validation log-loss {record['validation']['log_loss']:.4f}, "
        f"skill {100 * record['validation']['skill']:.1f} % over the base rate, "
        f"{record['seconds']:.0f} s\n"
        f"next: snakemake results/{experiment}/{run}.eval.json"
    )
    return 0


def finished_record(outcome: "Outcome", window_flops: float) -> dict[str, Any]:
    """What a training found out: the part of the run record that only its end can tell."""
    progress = outcome.progress
    best = progress.epochs[progress.best_epoch - 1]
    return {
        "windows": progress.windows,
        "flops": progress.windows * window_flops,
        "seconds": progress.seconds,
        "windows_per_second": progress.windows / progress.seconds,
        "best_epoch": progress.best_epoch,
        "epochs": progress.epochs,
        "validation": {"log_loss": best["val_log_loss"], "skill": best["val_skill"]},
        "stop_reason": outcome.stop_reason,
    }


if __name__ == "__main__":
    run_command(main)
