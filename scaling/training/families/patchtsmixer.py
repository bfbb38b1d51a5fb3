"""PatchTSMixer (Ekambaram et al. 2023, arXiv 2306.09364) as Hugging Face defines it.

Where PatchTST mixes the patches of a channel by attention, PatchTSMixer does it by an MLP. Here all
else is as in our PatchTST, so that two ladders differ in that alone: patches that do not overlap,
channels that share their weights and meet in the head, layer normalisation, a mean over patches.
"""

from torch import Tensor, nn
from transformers import PatchTSMixerConfig, PatchTSMixerForTimeSeriesClassification

from scaling.config import WindowConfig
from scaling.sizes import PatchTSMixerShape
from scaling.training.draws import Draws
from scaling.training.families import Transfer

BASE = PatchTSMixerShape(d_model=112, layers=3, expansion_factor=2, dropout=0.1)


class PatchTSMixer(PatchTSMixerForTimeSeriesClassification):  # type: ignore[misc]
    """Hugging Face's classifier and its `state_dict`, with one logit as the output.

    Its dropout is torch's own. The seed before each micro-batch depends on the micro-batch, so two
    machines with different micro-batches drop different elements. A resumed training drops the same
    ones as a training that was not stopped.
    """

    def forward(self, past_values: Tensor, draws: Draws | None = None) -> Tensor:
        """`past_values` [batch, context_length, channels] -> logits [batch, 1]."""
        logits: Tensor = self.head(self.model(past_values).last_hidden_state)
        return logits


def build(shape: PatchTSMixerShape, window: WindowConfig, n_channels: int) -> PatchTSMixer:
    """A new network on the current default device, drawn from its generator.

    Gated attention, which weighs features within a patch and patches within a channel, is on as in
    the paper. Scaling inside the model is off: it removes the level of volatility.
    """
    config = PatchTSMixerConfig(
        num_input_channels=n_channels,
        context_length=window.context_length,
        patch_length=window.patch_length,
        patch_stride=window.patch_length,
        d_model=shape.d_model,
        num_layers=shape.layers,
        expansion_factor=shape.expansion_factor,
        dropout=shape.dropout,
        head_dropout=0.0,
        mode="common_channel",
        gated_attn=True,
        norm_mlp="LayerNorm",
        scaling=None,
        head_aggregation="avg_pool",
        num_targets=1,
        init_std=shape.initial_deviation,
    )
    return PatchTSMixer(config)


def transfer(name: str, base: PatchTSMixerShape, shape: PatchTSMixerShape) -> Transfer:
    """How the parameter `name` differs from its like in the `base` (`Family.transfer`).

    Each of a layer's two blocks adds 1 / layers of what it computes. A gate follows the second
    matrix of an MLP and multiplies by a softmax, over all features in the one block, so that what
    it lets through falls as 1 / d_model; that matrix makes up for both. The gate is given the
    inverse, so that its softmax sees what it sees in the base. In the other block the MLP and the
    softmax are over the patches, which are as many at every size.
    """
    width, shallower = shape.d_model / base.d_model, base.layers / shape.layers
    hidden = width * shape.expansion_factor / base.expansion_factor
    ratio = shape.expansion_factor / base.expansion_factor
    layer, _, kind = name.rpartition(".")
    module = layer.removeprefix("model.encoder.mlp_mixer_encoder.mixers.").lstrip("0123456789.")
    inputs, gain = {
        "patch_mixer.mlp.fc1": (1.0, 1.0),
        "patch_mixer.mlp.fc2": (ratio, shallower),
        "patch_mixer.gating_block.attn_layer": (1.0, 1 / shallower),
        "feature_mixer.mlp.fc1": (width, 1.0),
        "feature_mixer.mlp.fc2": (hidden, shallower * width),
        "feature_mixer.gating_block.attn_layer": (width, 1 / (shallower * width)),
        "patch_mixer.norm.norm": (1.0, 1.0),
        "feature_mixer.norm.norm": (1.0, 1.0),
        "model.encoder.patcher": (1.0, 1.0),
        "head.projection": (width, 1.0),
    }[module]
    if kind == "bias":
        # A gate's bias is beside what its matrix makes, which is as large as in the base.
        return Transfer.bias(1.0 if "gating" in module else gain)
    if module.endswith("norm"):
        return Transfer.bias()
    return Transfer.head(inputs) if module == "head.projection" else Transfer.matrix(inputs, gain)


def embedding(network: PatchTSMixer) -> nn.Module:
    """The layer that makes tokens of patches."""
    layer: nn.Module = network.model.encoder.patcher
    return layer


def multiply_adds(shape: PatchTSMixerShape, window: WindowConfig, n_channels: int) -> int:
    """Of the matrix products of one window's forward pass: two of each MLP, one of each gate."""
    patches = window.context_length // window.patch_length
    tokens = n_channels * patches
    d = shape.d_model
    layer = (2 * shape.expansion_factor + 1) * (d + patches) * d
    return tokens * (window.patch_length * d + shape.layers * layer) + n_channels * d
