"""One optimiser step against the same step in plain torch, with Hugging Face's own model.

Each mistake of the objective changes the weights: class weights, label smoothing, a mean of means
over a ragged last piece, clipping each piece, a norm or a bias that decays.
"""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from transformers import PatchTSTForClassification

from scaling.config import WindowConfig
from scaling.data.dataset import WindowDataset
from scaling.sizes import OptimiserConfig, PatchTSTShape
from scaling.training import step as steps
from scaling.training import transfer
from scaling.training.families import patchtst
from scaling.training.families.patchtst import PatchTST, build, hf_config

WINDOW = WindowConfig(16, 4, 15)
SHAPE = PatchTSTShape(d_model=8, layers=2, heads=2, ffn_dim=12, dropout=0.0)
CHANNELS, BATCH, MICRO_BATCH, STEPS = 3, 32, 12, 3
RATE = 0.01
CONFIG = OptimiserConfig(
    batch_size=BATCH,
    epochs=1,
    learning_rate=RATE,
    weight_decay=0.3,
    warmup_fraction=0.1,
    gradient_clip=1e-2,  # far below the gradient's norm, so that it binds
)


@pytest.fixture(autouse=True)
def base(monkeypatch: pytest.MonkeyPatch) -> None:
    """The shape is the family's base; how others differ from it is in test_transfer.py."""
    monkeypatch.setattr(patchtst, "BASE", SHAPE)


@pytest.fixture(scope="module")
def dataset() -> WindowDataset:
    """Random windows, a fifth of them with a positive label."""
    torch.manual_seed(0)
    rows = BATCH * STEPS + 20
    close = np.exp(np.cumsum(np.random.default_rng(1).normal(0, 0.012, rows)))
    return WindowDataset(
        torch.randn(rows, CHANNELS),
        close,
        context_length=16,
        warmup=15,
        threshold=0.01,
        horizon=1,
    )


def fresh(dropout: float = 0.0) -> PatchTST:
    torch.manual_seed(2)
    model = build(dataclasses.replace(SHAPE, dropout=dropout), WINDOW, CHANNELS).train()
    with torch.no_grad():  # fresh biases are zero and fresh norms one, where decay changes nothing
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.3 * torch.randn_like(parameter))
    return model


def batches(dataset: WindowDataset) -> list[torch.Tensor]:
    order = torch.randperm(BATCH * STEPS, generator=torch.Generator().manual_seed(3))
    return list((order + 15).split(BATCH))


def take_step(
    model: PatchTST, optimiser: torch.optim.Optimizer, dataset: WindowDataset, number: int
) -> float:
    """The loss of one of the library's own steps, in pieces of 12, 12 and 8."""
    loss, _ = steps.optimiser_step(
        model,
        optimiser,
        dataset,
        batches(dataset)[number],
        micro_batch=MICRO_BATCH,
        precision="fp32",
        gradient_clip=CONFIG.gradient_clip,
        seed=0,
        step=number,
    )
    return loss.item()


def by_the_library(dataset: WindowDataset) -> tuple[dict[str, torch.Tensor], list[float]]:
    """Weights after three steps, and the losses."""
    model = fresh()
    optimiser = transfer.make_optimiser(model, SHAPE, CONFIG)
    transfer.set_learning_rate(optimiser, RATE)
    losses = [take_step(model, optimiser, dataset, number) for number in range(STEPS)]
    return dict(model.named_parameters()), losses


def in_plain_torch(dataset: WindowDataset) -> tuple[dict[str, torch.Tensor], list[float]]:
    """The same: mean cross-entropy of the whole batch, one clip, AdamW written out."""
    model = PatchTSTForClassification(hf_config(SHAPE, WINDOW, CHANNELS)).train()
    model.load_state_dict(fresh().state_dict())
    weights = {n: p for n, p in model.named_parameters() if p.requires_grad}
    first = {n: torch.zeros_like(p) for n, p in weights.items()}
    second = {n: torch.zeros_like(p) for n, p in weights.items()}
    losses = []
    for t, days in enumerate(batches(dataset), start=1):
        windows = torch.stack([dataset.features[day - 15 : day + 1] for day in days])
        labels = torch.stack([dataset.labels[day] for day in days])
        logits = model(past_values=windows).prediction_logits[:, 0]
        p = torch.sigmoid(logits)
        loss = -(labels * p.log() + (1 - labels) * (1 - p).log()).mean()
        gradients = torch.autograd.grad(loss, list(weights.values()))
        norm = torch.cat([g.flatten() for g in gradients]).norm()
        assert norm > 2 * CONFIG.gradient_clip, "the clip must bind, or the test sees nothing"
        losses.append(loss.item())
        with torch.no_grad():
            for (name, weight), gradient in zip(weights.items(), gradients, strict=True):
                g = gradient * CONFIG.gradient_clip / (norm + 1e-6)
                first[name] = 0.9 * first[name] + 0.1 * g
                second[name] = 0.95 * second[name] + 0.05 * g**2
                if weight.dim() >= 2:
                    weight -= RATE * CONFIG.weight_decay * weight
                mean, square = first[name] / (1 - 0.9**t), second[name] / (1 - 0.95**t)
                weight -= RATE * mean / (square.sqrt() + 1e-8)
    return weights, losses


