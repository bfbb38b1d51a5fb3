"""One recipe serves every size: a step changes the function by as much, whatever the shape.

This is the coordinate check of Yang et al. (2022, arXiv 2203.03466, appendix D.1), over width and
depth. A rule with one wrong exponent must fail it, and so must Hugging Face's own initialisation.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.nn import functional as F
from transformers import PatchTSTForClassification

from scaling.config import WindowConfig
from scaling.sizes import OptimiserConfig, PatchTSMixerShape, PatchTSTShape, load_model_config
from scaling.training.families import Transfer, family_of, patchtst
from scaling.training.model import build_model
from scaling.training.transfer import clip_gradient, make_optimiser, set_learning_rate, transfers

WINDOW = WindowConfig(64, 16, 63)
OPTIMISER = OptimiserConfig(32, 5, 0.001, 0.01, 0.1, 1.0)
WINDOWS, CHANNELS = 8, 4
# Low enough that ten steps stay within what the first one says; a training warms up as slowly.
RATES = {1: 0.001, 10: 0.0001}
DEEP = PatchTSTShape(d_model=48, layers=12, heads=2, ffn_dim=160, dropout=0.0)
WIDE = PatchTSTShape(d_model=512, layers=2, heads=8, ffn_dim=1408, dropout=0.0)

WIDEST = PatchTSTShape(d_model=1536, layers=2, heads=16, ffn_dim=320, dropout=0.0)


def ladder(family: str, *budgets: str) -> list[Any]:
    return [replace(load_model_config(budget, family), dropout=0.0) for budget in budgets]


SHAPES: dict[str, list[Any]] = {
    "patchtst": [
        *ladder("patchtst", "200k", "600k", "2m", "20m"),
        DEEP,
        PatchTSTShape(d_model=64, layers=8, heads=4, ffn_dim=192, dropout=0.0),
    ],
    "patchtsmixer": [
        *ladder("patchtsmixer", "200k", "600k", "2m"),
        PatchTSMixerShape(d_model=56, layers=12, expansion_factor=2, dropout=0.0),
        PatchTSMixerShape(d_model=112, layers=6, expansion_factor=4, dropout=0.0),
    ],
}
BASES = {family: shapes[0] for family, shapes in SHAPES.items()}
# PatchTSMixer mixes the patches by matrices of 4 x 8 numbers, at every size: too few for a mean.
TINY = "patch_mixer"


def fresh(shape: Any) -> tuple[torch.nn.Module, torch.Tensor, torch.Tensor]:
    """A network without dropout, and windows with labels."""
    torch.manual_seed(0)
    network = build_model(shape, WINDOW, CHANNELS).eval()
    windows = torch.randn(WINDOWS, WINDOW.context_length, CHANNELS)
    return network, windows, (torch.rand(WINDOWS, 1) < 0.3).float()


def kind_of(name: str) -> str:
    """The name of a parameter or module without its layer."""
    return re.sub(r".*(layers|mixers)\.\d+\.", "", name)


def pooled(tokens: torch.Tensor) -> torch.Tensor:
    """Tokens, as either family keeps them, -> their mean over the patches [sequences, d_model]."""
    if tokens.dim() == 4:
        tokens = tokens.movedim(2, 0)
    return tokens.reshape(-1, WINDOWS * CHANNELS, tokens.shape[-1]).mean(0)


def rms(values: torch.Tensor) -> float:
    return float(values.square().mean().sqrt())


def watched(
    network: torch.nn.Module,
    modules: Mapping[str, torch.nn.Module],
    windows: torch.Tensor,
    what: Callable[[Any, Any], torch.Tensor],
) -> dict[str, torch.Tensor]:
    """`what` of the input and output of some modules, by name, and the logits."""
    found: dict[str, torch.Tensor] = {}

    def keep(name: str) -> Callable[[Any, Any, Any], None]:
        return lambda _, given, output: found.update({name: what(given[0], output)})

    hooks = [module.register_forward_hook(keep(name)) for name, module in modules.items()]
    with torch.no_grad():
        made = network(windows)
    for hook in hooks:
        hook.remove()
    return {**found, "logit": getattr(made, "prediction_logits", made)}


def changes(shape: Any, steps: int) -> dict[str, float]:
    """Root mean square of what `steps` steps change: in the logit, and in what each layer adds.

    All layers together add as much at every depth, so the change of one is multiplied by their
    number.
    """
    network, windows, labels = fresh(shape)
    (layers,) = [m for m in network.modules() if isinstance(m, torch.nn.ModuleList)]

    def added() -> dict[str, torch.Tensor]:
        named = {str(number): layer for number, layer in enumerate(layers)}
        return watched(network, named, windows, lambda given, out: pooled(out) - pooled(given))

    before = added()
    optimiser = make_optimiser(network, shape, OPTIMISER)
    set_learning_rate(optimiser, RATES[steps])
    for _ in range(steps):
        optimiser.zero_grad()
        loss = F.binary_cross_entropy_with_logits(network(windows), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    after = added()
    return {
        name: rms(after[name] - then) * (1 if name == "logit" else len(layers))
        for name, then in before.items()
    }


def spreads(found: Sequence[Mapping[str, Sequence[float]]]) -> dict[str, float]:
    """How many times the smallest value the largest one is, of each kind, over all shapes."""
    together = {kind: [v for one in found for v in one[kind]] for kind in found[0]}
    return {kind: max(values) / min(values) for kind, values in together.items()}


def spread_of_changes(shapes: Sequence[Any], steps: int) -> dict[str, float]:
    """Of the logit, and of what layers add."""
    found = [changes(shape, steps) for shape in shapes]
    return spreads([{"logit": [f.pop("logit")], "layers": list(f.values())} for f in found])


def shares(shape: Any) -> dict[str, list[float]]:
    """By kind of matrix: how far one step of Adam can move the logit through it, in rates.

    Adam's first step moves every weight by its rate, whichever way its gradient points.
    """
    network, windows, _ = fresh(shape)
    network(windows).mean().backward()
    found: dict[str, float] = {}
    for name, rule in transfers(network, shape).items():
        weight, kind = network.get_parameter(name), kind_of(name)
        if weight.dim() > 1 and TINY not in kind and weight.grad is not None:
            moved = rule.rate * float(weight.grad.abs().sum())
            found[kind] = found.get(kind, 0.0) + moved
    return {kind: [moved] for kind, moved in found.items()}


# What is as large at every size is not always a matrix's output itself. Query times key is a sum
# over a head's width, divided by its root. Layers add up, and a gate passes on 1 / d_model.
SCALES: dict[str, Callable[[Any], float]] = {
    "self_attn.q_proj": lambda shape: (shape.d_model / shape.heads) ** 0.5,
    "self_attn.out_proj": lambda shape: shape.layers,
    "ff.3": lambda shape: shape.layers,
    "feature_mixer.mlp.fc2": lambda shape: shape.layers / shape.d_model,
}


def fresh_outputs(shape: Any) -> dict[str, list[float]]:
    """By kind of matrix: root mean square of its output before the first step, for each layer.

    Hugging Face's own forward computes them, in which every matrix is a module to look into. The
    logit is left out: it starts the nearer to 0, the wider the network is.
    """
    network, windows, _ = fresh(shape)
    if shape.family == "patchtst":
        theirs = PatchTSTForClassification(patchtst.hf_config(shape, WINDOW, CHANNELS)).eval()
        theirs.load_state_dict(network.state_dict())
        network = theirs
    linear = {n: m for n, m in network.named_modules() if isinstance(m, torch.nn.Linear)}
    found: dict[str, list[float]] = {}
    for name, output in watched(network, linear, windows, lambda _, output: output).items():
        kind = kind_of(name)
        if not kind.startswith(("head", "logit", TINY)):
            found.setdefault(kind, []).append(SCALES.get(kind, lambda _: 1.0)(shape) * rms(output))
    return found


@pytest.mark.parametrize("steps", RATES)
@pytest.mark.parametrize("family", SHAPES)
def test_a_step_changes_the_function_by_as_much_at_every_size(family: str, steps: int) -> None:
    found = spread_of_changes(SHAPES[family], steps)
    assert max(found.values()) < 2, found


@pytest.mark.parametrize("look", [shares, fresh_outputs])
@pytest.mark.parametrize("family", SHAPES)
def test_every_matrix_has_the_same_part_in_it(
    family: str, look: Callable[[Any], dict[str, list[float]]]
) -> None:
    found = spreads([look(shape) for shape in SHAPES[family]])
    assert max(found.values()) < 2, found


def test_under_hugging_faces_own_initialisation_it_grows_tenfold(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(patchtst, "transfer", lambda *_: Transfer())
    found = spread_of_changes([BASES["patchtst"], *ladder("patchtst", "20m")], 1)
    assert min(found.values()) > 10, found


MATRICES = ("q_proj", "k_proj", "v_proj", "out_proj", "ff.0", "ff.3", "head")


@pytest.mark.parametrize("part", MATRICES)
@pytest.mark.parametrize("field", ["rate", "deviation"])
@pytest.mark.parametrize("axis", ["d_model", "layers"])
def test_one_wrong_exponent_is_noticed(
    monkeypatch: pytest.MonkeyPatch, part: str, field: str, axis: str
) -> None:
    """Wrong by one half in the width, or by one in the depth."""
    right = patchtst.transfer

    def wrong(name: str, base: Any, shape: Any) -> Transfer:
        rule, ratio = right(name, base, shape), getattr(shape, axis) / getattr(base, axis)
        if f"{part}." not in name and f"{part}" not in name.split(".")[0]:
            return rule
        power = -0.5 if axis == "d_model" else 1.0
        return rule._replace(**{field: getattr(rule, field) * ratio**power})

    monkeypatch.setattr(patchtst, "transfer", wrong)
    shapes = [BASES["patchtst"], WIDE if axis == "d_model" else DEEP]
    look = shares if field == "rate" or part == "head" else fresh_outputs
    assert max(spreads([look(shape) for shape in shapes]).values()) > 2


@pytest.mark.parametrize("family", SHAPES)
def test_the_base_is_the_smallest_size_and_is_as_hugging_face_draws_and_torch_trains_it(
    family: str,
) -> None:
    base = load_model_config("200k", family)
    assert base == family_of(family).BASE
    network = build_model(base, WINDOW, CHANNELS)
    for name, rule in transfers(network, base).items():
        decays = network.get_parameter(name).dim() > 1
        assert rule == Transfer(1.0, 1.0, float(decays)), name


@pytest.mark.parametrize("family", SHAPES)
def test_a_matrix_decays_as_fast_at_every_size_and_nothing_else_does(family: str) -> None:
    for shape in SHAPES[family]:
        network = build_model(shape, WINDOW, CHANNELS)
        for name, rule in transfers(network, shape).items():
            expected = float(network.get_parameter(name).dim() > 1)
            assert rule.rate * rule.decay == pytest.approx(expected), name


def test_the_norm_that_is_clipped_does_not_grow_with_the_width() -> None:
    """The plain norm does, so that the wider a network, the more of its steps would be clipped."""
    clipped, plain = [], []
    for shape in (BASES["patchtst"], WIDEST):
        network, windows, _ = fresh(shape)
        network(windows).mean().backward()
        gradients = [p.grad for p in network.parameters() if p.grad is not None]
        plain.append(float(torch.nn.utils.get_total_norm(gradients)))
        optimiser = make_optimiser(network, shape, OPTIMISER)
        clipped.append(float(clip_gradient(network, optimiser, 1e9)))
    assert plain[1] > 2 * plain[0]
    assert clipped[1] < 1.1 * clipped[0]
