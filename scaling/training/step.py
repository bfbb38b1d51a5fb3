"""One optimiser step, and what it needs: the schedule, the order of the days, the forecast."""

import math

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from scaling.data.dataset import Indices, WindowDataset
from scaling.machine.device import Precision, autocast
from scaling.machine.processes import ALONE, Group
from scaling.training.capture import Captured, captured
from scaling.training.draws import Draws
from scaling.training.model import probabilities
from scaling.training.transfer import clip_gradient

EVALUATION_BATCH = 256


def learning_rate(step: int, total: int, peak: float, warmup_fraction: float) -> float:
    """Linear warm-up, then a cosine to zero. It depends on the step alone, so nothing is saved."""
    warmup = round(total * warmup_fraction)
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))


def sample_order(samples: Indices, epochs: int, seed: int) -> list[torch.Tensor]:
    """The shuffled sample days of each epoch. The seed fixes them before the first step."""
    generator = torch.Generator().manual_seed(seed)
    days = torch.from_numpy(samples)
    return [days[torch.randperm(len(days), generator=generator)] for _ in range(epochs)]


def prepared(
    model: torch.nn.Module,
    dataset: WindowDataset,
    days: torch.Tensor,
    precision: Precision,
    group: Group = ALONE,
) -> torch.nn.Module:
    """The callable that `optimiser_step` takes for `model`, on the dataset's device.

    Alone on CUDA the model is recorded as a graph for micro-batches like `days`. In a group it is
    wrapped by DDP or FSDP, whose exchanges cannot be recorded.
    """
    stepped = group.wrap(model, dataset.features.device)
    if group.size > 1:
        return stepped
    return captured(stepped, dataset.batch(days)[0], precision)


def optimiser_step(
    model: torch.nn.Module,
    optimiser: torch.optim.Optimizer,
    dataset: WindowDataset,
    days: torch.Tensor,
    *,
    micro_batch: int,
    precision: Precision,
    gradient_clip: float,
    seed: int,
    step: int,
    group: Group = ALONE,
) -> tuple[torch.Tensor, torch.Tensor]:
    """One step on `days`, in pieces of `micro_batch`.

    Returns the mean loss and the gradient's norm before it is clipped, both left on the device.
    `model` is what `prepared` gave. In a `group` each process computes its share of `days`.
    Dropout is keyed by `seed` and `step`, whatever was drawn before.
    """
    optimiser.zero_grad(set_to_none=not isinstance(model, Captured))
    total = torch.zeros((), device=days.device)
    pieces = group.pieces(days, micro_batch)
    for index, piece in enumerate(pieces, start=1):
        draws = Draws(seed, step, piece.first, len(piece.days))
        torch.manual_seed(draws.torch_seed)
        with group.accumulating(model, last=index == len(pieces)):
            windows, targets = dataset.batch(piece.days)
            with autocast(days.device, precision):
                logits = model(windows, draws)
            loss = binary_cross_entropy_with_logits(logits.float(), targets, reduction="sum")
            loss = loss / len(days) * piece.weight
            loss.backward()  # type: ignore[no-untyped-call]
        total += loss.detach()
    norm = clip_gradient(model, optimiser, gradient_clip)
    optimiser.step()
    return group.mean(total), norm


def predict(
    model: torch.nn.Module,
    dataset: WindowDataset,
    samples: Indices,
    device: torch.device,
    precision: Precision,
    batch: int = EVALUATION_BATCH,
) -> npt.NDArray[np.float64]:
    """Probability of a positive for each day. Training, evaluation and forecast all call this."""
    was_training = model.training
    model.eval()
    days = torch.from_numpy(samples).to(device)
    parts = []
    with torch.inference_mode(), autocast(device, precision):
        for chunk in torch.split(days, batch):
            parts.append(probabilities(model(dataset.windows(chunk)).float()).cpu())
    model.train(was_training)
    return torch.cat(parts).numpy().astype(np.float64).reshape(-1)
