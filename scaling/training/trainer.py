"""The training loop: model, data, guard and tracker are handed in, nothing points back at it."""

import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import binary_cross_entropy_with_logits
from tqdm import tqdm

from scaling.config import OptimiserConfig
from scaling.data.dataset import Indices, Study, WindowDataset
from scaling.errors import UserError
from scaling.machine.device import Precision, autocast
from scaling.machine.processes import ALONE, Group
from scaling.metrics import log_loss, log_loss_skill
from scaling.training.capture import Captured, captured
from scaling.training.checkpoint import ResumeStore
from scaling.training.model import probabilities

EVALUATION_BATCH = 256
STEPS_BETWEEN_CHECKS = 50  # looking at a loss waits for the device; a NaN can wait 50 steps


class Guard(Protocol):
    """What the loop asks of a thermal guard: two looks at a flag, no measurement."""

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


@dataclass
class Progress:
    """Where a run stands: all of it is saved, so all of it survives a kill."""

    step: int = 0
    windows: int = 0
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


def learning_rate(step: int, total: int, peak: float, warmup_fraction: float) -> float:
    """Linear warm-up, then a cosine to zero: a function of the step, so nothing to save."""
    warmup = round(total * warmup_fraction)
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))


def sample_order(samples: Indices, epochs: int, seed: int) -> list[torch.Tensor]:
    """Each epoch's shuffled sample days, fixed by the seed before the first step."""
    generator = torch.Generator().manual_seed(seed)
    days = torch.from_numpy(samples)
    return [days[torch.randperm(len(days), generator=generator)] for _ in range(epochs)]


def predict(
    model: torch.nn.Module,
    dataset: WindowDataset,
    samples: Indices,
    device: torch.device,
    precision: Precision,
    batch: int = EVALUATION_BATCH,
) -> npt.NDArray[np.float64]:
    """Probability of a positive for each sample day. Training and evaluation both call this."""
    was_training = model.training
    model.eval()
    days = torch.from_numpy(samples).to(device)
    parts = []
    with torch.inference_mode(), autocast(device, precision):
        for chunk in torch.split(days, batch):
            parts.append(probabilities(model(dataset.batch(chunk)[0]).float()).cpu())
    model.train(was_training)
    return torch.cat(parts).numpy().astype(np.float64).reshape(-1)


