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
    )
    return PatchTSMixer(config)


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
