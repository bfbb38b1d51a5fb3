"""The training loop: model, data, guard and tracker are handed in, and none of them knows it."""

import logging
import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from tqdm import tqdm

from scaling.data.dataset import BEFORE_TEST, Study
from scaling.errors import UserError
from scaling.machine.device import Precision
from scaling.machine.processes import ALONE, Group
from scaling.metrics import log_loss, log_loss_skill
from scaling.training.checkpoint import ResumeStore
from scaling.training.recipe import Recipe
from scaling.training.step import (
    learning_rate,
    make_optimiser,
    optimiser_step,
    predict,
    prepared,
    sample_order,
)

STEPS_BETWEEN_CHECKS = 50  # looking at a loss waits for the device; a NaN can wait 50 steps
LOG = logging.getLogger(__name__)


class Guard(Protocol):
    """What the loop asks of a thermal guard. Both properties are plain reads, not measurements."""

    @property
    def stop_reason(self) -> str | None: ...

    @property
    def latest(self) -> Any: ...

    def wait_if_hot(self, interrupted: Callable[[], object], /) -> float: ...


class Tracker(Protocol):
    """What the loop asks of the trackers."""

    @property
    def ids(self) -> dict[str, Any]: ...

    def log(self, metrics: dict[str, float], step: int) -> None: ...


class Stopped(Exception):
    """Training ended on purpose before its last step; the state of `step` is on disk."""

    def __init__(self, reason: str, step: int) -> None:
        super().__init__(reason)
        self.step = step


@dataclass(frozen=True)
class Hardware:
    """What a training runs on. The micro-batch is what the device holds at once."""

    device: torch.device
    precision: Precision
    micro_batch: int
    group: Group = ALONE


@dataclass
class Progress:
    """Where a run stands: all of it is saved, so all of it survives a kill."""

    step: int = 0
    windows: int = 0
    peak_learning_rate: float = 0.0
    best_log_loss: float = math.inf
    best_epoch: int = 0
    epochs: list[dict[str, float]] = field(default_factory=list)
    seconds: float = 0.0
    tracker_ids: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """What a finished training leaves behind."""

    best_weights: dict[str, torch.Tensor]
    last_weights: dict[str, torch.Tensor]
    progress: Progress
    stop_reason: str
    used: dict[str, float]
    """Peak learning rate, weight decay and epochs as the loop had them, not as they were asked."""


def refuse_test_rows(study: Study) -> None:
    """A study that holds a test day is a `UserError`: training could choose on what it sees."""
    held = sorted(set(study.samples) - set(BEFORE_TEST))
    last = max(study.dates[study.samples[block]].max() for block in BEFORE_TEST)
    labelled = np.flatnonzero(study.dataset.labels.isfinite().cpu().numpy())
    later = int((study.dates[labelled] > last).sum())
    if held or later:
        raise UserError(
            f"training was given {', '.join(held) or f'{later} days after validation'}; allowed: "
            "train and validation alone, as load_study(config) gives them"
        )