def assert_equal_to_reference(dataset: WindowDataset) -> None:
    (ours, our_losses), (theirs, their_losses) = by_the_library(dataset), in_plain_torch(dataset)
    assert our_losses == pytest.approx(their_losses, rel=1e-5)
    for name, weight in theirs.items():
        # Adam divides by a gradient's size, which magnifies the rounding of the smallest ones.
        torch.testing.assert_close(ours[name], weight, rtol=1e-4, atol=2e-4, msg=name)


def test_a_step_in_ragged_pieces_is_the_step_of_plain_torch(dataset: WindowDataset) -> None:
    assert_equal_to_reference(dataset)


def with_class_weight(logits: torch.Tensor, y: torch.Tensor, **_: object) -> torch.Tensor:
    return F.binary_cross_entropy_with_logits(
        logits, y, reduction="sum", pos_weight=torch.tensor(5.0)
    )


def with_smoothed_labels(logits: torch.Tensor, y: torch.Tensor, **_: object) -> torch.Tensor:
    return F.binary_cross_entropy_with_logits(logits, 0.9 * y + 0.05, reduction="sum")


def mean_of_means(logits: torch.Tensor, y: torch.Tensor, **_: object) -> torch.Tensor:
    return F.binary_cross_entropy_with_logits(logits, y) * BATCH / 3


@pytest.mark.parametrize("objective", [with_class_weight, with_smoothed_labels, mean_of_means])
def test_another_objective_is_noticed(
    dataset: WindowDataset, monkeypatch: pytest.MonkeyPatch, objective: object
) -> None:
    monkeypatch.setattr(steps, "binary_cross_entropy_with_logits", objective)
    with pytest.raises(AssertionError):
        assert_equal_to_reference(dataset)


def test_clipping_inside_the_accumulation_is_noticed(
    dataset: WindowDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = torch.Tensor.backward

    def clipped_backward(loss: torch.Tensor) -> None:
        real(loss)
        torch.nn.utils.clip_grad_norm_(_parameters, CONFIG.gradient_clip)

    _parameters: list[torch.Tensor] = []
    make = transfer.make_optimiser

    def remembered(model: torch.nn.Module, *given: Any) -> torch.optim.AdamW:
        _parameters[:] = [p for p in model.parameters() if p.requires_grad]
        return make(model, *given)

    monkeypatch.setattr(transfer, "make_optimiser", remembered)
    monkeypatch.setattr(torch.Tensor, "backward", clipped_backward)
    with pytest.raises(AssertionError):
        assert_equal_to_reference(dataset)


def test_a_bias_that_decays_is_noticed(
    dataset: WindowDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = transfer.make_optimiser

    def all_decay(*given: Any) -> torch.optim.AdamW:
        optimiser = make(*given)
        for group in optimiser.param_groups:
            group["weight_decay"] = CONFIG.weight_decay
        return optimiser

    monkeypatch.setattr(transfer, "make_optimiser", all_decay)
    with pytest.raises(AssertionError):
        assert_equal_to_reference(dataset)


def test_dropout_that_is_left_off_is_noticed(dataset: WindowDataset) -> None:
    """The step itself must pass the draws on: with a rate its loss differs from the one without."""
    losses = []
    for rate in (0.0, 0.4):
        model = fresh(rate)
        optimiser = transfer.make_optimiser(model, SHAPE, CONFIG)
        losses.append(take_step(model, optimiser, dataset, 0))
    assert abs(losses[0] - losses[1]) > 1e-4
