"""The training loop: model, data, guard and tracker are handed in, and none of them knows it."""

import logging
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch.distributed.tensor import DTensor
from tqdm import tqdm

from scaling.data.dataset import BEFORE_TEST, Study
from scaling.errors import UserError
from scaling.machine.device import Precision
from scaling.machine.processes import ALONE, Group
from scaling.metrics import log_loss, log_loss_skill
from scaling.sizes import ModelConfig, OptimiserConfig
from scaling.training.checkpoint import ResumeStore
from scaling.training.step import (
    learning_rate,
    optimiser_step,
    predict,
    prepared,
    sample_order,
)
from scaling.training.transfer import make_optimiser, reach, set_learning_rate

LOOKS = 9  # at validation, the first after a sixteenth of the steps
# The mean of the weights over the end of the schedule is better than the last weights, and than
# those of the best look, on which validation has a say: docs/experiments.md; Haegele et al. 2024,
# arXiv 2405.18392.
AVERAGED = 0.25
FIRST_STEP_DAYS = 32
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
class Recipe:
    """How a network is trained, whatever the machine. The rate and the decay are the base size's.

    Those of `shape` follow from it (scaling/training/transfer.py).
    """

    optimiser: OptimiserConfig
    seed: int
    shape: ModelConfig


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
    first_step: float = math.nan
    """How far the first step can move the logit (`transfer.first_step`)."""
    looks: list[dict[str, float]] = field(default_factory=list)
    seconds: float = 0.0
    tracker_ids: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """What a finished training leaves behind."""

    weights: dict[str, torch.Tensor]
    """The mean over the last quarter of the schedule."""
    last_weights: dict[str, torch.Tensor]
    progress: Progress
    validation: dict[str, float]
    """Log-loss and skill of `weights` on the validation block."""
    clipped: float
    """The share of the steps whose gradient was clipped."""
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


def look_steps(steps: int) -> list[int]:
    """After which steps validation is looked at: the last one, and 1.41 times fewer each before."""
    return sorted({max(1, round(steps * 2 ** (-k / 2))) for k in range(LOOKS)})


def averaging_starts(steps: int) -> int:
    """The last step whose weights are not in the mean that a training of `steps` leaves behind."""
    return steps - max(1, round(AVERAGED * steps))


