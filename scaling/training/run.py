"""One training from request to files: what `python -m scaling.train` does once it has parsed."""

import json
import logging
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import torch

from scaling import config as configs
from scaling.data.dataset import Study, load_study
from scaling.errors import EXIT_STOPPED, UserError
from scaling.machine.device import choose_device, choose_precision, device_name, tune
from scaling.machine.guard import ThermalGuard
from scaling.machine.processes import claimed_device, joined, shared_if_large
from scaling.record import provenance, read_json, write_json
from scaling.run import Run, refuse
from scaling.sizes import ModelConfig
from scaling.tracking.run import RunInfo, Status
from scaling.tracking.trackers import NoTracker, Trackers, open_trackers
from scaling.training import checkpoint, trainer
from scaling.training.lock import sole_trainer
from scaling.training.model import (
    build_model,
    check_budget,
    count_parameters,
    count_without_embeddings,
)
from scaling.training.model import training_flops as window_flops
from scaling.training.request import Request
from scaling.training.step import sample_order
from scaling.training.trainer import Hardware, Outcome, Recipe

LOG = logging.getLogger(__name__)
TAGS = ("budget", "seed", "parameters", "prices", "git_commit", "device")


def train_one(request: Request, stop_requested: Callable[[], str | None]) -> int:
    """Train what is asked, unless it is there already; returns the exit code."""
    with ExitStack() as held:
        hardware = occupied(request, held)
        study = load_study(request.config)
        for block, days in study.samples.items():
            LOG.info(f"{block}: {len(days):,} samples, {study.labels(block).sum():,} positive")
        model = fresh_model(request.config, request.model, study, request.config.random_seed)
        parameters = count_parameters(model)
        check_budget(request.config.param_budget, request.model.family, parameters)
        shared = shared_if_large(hardware.group, hardware.device, parameters)
        hardware = replace(hardware, group=shared)
        run = found_out(request.asked, study, hardware)
        hardware.group.refuse_other_than_first(run.values())
        record = planned_record(request, study, model, hardware, run)
        lock = sole_trainer(request.resume, request.output)
        with lock if hardware.group.first else nullcontext():
            # Checked under the lock, because the trainer that held it may have made the run.
            if hardware.group.from_first(lambda: already_made(request, run)):
                LOG.info(f"{request.output} is up to date: nothing to train")
                return 0
            try:
                return run_to_its_end(request, study, model, hardware, run, record, stop_requested)
            except trainer.Stopped as stop:
                # srun ends all processes when the first one leaves, so all leave together.
                held.callback(hardware.group.wait)
                LOG.info(f"stopped: {stop}; the same command resumes at step {stop.step:,}")
                return EXIT_STOPPED


def occupied(request: Request, held: ExitStack) -> Hardware:
    """The device, precision and processes of this training; `held` frees them."""
    config = request.config
    device = held.enter_context(
        claimed_device(choose_device(config.device), torch.cuda.device_count())
    )
    group = held.enter_context(joined(device, request.shard))
    precision = choose_precision(config.precision, device)
    if request.threads:
        torch.set_num_threads(request.threads)
    tune(device)
    return Hardware(device, precision, request.micro_batch, group)


def fresh_model(
    config: configs.TrainingConfig, model: ModelConfig, study: Study, seed: int
) -> torch.nn.Module:
    """A new model for the study's features; `seed` fixes its initial weights."""
    torch.manual_seed(seed)
    return build_model(model, config.window, len(study.feature_names))


def found_out(asked: Run, study: Study, hardware: Hardware) -> Run:
    """The run that is asked for, with what only its data and its machine tell."""
    return replace(
        asked,
        labels=study.label_hash,
        device=hardware.device.type,
        precision=hardware.precision,
        micro_batch=hardware.micro_batch,
    )


def planned_record(
    request: Request,
    study: Study,
    model: torch.nn.Module,
    hardware: Hardware,
    run: Run,
) -> dict[str, Any]:
    """The run record as far as it is known before the first step."""
    epochs, seed = request.config.recipe.epochs, request.config.random_seed
    order = sample_order(study.samples["train"], epochs, seed)
    return {
        "kind": "train",
        **run.titles(request.run),
        "identity": run.as_json(),
        "parameters": count_parameters(model),
        "parameters_without_embeddings": count_without_embeddings(request.model, model),
        # Replicates of a budget must differ in both.
        "initial_weights": checkpoint.checksum(model.state_dict()),
        "sample_order": checkpoint.checksum({"days": order}),
        "feature_names": list(study.feature_names),
        "train_base_rate": study.train_base_rate,
        "device_name": device_name(hardware.device),
        "threads": torch.get_num_threads(),
        "processes": hardware.group.size,
        "sharded": hardware.group.sharded,
        **provenance(),
    }


def already_made(request: Request, run: Run) -> bool:
    """True if the very same run is there already; another run's file is a `UserError`."""
    if request.overwrite or not request.output.exists():
        return False
    keep = "keep it under another name, or type --overwrite"
    if not request.record.is_file():
        raise UserError(f"{request.output}: exists without its record {request.record}; {keep}")
    made = Run.of(read_json(request.record), request.record)
    refuse(request.output, made.difference(run), keep)
    return True