def make_optimiser(model: torch.nn.Module, config: OptimiserConfig) -> torch.optim.AdamW:
    """AdamW; only matrices decay, as biases and norms have no scale to shrink (nanoGPT, GPT-2)."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.95), fused=True)


def prepared(
    model: torch.nn.Module,
    dataset: WindowDataset,
    days: torch.Tensor,
    precision: Precision,
    say: Callable[[str], None] = tqdm.write,
    group: Group = ALONE,
) -> torch.nn.Module:
    """What `optimiser_step` calls for `model`, on the dataset's device: captured, or a group's.

    `days` are one micro-batch. Neither DDP's nor FSDP's exchanges are recorded.
    """
    stepped = group.wrap(model, dataset.features.device)
    if group.size > 1:
        return stepped
    return captured(stepped, dataset.batch(days)[0], precision, say)


def optimiser_step(
    model: torch.nn.Module,
    optimiser: torch.optim.Optimizer,
    dataset: WindowDataset,
    days: torch.Tensor,
    *,
    micro_batch: int,
    precision: Precision,
    gradient_clip: float,
    group: Group = ALONE,
) -> torch.Tensor:
    """One step on `days`, in pieces of `micro_batch`; returns the mean loss, left on the device.

    `model` is what `prepared` gave; in a `group` each process computes its share of `days`.
    """
    optimiser.zero_grad(set_to_none=not isinstance(model, Captured))
    total = torch.zeros((), device=days.device)
    pieces = group.pieces(days, micro_batch)
    for index, (piece, weight) in enumerate(pieces, start=1):
        with group.accumulating(model, last=index == len(pieces)):
            windows, targets = dataset.batch(piece)
            with autocast(days.device, precision):
                logits = model(windows)
            loss = binary_cross_entropy_with_logits(logits.float(), targets, reduction="sum")
            loss = loss / len(days) * weight
            loss.backward()  # type: ignore[no-untyped-call]
        total += loss.detach()
    torch.nn.utils.clip_grad_norm_(model.parameters(), gradient_clip)
    optimiser.step()
    return group.mean(total)


def _copied(model: torch.nn.Module, group: Group) -> dict[str, torch.Tensor]:
    weights = group.gathered(model.state_dict())
    return {name: value.detach().cpu().clone() for name, value in weights.items()}


def _random_state(device: torch.device) -> dict[str, torch.Tensor]:
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    elif device.type == "mps":
        state["mps"] = torch.mps.get_rng_state()
    return state


def _restore_random_state(state: dict[str, torch.Tensor], device: torch.device) -> None:
    torch.set_rng_state(state["cpu"])
    if device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"], device)
    elif device.type == "mps":
        torch.mps.set_rng_state(state["mps"])


def seed_everything(seed: int) -> None:
    """Every generator that training draws from."""
    torch.manual_seed(seed)
    if torch.backends.mps.is_available():
        torch.mps.manual_seed(seed)


def train(
    model: torch.nn.Module,
    study: Study,
    config: OptimiserConfig,
    *,
    peak_learning_rate: float,
    seed: int,
    micro_batch: int,
    device: torch.device,
    precision: Precision,
    guard: Guard,
    tracker: Tracker,
    store: ResumeStore,
    state: dict[str, Any] | None,
    checkpoint_minutes: float,
    stop_requested: Callable[[], str | None] = lambda: None,
    say: Callable[[str], None] = tqdm.write,
    group: Group = ALONE,
) -> Outcome:
    """Train `model` in place, from the resume `state` if there is one; save states to `store`.

    Raises `Stopped` after saving the state when the guard or `stop_requested` names a reason,
    and `UserError` when the loss is no longer finite. On a CPU a run that was killed at any step
    and resumed ends with the same bits as one that was not.
    """
    dataset = study.dataset.to(device)
    first_days = torch.from_numpy(study.samples["train"][:micro_batch]).to(device)
    stepped = prepared(model.train(), dataset, first_days, precision, say, group)
    optimiser = make_optimiser(model, config)
    order = [days.to(device) for days in sample_order(study.samples["train"], config.epochs, seed)]
    epoch_steps = math.ceil(len(order[0]) / config.batch_size)
    total_steps = epoch_steps * config.epochs
    # Losses stay on the device and are fetched once an epoch: reading one would wait for it.
    losses = torch.full((total_steps,), torch.nan, device=device)
    best_weights = _copied(model, group)
    progress = Progress()
    saved_at = time.monotonic()

    if state is not None:
        group.load(model, optimiser, state["weights"], state["optimiser"])
        best_weights = state["best_weights"]
        losses[: len(state["losses"])] = state["losses"].to(device)
        progress = Progress(**state["progress"])
        _restore_random_state(state["random"], device)
        say(f"resumed at step {progress.step:,} of {total_steps:,}")
    if not group.first:  # dropout of its own; the saved generators are the first process's
        seed_everything(((seed << 20) + progress.step << 10) + group.rank)

    def save_state() -> None:
        nonlocal saved_at
        _require_finite(losses, progress.step)
        weights = group.gathered(model.state_dict())
        moments = group.gathered(optimiser.state_dict())
        if not group.first:
            return
        progress.tracker_ids = tracker.ids
        content = {
            "weights": weights,
            "optimiser": moments,
            "best_weights": best_weights,
            "losses": losses[: progress.step].clone(),
            "progress": vars(progress),
            "random": _random_state(device),
        }
        try:
            store.save(progress.step, content)
        except (OSError, RuntimeError) as error:
            say(f"resume state not saved ({error}); training goes on, the last good state stays")
        saved_at = time.monotonic()

    def validate_epoch(epoch: int) -> None:
        nonlocal best_weights
        p = predict(model, dataset, study.samples["validation"], device, precision)
        p = group.as_first(p)
        y = study.labels("validation")
        val_log_loss = log_loss(y, p)
        first = (epoch - 1) * epoch_steps
        step_losses = losses[first : progress.step].tolist()
        record = {
            "epoch": epoch,
            "train_loss": float(np.mean(step_losses)),
            "val_log_loss": val_log_loss,
            "val_skill": log_loss_skill(y, p, study.train_base_rate),
            "val_spread": float(np.std(p)),
            "learning_rate": optimiser.param_groups[0]["lr"],
            "seconds": progress.seconds,
        }
        progress.epochs.append(record)
        for offset, loss in enumerate(step_losses, start=1):
            tracker.log({"loss": loss}, step=first + offset)
        celsius = getattr(guard.latest, "celsius", None)  # None: no sensor, or a pressure level
        heat = {} if celsius is None else {"celsius": celsius}
        tracker.log(record | heat, step=progress.step)
        if val_log_loss < progress.best_log_loss:
            progress.best_log_loss, progress.best_epoch = val_log_loss, epoch
            best_weights = _copied(model, group)

    windows = len(order[0]) * config.epochs
    with tqdm(
        total=windows,
        initial=progress.windows,
        unit="window",
        desc="training",
        mininterval=1.0 if sys.stderr.isatty() else 30.0,
        smoothing=0.05,
        disable=not group.first,
    ) as bar:
        while progress.step < total_steps and not _patience_spent(progress, config):
            reason = guard.stop_reason or stop_requested()
            if reason is None and (paused := guard.wait_if_hot(stop_requested)):
                say(f"paused {paused:.0f} s to cool down")
                reason = guard.stop_reason or stop_requested()  # what may have ended the pause
            if reason := group.agreed(reason):  # after the pause: the others wait for it here
                save_state()
                raise Stopped(reason, progress.step)
            began = time.monotonic()
            epoch, within = divmod(progress.step, epoch_steps)
            rate = learning_rate(
                progress.step, total_steps, peak_learning_rate, config.warmup_fraction
            )
            for parameters in optimiser.param_groups:
                parameters["lr"] = rate
            days = order[epoch][within * config.batch_size : (within + 1) * config.batch_size]
            losses[progress.step] = optimiser_step(
                stepped,
                optimiser,
                dataset,
                days,
                micro_batch=micro_batch,
                precision=precision,
                gradient_clip=config.gradient_clip,
                group=group,
            )
            progress.step += 1
            progress.windows += len(days)
            bar.update(len(days))
            if progress.step % STEPS_BETWEEN_CHECKS == 0:
                _require_finite(losses, progress.step)
            ends_epoch = within + 1 == epoch_steps
            if ends_epoch:
                _require_finite(losses, progress.step)
                validate_epoch(epoch + 1)
                latest = progress.epochs[-1]
                bar.set_postfix_str(
                    f"epoch {epoch + 1}/{config.epochs}, "
                    f"validation skill {100 * latest['val_skill']:.1f} %"
                )
            progress.seconds += time.monotonic() - began
            due = group.first and time.monotonic() - saved_at > 60 * checkpoint_minutes
            if ends_epoch or group.any(due):
                save_state()
    finished = progress.step == total_steps
    return Outcome(
        best_weights,
        _copied(model, group),
        progress,
        "completed" if finished else f"early stopping at epoch {len(progress.epochs)}",
    )


def _patience_spent(progress: Progress, config: OptimiserConfig) -> bool:
    return len(progress.epochs) - progress.best_epoch >= config.early_stopping_patience > 0


def _require_finite(losses: torch.Tensor, step: int) -> None:
    bad = (~torch.isfinite(losses[:step])).nonzero().flatten()
    if len(bad):
        raise UserError(
            f"the loss is {losses[bad[0]].item()} at step {int(bad[0]) + 1}; lower "
            "optimiser.learning_rate, or the budget's learning_rate_multiplier"
        )
