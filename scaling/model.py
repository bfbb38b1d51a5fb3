"""PatchTST as Hugging Face defines it: its modules, its parameters, one logit out."""

import torch
from torch import Tensor, nn
from transformers import PatchTSTConfig, PatchTSTForClassification

from scaling.config import ModelConfig, WindowConfig, budget_parameters
from scaling.errors import UserError

BUDGET_TOLERANCE = 0.05


class PatchTST(PatchTSTForClassification):  # type: ignore[misc]
    """Hugging Face's classifier; its `state_dict` loads into `PatchTSTForClassification`."""

    def forward(self, past_values: Tensor) -> Tensor:
        """`past_values` [batch, context_length, channels] -> logits [batch, 1]."""
        logits: Tensor = super().forward(past_values).prediction_logits
        return logits


def hf_config(model: ModelConfig, window: WindowConfig, n_channels: int) -> PatchTSTConfig:
    """The Hugging Face configuration of one budget.

    LayerNorm, so that the micro-batch does not change the result. No scaling inside the model:
    per-window standardisation removes the level of volatility, most of the signal. Dropout acts
    where the transformer paper's encoder has it inside the sublayers: attention weights and the
    feed-forward activations; HF's other dropouts (positions, residual paths, head) stay off.
    """
    return PatchTSTConfig(
        num_input_channels=n_channels,
        context_length=window.context_length,
        patch_length=window.patch_length,
        patch_stride=window.patch_length,
        d_model=model.d_model,
        num_hidden_layers=model.layers,
        num_attention_heads=model.heads,
        ffn_dim=model.ffn_dim,
        attention_dropout=model.dropout,
        ff_dropout=model.dropout,
        norm_type="layernorm",
        pooling_type="mean",
        use_cls_token=False,
        scaling=None,
        num_targets=1,
    )


def build_model(model: ModelConfig, window: WindowConfig, n_channels: int) -> PatchTST:
    """A freshly initialised model on the current default device, drawn from its generator."""
    return PatchTST(hf_config(model, window, n_channels))


def count_parameters(module: nn.Module) -> int:
    """Every trained number: the x of all figures. The fixed positions (sine, cosine) are not."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def check_budget(budget: str, parameters: int) -> None:
    """Raise `UserError` where the count is more than 5 % off the label."""
    label = budget_parameters(budget)
    if abs(parameters - label) > BUDGET_TOLERANCE * label:
        low, high = round(label * (1 - BUDGET_TOLERANCE)), round(label * (1 + BUDGET_TOLERANCE))
        raise UserError(
            f"param_budget: {budget} counts {parameters:,} parameters; allowed: {low:,} to "
            f"{high:,}; change d_model, layers or ffn_dim in configs/model/patchtst_{budget}.yaml"
        )


def probabilities(logits: Tensor) -> Tensor:
    """Logits -> probabilities of a rise; the only sigmoid of the project."""
    return torch.sigmoid(logits)


def loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean log-loss of logits [batch, 1] against 0/1 labels of the same shape, in fp32."""
    return nn.functional.binary_cross_entropy_with_logits(logits.float(), labels.float())


def training_flops(model: ModelConfig, window: WindowConfig, n_channels: int) -> float:
    """Floating-point operations of one window's training step, forward and backward.

    Matrix products of the model as defined, 2 per multiply-add, backward counted as twice the
    forward (Kaplan et al. 2020, appendix B); shortcuts of the implementation do not lower it.
    """
    patches = window.context_length // window.patch_length
    tokens = n_channels * patches
    d = model.d_model
    layer = 4 * d * d + 2 * d * model.ffn_dim + 2 * patches * d
    forward = tokens * (window.patch_length * d + model.layers * layer) + n_channels * d
    return 3.0 * 2.0 * forward
