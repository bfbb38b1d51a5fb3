"""One recipe for every size: initial weights and learning rates follow from a network's shape.

A learning rate that is tuned at one size, the base, is right at all sizes if a step changes the
function by as much at each of them. Which factors do that is known for width (maximal update, Yang
et al. 2022, arXiv 2203.03466) and for depth (CompleteP with alpha = 1, Dey et al. 2025, arXiv
2505.01618). The papers multiply in the forward pass. Here the factors are folded into the initial
weights and Adam's groups, so that the network stays Hugging Face's. Each family has its own rule.
"""

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from scaling.sizes import ModelConfig, OptimiserConfig
from scaling.training.families import Transfer, family_of

EPSILON = 1e-8  # Adam's, at the base


def transfers(network: nn.Module, shape: ModelConfig) -> dict[str, Transfer]:
    """The rule of every trained parameter of a network of this shape, by the parameter's name."""
    family = family_of(shape.family)
    named = network.named_parameters()
    return {name: family.transfer(name, family.BASE, shape) for name, p in named if p.requires_grad}


def fold(network: nn.Module, shape: ModelConfig) -> nn.Module:
    """Scale, in place, the weights that Hugging Face has drawn."""
    with torch.no_grad():
        for name, rule in transfers(network, shape).items():
            network.get_parameter(name).mul_(rule.deviation)
    return network


def make_optimiser(
    network: nn.Module, shape: ModelConfig, config: OptimiserConfig
) -> torch.optim.AdamW:
    """AdamW with one group for each rate and decay; `rate` in a group multiplies the schedule's.

    Gradients of the layers shrink with width and depth, and Adam's epsilon with them. It would
    otherwise slow down large networks alone.
    """
    members: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, rule in transfers(network, shape).items():
        members.setdefault((rule.decay, rule.rate), []).append(network.get_parameter(name))
    groups = [
        {"params": parameters, "rate": rate, "weight_decay": config.weight_decay * decay}
        for (decay, rate), parameters in sorted(members.items(), reverse=True, key=lambda m: m[0])
    ]
    base = family_of(shape.family).BASE
    epsilon = EPSILON * base.d_model / shape.d_model * base.layers / shape.layers
    return torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.95), eps=epsilon, fused=True)


def set_learning_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Give each group its share of the base's rate."""
    for group in optimiser.param_groups:
        group["lr"] = rate * group["rate"]


def clip_gradient(network: nn.Module, optimiser: torch.optim.Optimizer, limit: float) -> Tensor:
    """Scale the gradient, in place, down to a norm of at most `limit`; returns its norm before.

    A weight counts in the norm by its share of the learning rate, so that the same limit clips as
    many steps at every size. The plain norm grows with the width, by the head's many weights.
    """
    rates = {p: group["rate"] for group in optimiser.param_groups for p in group["params"]}
    used = [parameter for parameter in network.parameters() if parameter.grad is not None]
    gradients = [parameter.grad for parameter in used if parameter.grad is not None]
    if isinstance(gradients[0], DTensor):
        parts = torch.stack([torch.linalg.vector_norm(g) for g in gradients])
        norms = parts.full_tensor() if isinstance(parts, DTensor) else parts
    else:
        norms = torch.stack(torch._foreach_norm(gradients))
    torch._foreach_mul_(norms.unbind(), [rates[parameter] ** 0.5 for parameter in used])
    norm: Tensor = torch.linalg.vector_norm(norms)
    torch.nn.utils.clip_grads_with_norm_(used, limit, norm)
    return norm


def reach(network: nn.Module, shape: ModelConfig, windows: Tensor) -> float:
    """How far one step of Adam can move the mean logit of `windows`, for a learning rate of 1."""
    rules = transfers(network, shape)
    weights = [network.get_parameter(name) for name in rules]
    was_training = network.training
    logit = network.eval()(windows).mean()
    gradients = torch.autograd.grad(logit, weights)
    network.train(was_training)
    sums = zip(rules.values(), gradients, strict=True)
    return sum(rule.rate * float(gradient.abs().sum()) for rule, gradient in sums)
