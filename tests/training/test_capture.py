"""The training step recorded as CUDA graphs; on a CPU with a stand-in that reuses its buffers."""

import copy
from typing import Any

import numpy as np
import pytest
import torch

from scaling.config import WindowConfig
from scaling.data.dataset import WindowDataset
from scaling.sizes import OptimiserConfig, PatchTSTShape
from scaling.training.capture import Captured, captured
from scaling.training.families.patchtst import PatchTST, build
from scaling.training.step import optimiser_step
from scaling.training.transfer import make_optimiser, set_learning_rate

WINDOW = WindowConfig(16, 4, 15)
OPTIMISER = OptimiserConfig(10, 1, 0.01, 0.01, 0.1, 1.0)
ROWS = 60


SHAPE = PatchTSTShape(d_model=8, layers=2, heads=2, ffn_dim=12, dropout=0.0)


def small_model() -> PatchTST:
    torch.manual_seed(2)
    return build(SHAPE, WINDOW, 3)


def small_dataset(device: str = "cpu") -> WindowDataset:
    generator = np.random.default_rng(3)
    close = np.exp(generator.normal(0, 0.02, ROWS).cumsum())
    features = torch.from_numpy(generator.normal(size=(ROWS, 3)).astype(np.float32))
    return WindowDataset(
        features, close, context_length=16, warmup=15, threshold=0.01, horizon=1
    ).to(torch.device(device))


def record(model: torch.nn.Module, samples: tuple[torch.Tensor]) -> None:
    """As `torch.cuda.make_graphed_callables`: static input and gradients, overwritten each time."""
    (static,) = samples
    eager = model.forward
    parameters = [p for p in model.parameters() if p.requires_grad]
    gradients = [torch.zeros_like(p) for p in parameters]

    class Graphed(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, windows: torch.Tensor, *_: torch.Tensor) -> torch.Tensor:
            static.copy_(windows)
            with torch.enable_grad():
                ctx.logits = eager(static)
            result: torch.Tensor = ctx.logits.detach()
            return result

        @staticmethod
        def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
            for kept, new in zip(
                gradients, torch.autograd.grad(ctx.logits, parameters, grads), strict=True
            ):
                kept.copy_(new)
            return None, *(kept.detach() for kept in gradients)

    def forward(windows: torch.Tensor) -> Any:
        return Graphed.apply(windows, *parameters) if model.training else eager(windows)

    model.forward = forward


def three_steps(stepped: torch.nn.Module, dataset: WindowDataset) -> dict[str, torch.Tensor]:
    """Batches of 10 in pieces of 4, so that the last piece is of another shape."""
    model = stepped.model if isinstance(stepped, Captured) else stepped
    optimiser = make_optimiser(model, SHAPE, OPTIMISER)
    set_learning_rate(optimiser, 0.01)
    days = torch.arange(15, 45, device=dataset.features.device)
    for step, batch in enumerate(days.split(10)):
        optimiser_step(
            stepped,
            optimiser,
            dataset,
            batch,
            micro_batch=4,
            precision="fp32",
            gradient_clip=1.0,
            seed=0,
            step=step,
        )
    return {name: p.detach().cpu() for name, p in stepped.named_parameters()}


def assert_same_weights(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    for name, weight in expected.items():
        torch.testing.assert_close(found[f"model.{name}"], weight, msg=name)


def test_gradients_accumulate_over_replays_that_reuse_their_buffers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "make_graphed_callables", record)
    model, dataset = small_model().train(), small_dataset()
    expected = three_steps(copy.deepcopy(model), dataset)
    stepped = Captured(model, dataset.batch(torch.arange(15, 19))[0], "fp32")
    assert_same_weights(three_steps(stepped, dataset), expected)


def test_the_model_itself_stays_as_it_was_for_evaluation_and_for_its_state_dict(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "make_graphed_callables", record)
    model, windows = small_model(), small_dataset().batch(torch.arange(15, 19))[0]
    names, logits = list(model.state_dict()), model.eval()(windows)
    stepped = Captured(model.train(), windows.clone(), "fp32")
    assert list(model.state_dict()) == names
    assert "forward" not in vars(model)
    torch.testing.assert_close(model.eval()(windows), logits)
    torch.testing.assert_close(stepped.train()(windows), logits)


def test_a_capture_that_fails_is_told_in_one_line_and_the_model_trains_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(model: torch.nn.Module, samples: object) -> None:
        model.forward = None  # type: ignore[assignment]
        raise RuntimeError("CUDA error: operation not permitted\nlong explanation")

    monkeypatch.setattr(torch.cuda, "make_graphed_callables", broken)
    model, dataset = small_model().train(), small_dataset()
    windows = dataset.batch(torch.arange(15, 19))[0]
    cuda = type("Windows", (), {"device": torch.device("cuda"), "shape": windows.shape})()
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: torch.enable_grad())
    assert captured(model, cuda, "fp32") is model
    (said,) = caplog.messages
    assert "operation not permitted" in said and "\n" not in said
    assert three_steps(model, dataset)


def test_on_a_cpu_nothing_is_captured() -> None:
    model = small_model()
    windows = small_dataset().batch(torch.arange(15, 19))[0]
    assert captured(model, windows, "fp32") is model


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_cuda_the_captured_step_gives_the_weights_of_the_plain_one() -> None:
    model, dataset = small_model().train().to("cuda"), small_dataset("cuda")
    expected = three_steps(copy.deepcopy(model), dataset)
    days = torch.arange(15, 19, device="cuda")
    stepped = captured(model, dataset.batch(days)[0], "fp32")
    assert isinstance(stepped, Captured)
    assert_same_weights(three_steps(stepped, dataset), expected)