def run_to_its_end(
    request: Request,
    study: Study,
    model: torch.nn.Module,
    hardware: Hardware,
    run: Run,
    record: dict[str, Any],
    stop_requested: Callable[[], str | None],
) -> int:
    """Resume or start, train, write checkpoint and record, and close the trackers."""
    store = checkpoint.ResumeStore(request.resume / run.fingerprint)
    state = newest_state(store, hardware)
    with tracked(request, record, state, hardware) as trackers:
        LOG.info(
            f"training {request.run} of {run.experiment}: {record['parameters']:,} parameters "
            f"on {hardware.device} in {hardware.precision}, micro-batch {hardware.micro_batch}"
        )
        with ThermalGuard(request.config.thermal, hardware.device.type) as guard:
            outcome = trainer.train(
                model,
                study,
                Recipe(request.config.recipe, request.config.random_seed, request.model),
                hardware,
                guard=guard,
                tracker=trackers,
                store=store,
                state=state,
                checkpoint_minutes=request.config.checkpoint_minutes,
                stop_requested=stop_requested,
            )
        if not hardware.group.first:
            return 0
        flops = window_flops(request.model, request.config.window, len(study.feature_names))
        record |= finished_record(outcome, flops) | {"thermal": guard.summary()}
        write_results(request, study, outcome, record, trackers.ids)
        trackers.artifact(request.output)
    LOG.info(
        f"made {request.output}: {record['parameters']:,} parameters, validation log-loss "
        f"{record['validation']['log_loss']:.4f}, skill {100 * record['validation']['skill']:.1f} "
        f"% over the base rate, {record['seconds']:.0f} s\n"
        f"next: snakemake results/{run.experiment}/{request.run}.eval.json"
    )
    return 0


def newest_state(store: checkpoint.ResumeStore, hardware: Hardware) -> dict[str, Any] | None:
    """The newest undamaged resume state, the same one in every process, or None."""
    group = hardware.group
    state, problems = store.load() if group.first else (None, [])
    for problem in problems:
        LOG.warning(f"{problem}; the state before it is used")
    step = group.from_first(lambda: state["progress"]["step"] if state else None)
    return state if group.first or step is None else store.at(step)


@contextmanager
def tracked(
    request: Request,
    record: dict[str, Any],
    state: dict[str, Any] | None,
    hardware: Hardware,
) -> Iterator[Trackers | NoTracker]:
    """The run's trackers. However the run ends, they are told."""
    trackers: Trackers | NoTracker = NoTracker()
    if hardware.group.first:
        progress = state["progress"] if state else {}
        trackers = open_trackers(
            request.config.tracking,
            run_info(request, record),
            resume_ids=progress.get("tracker_ids"),
            resume_step=progress.get("step"),
        )
    trackers.artifact(request.config_path)
    ending: tuple[Status, str] = ("failed", "an error; see the log")
    try:
        yield trackers
        ending = ("finished", "completed")
    except trainer.Stopped as stop:
        ending = ("stopped", str(stop))
        raise
    finally:
        summary = {"parameters": record["parameters"], **record.get("validation", {})}
        trackers.finish(*ending, summary)


def run_info(request: Request, record: dict[str, Any]) -> RunInfo:
    """What the trackers are told of the run."""
    optimiser = configs.as_dict(request.config.recipe)
    model = configs.as_dict(request.model)
    prices = [str(market.prices) for market in request.config.data.markets]
    digests = str(request.asked.prices).split(", ")
    known = record | Run.of(record, request.record).values()
    return RunInfo(
        experiment=request.asked.experiment,
        run=request.run,
        params={**optimiser, **model},
        tags={key: str(known[key]) for key in TAGS},
        directory=request.output.parent,
        datasets=[("prices", path, md5) for path, md5 in zip(prices, digests, strict=True)],
    )


def finished_record(outcome: Outcome, flops: float) -> dict[str, Any]:
    """What only the end of a training can tell; `flops` are those of one window."""
    progress = outcome.progress
    return {
        "windows": progress.windows,
        "flops": progress.windows * flops,
        "seconds": progress.seconds,
        "windows_per_second": progress.windows / progress.seconds,
        "used": outcome.used,
        "first_step": progress.first_step,
        "clipped": outcome.clipped,
        "looks": progress.looks,
        "validation": outcome.validation,
    }


def write_results(
    request: Request,
    study: Study,
    outcome: Outcome,
    record: dict[str, Any],
    tracker_ids: dict[str, Any],
) -> None:
    """Write the run record, then the checkpoint, which holds the same record.

    Then the resume states go: this run's, and those of settings that have changed since.
    """
    content = {
        "weights": outcome.weights,
        "last_weights": outcome.last_weights,
        "normaliser": {"mean": study.normaliser.mean, "std": study.normaliser.std},
        "record": json.dumps(record),
    }
    # The record goes first, so that after any kill a checkpoint on disk is beside its own.
    request.output.unlink(missing_ok=True)
    try:
        write_json(request.record, {**record, "tracking": tracker_ids})
        checkpoint.save(request.output, content)
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"{request.output}: could not be written ({error}); the saved state is kept: make "
            "room, then the same command goes on"
        ) from None
    for states in request.resume.iterdir():
        if states.is_dir():
            shutil.rmtree(states)
