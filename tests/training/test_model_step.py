"""The fast step is Hugging Face's model: same parameters, logits, gradients, dropout rates."""

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F
from transformers import PatchTSTForClassification

from scaling.config import WindowConfig
from scaling.sizes import PatchTSTShape, known_budgets, load_model_config
from scaling.training.draws import Draws, dropped
from scaling.training.families.patchtst import (
    FAR_BELOW_ZERO,
    Attention,
    Drop,
    PatchTST,
    Source,
    build,
    fused_attention,
    hf_config,
    linear_of_norm,
)
from scaling.training.model import probabilities


def pair(
    shape: PatchTSTShape, window: WindowConfig, channels: int
) -> tuple[PatchTST, torch.nn.Module]:
    """Our model and Hugging Face's, with the same weights by the same names."""
    torch.manual_seed(1)
    ours = build(shape, window, channels)
    with torch.no_grad():  # HF starts biases at 0 and norms at 1, where a mix-up would not show
        for parameter in ours.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn_like(parameter) / parameter.shape[-1] ** 0.5)
    theirs = PatchTSTForClassification(hf_config(shape, window, channels))
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def assert_equal_to_hf(
    shape: PatchTSTShape, window: WindowConfig, channels: int, batch: int, training: bool
) -> None:
    ours, theirs = pair(shape, window, channels)
    ours.train(training)
    theirs.train(training)
    windows = torch.randn(batch, window.context_length, channels)
    logits, expected = ours(windows), theirs(past_values=windows).prediction_logits
    torch.testing.assert_close(logits, expected, rtol=1e-5, atol=2e-6)
    logits.sum().backward()
    expected.sum().backward()
    reference = dict(theirs.named_parameters())
    largest = max(p.grad.abs().max().item() for p in reference.values() if p.grad is not None)
    for name, parameter in ours.named_parameters():
        if not parameter.requires_grad:
            continue
        assert parameter.grad is not None, name
        difference = (parameter.grad - reference[name].grad).abs().max().item()
        assert difference <= 1e-5 * largest, name


def model_shape(
    d_model: int, heads: int, ffn: int, layers: int, rate: float = 0.0
) -> PatchTSTShape:
    return PatchTSTShape(
        d_model=d_model,
        layers=layers,
        heads=heads,
        ffn_dim=ffn,
        dropout=rate,
    )


@settings(max_examples=15, deadline=None, derandomize=True)
@given(
    heads=st.sampled_from([1, 2, 3]),
    width=st.sampled_from([2, 4, 6]),
    ffn=st.integers(1, 9),
    layers=st.integers(1, 3),
    patches=st.integers(2, 9),
    patch_length=st.integers(1, 5),
    channels=st.integers(1, 4),
    batch=st.integers(1, 3),
    training=st.booleans(),
)
def test_logits_and_every_gradient_equal_hugging_faces_for_any_shape(
    heads: int,
    width: int,
    ffn: int,
    layers: int,
    patches: int,
    patch_length: int,
    channels: int,
    batch: int,
    training: bool,
) -> None:
    days = patches * patch_length
    window = WindowConfig(days, patch_length, days)
    shape = model_shape(heads * width, heads, ffn, layers)
    assert_equal_to_hf(shape, window, channels, batch, training)


@pytest.mark.parametrize("budget", known_budgets())
def test_logits_and_gradients_equal_hugging_faces_at_every_shipped_width(budget: str) -> None:
    shape = dataclasses.replace(load_model_config(budget), layers=2, dropout=0.0)
    if shape.d_model > 1024:
        pytest.skip("the widest layers do not fit a small machine; their widths scale the others'")
    assert_equal_to_hf(shape, WindowConfig(16, 8, 15), 3, 2, training=True)


def test_evaluation_ignores_dropout_and_equals_hugging_faces() -> None:
    assert_equal_to_hf(model_shape(8, 2, 12, 2, rate=0.5), WindowConfig(16, 4, 15), 3, 2, False)