class Training:
    """A training in progress: the model, its optimiser, the order of the days, where it stands."""

    def __init__(
        self, model: torch.nn.Module, study: Study, recipe: Recipe, hardware: Hardware
    ) -> None:
        refuse_test_rows(study)
        config, device, group = recipe.optimiser, hardware.device, hardware.group
        self.model, self.study, self.recipe, self.hardware = model, study, recipe, hardware
        self.dataset = study.dataset.to(device)
        days = study.samples["train"]
        first = torch.from_numpy(days[: hardware.micro_batch]).to(device)
        self.stepped = prepared(model.train(), self.dataset, first, hardware.precision, group)
        self.optimiser = make_optimiser(model, config)
        order = sample_order(days, config.epochs, recipe.seed, study.epoch_windows)
        self.order = [epoch.to(device) for epoch in order]
        self.epoch_steps = math.ceil(study.epoch_windows / config.batch_size)
        self.total_steps = self.epoch_steps * config.epochs
        # Losses stay on the device and are fetched once an epoch: reading one would wait for it.
        self.losses = torch.full((self.total_steps,), torch.nan, device=device)
        self.progress = Progress()
        self.best_weights = self._weights()

    def resume(self, state: dict[str, Any]) -> None:
        """Go on from what `state` gave."""
        self.hardware.group.load(self.model, self.optimiser, state["weights"], state["optimiser"])
        self.best_weights = state["best_weights"]
        self.losses[: len(state["losses"])] = state["losses"].to(self.hardware.device)
        self.progress = Progress(**state["progress"])

    def state(self) -> dict[str, Any]:
        """Everything that `resume` needs. All processes of a group must call it at once."""
        group = self.hardware.group
        self.require_finite_losses()
        return {
            "weights": group.gathered(self.model.state_dict()),
            "optimiser": group.gathered(self.optimiser.state_dict()),
            "best_weights": self.best_weights,
            "losses": self.losses[: self.progress.step].clone(),
            "progress": vars(self.progress),
        }

    @property
    def finished(self) -> bool:
        """True after the last step, or when patience with validation is spent."""
        waited = len(self.progress.epochs) - self.progress.best_epoch
        patience = self.recipe.optimiser.early_stopping_patience
        return self.progress.step == self.total_steps or waited >= patience

    @property
    def epoch_ended(self) -> bool:
        """True when the last step was the last of its epoch."""
        return self.progress.step % self.epoch_steps == 0

    def step(self) -> int:
        """Take one optimiser step; returns how many windows it saw."""
        began = time.monotonic()
        config, hardware, progress = self.recipe.optimiser, self.hardware, self.progress
        epoch, within = divmod(progress.step, self.epoch_steps)
        rate = learning_rate(
            progress.step, self.total_steps, config.learning_rate, config.warmup_fraction
        )
        for parameters in self.optimiser.param_groups:
            parameters["lr"] = rate
        days = self.order[epoch][within * config.batch_size : (within + 1) * config.batch_size]
        self.losses[progress.step] = optimiser_step(
            self.stepped,
            self.optimiser,
            self.dataset,
            days,
            micro_batch=hardware.micro_batch,
            precision=hardware.precision,
            gradient_clip=config.gradient_clip,
            seed=self.recipe.seed,
            step=progress.step,
            group=hardware.group,
        )
        progress.step += 1
        progress.windows += len(days)
        progress.peak_learning_rate = max(progress.peak_learning_rate, rate)
        if progress.step % STEPS_BETWEEN_CHECKS == 0:
            self.require_finite_losses()
        progress.seconds += time.monotonic() - began
        return len(days)

    def validate(self) -> dict[str, float]:
        """Judge the epoch that just ended on the validation block; keep the weights if best."""
        began = time.monotonic()
        self.require_finite_losses()
        progress, study, hardware = self.progress, self.study, self.hardware
        days, y = study.samples["validation"], study.labels("validation")
        p = predict(self.model, self.dataset, days, hardware.device, hardware.precision)
        p = hardware.group.as_first(p)
        loss = log_loss(y, p)
        epoch = {
            "epoch": len(progress.epochs) + 1,
            "train_loss": float(np.mean(self.epoch_losses())),
            "val_log_loss": loss,
            "val_skill": log_loss_skill(y, p, study.train_base_rate),
            "val_spread": float(np.std(p)),
            "learning_rate": self.optimiser.param_groups[0]["lr"],
        }
        if loss < progress.best_log_loss:
            progress.best_log_loss, progress.best_epoch = loss, len(progress.epochs) + 1
            self.best_weights = self._weights()
        progress.seconds += time.monotonic() - began
        progress.epochs.append(epoch | {"seconds": progress.seconds})
        return progress.epochs[-1]

    def epoch_losses(self) -> list[float]:
        """The training losses of the epoch that just ended, one a step."""
        steps = self.progress.step
        losses: list[float] = self.losses[steps - self.epoch_steps : steps].tolist()
        return losses

    def require_finite_losses(self) -> None:
        """Raise `UserError` at the first loss that is not a number."""
        losses = self.losses[: self.progress.step]
        bad = (~torch.isfinite(losses)).nonzero().flatten()
        if len(bad):
            raise UserError(
                f"the loss is {losses[bad[0]].item()} at step {int(bad[0]) + 1}; lower "
                "optimiser.learning_rate, or the budget's learning_rate_multiplier"
            )

    def outcome(self) -> Outcome:
        """What the training leaves behind, once it is finished."""
        completed = self.progress.step == self.total_steps
        reason = (
            "completed" if completed else f"early stopping at epoch {len(self.progress.epochs)}"
        )
        used = {
            "learning_rate": self.progress.peak_learning_rate,
            "weight_decay": max(group["weight_decay"] for group in self.optimiser.param_groups),
            "epochs": len(self.order),
        }
        return Outcome(self.best_weights, self._weights(), self.progress, reason, used)

    def _weights(self) -> dict[str, torch.Tensor]:
        """A copy on the CPU."""
        weights = self.hardware.group.gathered(self.model.state_dict())
        return {name: value.detach().cpu().clone() for name, value in weights.items()}


