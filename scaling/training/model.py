"""What is asked of a network, whatever its family: its size, its cost, its forecast."""

import torch
from torch import Tensor, nn

from scaling.config import WindowConfig
from scaling.errors import UserError
from scaling.sizes import BUDGET_TOLERANCE, ModelConfig, budget_parameters, model_config_path
from scaling.training.families import family_of
from scaling.training.transfer import fold


def build_model(shape: ModelConfig, window: WindowConfig, n_channels: int) -> nn.Module:
    """A new network on the current default device, drawn from its generator."""
    return fold(family_of(shape.family).build(shape, window, n_channels), shape)


def count_parameters(network: nn.Module) -> int:
    """Every trained number: the x of all figures. The fixed positions (sine, cosine) are not."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


def count_without_embeddings(shape: ModelConfig, network: nn.Module) -> int:
    """The trained numbers without the patch embedding, as Kaplan et al. (2020) count them."""
    return count_parameters(network) - count_parameters(family_of(shape.family).embedding(network))


def check_budget(budget: str, family: str, parameters: int) -> None:
    """Raise `UserError` where the count is more than 5 % off the label."""
    label = budget_parameters(budget)
    if abs(parameters - label) > BUDGET_TOLERANCE * label:
        low, high = round(label * (1 - BUDGET_TOLERANCE)), round(label * (1 + BUDGET_TOLERANCE))
        raise UserError(
            f"param_budget: {budget} counts {parameters:,} parameters; allowed: {low:,} to "
            f"{high:,}; change the shape in {model_config_path(budget, family)}"
        )


def probabilities(logits: Tensor) -> Tensor:
    """Logits -> probabilities of a rise; the only sigmoid of the project."""
    return torch.sigmoid(logits)


def training_flops(shape: ModelConfig, window: WindowConfig, n_channels: int) -> float:
    """Floating-point operations of one window's training step, forward and backward.

    Matrix products only, 2 operations per multiply-add. The backward pass counts as twice the
    forward pass (Kaplan et al. 2020, appendix B).
    """
    return 3.0 * 2.0 * family_of(shape.family).multiply_adds(shape, window, n_channels)