def test_a_seed_draws_the_same_weights_as_hugging_face_draws() -> None:
    shape, window = model_shape(8, 2, 12, 2), WindowConfig(16, 4, 15)
    torch.manual_seed(7)
    ours = build(shape, window, 3).state_dict()
    torch.manual_seed(7)
    theirs = PatchTSTForClassification(hf_config(shape, window, 3)).state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize(
    ("option", "value"),
    [("norm_type", "batchnorm"), ("pre_norm", False), ("path_dropout", 0.1), ("scaling", "std")],
)
def test_an_option_that_the_fast_step_does_not_compute_is_refused(
    option: str, value: object
) -> None:
    config = hf_config(model_shape(8, 2, 12, 1), WindowConfig(16, 4, 15), 3)
    setattr(config, option, value)
    with pytest.raises(ValueError, match=option):
        PatchTST(config)


@pytest.mark.parametrize("windows", [(2, 16, 4), (2, 12, 3)])
def test_a_window_of_another_size_is_refused(windows: tuple[int, int, int]) -> None:
    model = build(model_shape(8, 2, 12, 1), WindowConfig(16, 4, 15), 3)
    with pytest.raises(ValueError, match="16 of 3"):
        model(torch.zeros(windows))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gelu_and_its_slope_are_exactly_zero_where_dropout_puts_an_element(
    dtype: torch.dtype,
) -> None:
    values = torch.linspace(-500, 500, 101).add(FAR_BELOW_ZERO).to(dtype).requires_grad_()
    result = F.gelu(values)
    result.sum().backward()
    assert values.grad is not None
    assert not result.any()
    assert not values.grad.any()


@pytest.mark.parametrize("pool", [False, True])
def test_the_feed_forwards_dropout_and_gradients_are_autograds_for_the_same_draws(
    pool: bool,
) -> None:
    torch.manual_seed(5)
    rate, patches = 0.25, 4
    model = build(model_shape(8, 2, 12, 1, rate), WindowConfig(16, 4, 15), 3).train()
    layer = model.model.encoder.layers[0]
    layer.self_attn.dropout = 0.0
    samples, channels, draws = 2, 3, Draws(5, 1, 0, 2)
    tokens = torch.randn(patches * samples * channels, 8, requires_grad=True)
    inputs = [tokens, *(p for p in layer.parameters() if p.requires_grad)]
    ours = layer(tokens, patches, draws, pool)

    layer.eval()
    attended = tokens + layer.self_attn.out_proj(layer.attend(tokens, patches, None, None))
    expand, _, _, contract = layer.ff
    hidden = expand(layer.norm_sublayer3(attended))
    # A sample's draws stand together; the tokens stand patch first.
    mask, scale = dropped(draws.bits(1, patches * channels * 12), rate, torch.float32)
    mask = mask.view(samples, patches, channels, 12).transpose(0, 1).reshape(hidden.shape)
    expected = attended + contract(F.gelu(hidden) * (1 - mask) * scale)
    if pool:
        expected = expected.view(patches, -1, 8).mean(0)

    assert mask.any()
    torch.testing.assert_close(ours, expected)
    weight = torch.randn(ours.shape)
    gradients = [torch.autograd.grad((out * weight).sum(), inputs) for out in (ours, expected)]
    for mine, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("level", [1.0, 1e4])
def test_the_norm_from_coordinates_is_as_exact_as_from_tokens_even_where_terms_cancel(
    level: float,
) -> None:
    torch.manual_seed(10)
    norm = torch.nn.LayerNorm(32)
    basis = torch.randn(5, 32)
    basis[1] = -basis[0]
    coordinates = torch.randn(50, 5)
    coordinates[:, :2] += level
    weight, bias = torch.randn(12, 32), torch.randn(12)
    ours = linear_of_norm(Source(coordinates, basis), norm, weight, bias)
    direct = F.linear(norm(coordinates @ basis), weight, bias)
    exact = F.linear(
        norm.double()(coordinates.double() @ basis.double()), weight.double(), bias.double()
    )
    error, allowed = ((result - exact).abs().max().item() for result in (ours, direct))
    assert error <= 2 * allowed