def first_step(model: torch.nn.Module, study: Study, recipe: Recipe) -> float:
    """How far one step at the highest rate can move the logit of the fresh network.

    Adam's first step moves every weight by its rate, whichever way its gradient points. So it is
    the sum of the rates times the gradient of the mean logit, over days spread over all of them.
    """
    every = study.samples["train"]
    days = torch.from_numpy(every[:: max(1, len(every) // FIRST_STEP_DAYS)].copy())
    return recipe.optimiser.learning_rate * reach(model, recipe.shape, study.dataset.windows(days))


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
        self.optimiser = make_optimiser(model, recipe.shape, config)
        order = sample_order(days, config.epochs, recipe.seed)
        self.order = [epoch.to(device) for epoch in order]
        self.epoch_steps = math.ceil(len(days) / config.batch_size)
        self.total_steps = self.epoch_steps * config.epochs
        self.looks = look_steps(self.total_steps)
        # Losses stay on the device and are fetched at each look: reading one would wait for it.
        self.losses = torch.full((self.total_steps,), torch.nan, device=device)
        self.norms = torch.full_like(self.losses, torch.nan)  # the gradient's, before clipping
        self.progress = Progress()
        self.mean: list[torch.Tensor] = []  # of the weights so far, once averaging has begun

    def resume(self, state: dict[str, Any]) -> None:
        """Go on from what `state` gave."""
        self.hardware.group.load(self.model, self.optimiser, state["weights"], state["optimiser"])
        if state["mean"]:
            placed = self.hardware.group.placed(self.model, state["mean"])
            self.mean = [weight.to(self.hardware.device) for weight in placed.values()]
        for kept, name in ((self.losses, "losses"), (self.norms, "norms")):
            kept[: len(state[name])] = state[name].to(self.hardware.device)
        self.progress = Progress(**state["progress"])

    def state(self) -> dict[str, Any]:
        """Everything that `resume` needs. All processes of a group must call it at once."""
        group = self.hardware.group
        self.require_finite_losses()
        return {
            "weights": group.gathered(self.model.state_dict()),
            "optimiser": group.gathered(self.optimiser.state_dict()),
            "mean": group.gathered(dict(zip(self.model.state_dict(), self.mean, strict=False))),
            "losses": self.losses[: self.progress.step].clone(),
            "norms": self.norms[: self.progress.step].clone(),
            "progress": vars(self.progress),
        }

    @property
    def finished(self) -> bool:
        """True after the last step."""
        return self.progress.step == self.total_steps

    @property
    def look_due(self) -> bool:
        """True when validation is looked at after the last step."""
        return self.progress.step in self.looks

    def rate(self, step: int) -> float:
        """The learning rate of one step, as the base size has it."""
        config = self.recipe.optimiser
        return learning_rate(step, self.total_steps, config.learning_rate, config.warmup_fraction)

    def step(self) -> int:
        """Take one optimiser step; returns how many windows it saw."""
        began = time.monotonic()
        config, hardware, progress = self.recipe.optimiser, self.hardware, self.progress
        epoch, within = divmod(progress.step, self.epoch_steps)
        rate = self.rate(progress.step)
        set_learning_rate(self.optimiser, rate)
        days = self.order[epoch][within * config.batch_size : (within + 1) * config.batch_size]
        self.losses[progress.step], self.norms[progress.step] = optimiser_step(
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
        self._average()
        if progress.step % STEPS_BETWEEN_CHECKS == 0:
            self.require_finite_losses()
        progress.seconds += time.monotonic() - began
        return len(days)

    def _average(self) -> None:
        """Take the weights after this step into their mean, in the last quarter of the schedule."""
        taken = self.progress.step - averaging_starts(self.total_steps)
        weights = list(self.model.state_dict().values())
        if taken == 1:
            self.mean = [weight.detach().clone() for weight in weights]
        elif taken > 1:
            torch._foreach_lerp_(_own(self.mean), _own(weights), 1 / taken)

    def look(self) -> dict[str, float]:
        """Judge the weights of now on the validation block. Nothing is chosen by it."""
        began = time.monotonic()
        self.require_finite_losses()
        progress = self.progress
        judged = {
            "step": progress.step,
            "epoch": progress.step / self.epoch_steps,
            "train_loss": float(np.mean(self.losses_since_look())),
            **{f"val_{name}": value for name, value in self._validation().items()},
            "learning_rate": self.rate(progress.step - 1),
        }
        progress.seconds += time.monotonic() - began
        progress.looks.append(judged | {"seconds": progress.seconds})
        return progress.looks[-1]

    def _validation(self) -> dict[str, float]:
        """Log-loss, skill and spread of the forecasts of the validation block."""
        study, hardware = self.study, self.hardware
        days, y = study.samples["validation"], study.labels("validation")
        p = predict(self.model, self.dataset, days, hardware.device, hardware.precision)
        p = hardware.group.as_first(p)
        skill = log_loss_skill(y, p, study.train_base_rate)
        return {"log_loss": log_loss(y, p), "skill": skill, "spread": float(np.std(p))}

    def losses_since_look(self) -> list[float]:
        """The training losses of the steps since the look before, one a step."""
        before = max((look for look in self.looks if look < self.progress.step), default=0)
        losses: list[float] = self.losses[before : self.progress.step].tolist()
        return losses

    def require_finite_losses(self) -> None:
        """Raise `UserError` at the first loss that is not a number."""
        losses = self.losses[: self.progress.step]
        bad = (~torch.isfinite(losses)).nonzero().flatten()
        if len(bad):
            raise UserError(
                f"the loss is {losses[bad[0]].item()} at step {int(bad[0]) + 1}; lower "
                "optimiser.learning_rate"
            )

    def outcome(self) -> Outcome:
        """What the training leaves behind, once it is finished. The model gets the mean weights."""
        used = {
            "learning_rate": self.progress.peak_learning_rate,
            "weight_decay": self.recipe.optimiser.weight_decay,
            "epochs": len(self.order),
        }
        clipped = (self.norms > self.recipe.optimiser.gradient_clip).float().mean().item()
        last = self._weights()
        for weight, mean in zip(self.model.state_dict().values(), self.mean, strict=True):
            weight.copy_(mean)
        validation = self._validation()
        return Outcome(self._weights(), last, self.progress, validation, clipped, used)

    def _weights(self) -> dict[str, torch.Tensor]:
        """A copy on the CPU."""
        weights = self.hardware.group.gathered(self.model.state_dict())
        return {name: value.detach().cpu().clone() for name, value in weights.items()}


class Saver:
    """Writes resume states, at each look at validation and when the last is some minutes old."""

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
    first = math.nan
    if state is None:
        first = hardware.group.from_first(lambda: first_step(model, study, recipe))
    training = Training(model, study, recipe, hardware)
    training.progress.first_step = first
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
            if training.look_due:
                losses = training.losses_since_look()
                look = training.look()
                _log_look(losses, look, guard, tracker)
                bar.set_postfix_str(
                    f"epoch {look['epoch']:.2g}/{recipe.optimiser.epochs}, "
                    f"validation skill {100 * look['val_skill']:.1f} %"
                )
            if training.look_due or saver.due():
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


def _log_look(losses: list[float], look: dict[str, float], guard: Guard, tracker: Tracker) -> None:
    """Give the trackers the losses of the steps since the look before, and this one's figures."""
    last = int(look["step"])
    for step, loss in enumerate(losses, start=last - len(losses) + 1):
        tracker.log({"loss": loss}, step=step)
    celsius = getattr(guard.latest, "celsius", None)  # None: no sensor, or a pressure level
    heat = {} if celsius is None else {"celsius": celsius}
    tracker.log(look | heat, step=last)


def _own(weights: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """The parts of sharded weights that lie in this process."""
    return [w.to_local() if isinstance(w, DTensor) else w for w in weights]


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