class Saver:
    """Writes resume states, at the end of each epoch and when the last is some minutes old."""

    def __init__(
        self, training: Training, store: ResumeStore, tracker: Tracker, minutes: float
    ) -> None:
        self.training, self.store, self.tracker = training, store, tracker
        self.seconds = 60 * minutes
        self.saved_at = time.monotonic()

    def due(self) -> bool:
        """True in every process of a group at the same step, as saving needs them all."""
        group = self.training.hardware.group
        return group.any(group.first and time.monotonic() - self.saved_at > self.seconds)

    def save(self) -> None:
        """Save the state; a full disk is said, and training goes on with the last good state."""
        training = self.training
        training.progress.tracker_ids = self.tracker.ids
        state = training.state()
        if not training.hardware.group.first:
            return
        try:
            self.store.save(training.progress.step, state)
        except (OSError, RuntimeError) as error:
            LOG.warning(
                f"resume state not saved ({error}); training goes on, the last good state stays"
            )
        self.saved_at = time.monotonic()


def train(
    model: torch.nn.Module,
    study: Study,
    recipe: Recipe,
    hardware: Hardware,
    *,
    guard: Guard,
    tracker: Tracker,
    store: ResumeStore,
    state: dict[str, Any] | None = None,
    checkpoint_minutes: float = 10.0,
    stop_requested: Callable[[], str | None] = lambda: None,
) -> Outcome:
    """Train `model` in place, from the resume `state` if there is one; save states to `store`.

    Raises `Stopped` after saving the state when the guard or `stop_requested` names a reason,
    and `UserError` when the loss is no longer finite. On a CPU a run that was killed at any step
    and resumed ends with the same bits as one that was not.
    """
    training = Training(model, study, recipe, hardware)
    if state is not None:
        training.resume(state)
        LOG.info(f"resumed at step {training.progress.step:,} of {training.total_steps:,}")
    saver = Saver(training, store, tracker, checkpoint_minutes)
    with _progress_bar(training) as bar:
        while not training.finished:
            if reason := _reason_to_stop(guard, stop_requested, hardware.group):
                saver.save()
                raise Stopped(reason, training.progress.step)
            bar.update(training.step())
            if training.epoch_ended:
                epoch = training.validate()
                _log_epoch(training, epoch, guard, tracker)
                bar.set_postfix_str(
                    f"epoch {epoch['epoch']}/{recipe.optimiser.epochs}, "
                    f"validation skill {100 * epoch['val_skill']:.1f} %"
                )
            if training.epoch_ended or saver.due():
                saver.save()
    return training.outcome()


def _reason_to_stop(
    guard: Guard, stop_requested: Callable[[], str | None], group: Group
) -> str | None:
    """Why training must stop now, or None. While it is too hot, this waits if the config asks."""
    reason = guard.stop_reason or stop_requested()
    if reason is None and (paused := guard.wait_if_hot(stop_requested)):
        LOG.info(f"paused {paused:.0f} s to cool down")
        reason = guard.stop_reason or stop_requested()
    # The processes meet here after a pause, so that one that pauses does not lose the others.
    return group.agreed(reason)


def _log_epoch(training: Training, epoch: dict[str, float], guard: Guard, tracker: Tracker) -> None:
    """Give the trackers the losses of the epoch's steps, its validation, and the temperature."""
    last = training.progress.step
    for step, loss in enumerate(training.epoch_losses(), start=last - training.epoch_steps + 1):
        tracker.log({"loss": loss}, step=step)
    celsius = getattr(guard.latest, "celsius", None)  # None: no sensor, or a pressure level
    heat = {} if celsius is None else {"celsius": celsius}
    tracker.log(epoch | heat, step=last)


def _progress_bar(training: Training) -> "tqdm[Any]":
    return tqdm(
        total=len(training.order[0]) * len(training.order),
        initial=training.progress.windows,
        unit="window",
        desc="training",
        mininterval=1.0 if sys.stderr.isatty() else 30.0,
        smoothing=0.05,
        disable=not training.hardware.group.first,
    )