@pytest.mark.parametrize("place", ["attention", "feed-forward"])
def test_dropout_in_training_has_hugging_faces_mean_and_spread(place: str) -> None:
    """1,500 draws each of ours and HF's, of one window: two-sample comparison of the moments."""
    config = hf_config(model_shape(16, 2, 32, 1), WindowConfig(16, 4, 15), 2)
    rate = 0.4
    config.attention_dropout = rate if place == "attention" else 0.0
    config.ff_dropout = rate if place == "feed-forward" else 0.0
    torch.manual_seed(6)
    ours = PatchTST(config)
    with torch.no_grad():
        for parameter in ours.parameters():
            if parameter.requires_grad:
                parameter.add_(0.3 * torch.randn_like(parameter))
    theirs = PatchTSTForClassification(config)
    theirs.load_state_dict(ours.state_dict())
    draws = 1500
    window = torch.randn(1, 16, 2).expand(draws, -1, -1)
    with torch.no_grad():
        a = ours.train()(window, Draws(6, 0, 0, draws)).double()
        b = theirs.train()(past_values=window).prediction_logits.double()
        certain = ours.eval()(window[:1])
    assert a.std() > 0.01 * certain.abs()
    assert abs(a.mean() - b.mean()).item() < 5 * (a.var() + b.var()).div(draws).sqrt().item()
    assert a.std().item() == pytest.approx(b.std().item(), rel=0.15)


def test_the_attention_of_gpus_is_that_of_cpus_with_its_gradient() -> None:
    torch.manual_seed(8)
    patches, heads, width, scale = 4, 3, 5, 0.37
    merged = torch.randn(patches * 6, heads * 3 * width, requires_grad=True)
    weight = torch.randn(patches * 6, heads * width)
    ours = Attention.apply(merged, patches, width, scale, None)
    theirs = fused_attention(merged, patches, heads, scale, 0.0)
    torch.testing.assert_close(ours, theirs)
    gradients = [torch.autograd.grad((out * weight).sum(), merged)[0] for out in (ours, theirs)]
    torch.testing.assert_close(*gradients)


def test_the_gradient_of_attention_with_dropout_is_autograds_for_the_same_draws() -> None:
    torch.manual_seed(9)
    patches, width, scale, p = 4, 5, 0.37, 0.3
    merged = torch.randn(patches * 6, 2 * 3 * width, requires_grad=True)
    weight = torch.randn(patches * 6, 2 * width)
    draws = Draws(9, 1, 0, samples=3)
    ours = Attention.apply(merged, patches, width, scale, Drop(draws, 4, p))

    query, key, value = merged.view(patches, -1, 3, width).permute(2, 1, 0, 3)
    weights = (scale * query @ key.transpose(1, 2)).softmax(2)
    # The draws stand keys first, as the CPU's attention keeps its weights.
    mask, factor = dropped(draws.bits(4, weights.numel() // 3), p, torch.float32)
    used = weights * (1 - mask.view_as(weights).transpose(1, 2)) * factor
    expected = (used @ value).transpose(0, 1).reshape(len(merged), -1)

    assert mask.any()
    torch.testing.assert_close(ours, expected)
    gradients = [torch.autograd.grad((out * weight).sum(), merged)[0] for out in (ours, expected)]
    torch.testing.assert_close(*gradients)


def test_a_training_pass_with_dropout_and_no_draws_is_refused() -> None:
    model = build(model_shape(8, 2, 12, 2, rate=0.3), WindowConfig(16, 4, 15), 3).train()
    with pytest.raises(ValueError, match="needs draws"):
        model(torch.randn(4, 16, 3))


def test_every_encoder_layer_is_entered_as_a_module_so_that_hooks_see_it() -> None:
    model = build(model_shape(8, 2, 12, 3), WindowConfig(16, 4, 15), 3)
    seen: list[int] = []
    for index, layer in enumerate(model.model.encoder.layers):
        layer.register_forward_hook(lambda *_, index=index: seen.append(index))
    model(torch.zeros(1, 16, 3))
    assert seen == [0, 1, 2]


def test_probabilities_are_the_sigmoid_of_the_logits_and_agree_with_the_loss() -> None:
    logits, labels = torch.tensor([[-2.0], [0.5]]), torch.tensor([[0.0], [1.0]])
    p = probabilities(logits)
    expected = -(torch.log(1 - p[0]) + torch.log(p[1])) / 2
    loss = F.binary_cross_entropy_with_logits(logits, labels)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
