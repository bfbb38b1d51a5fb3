"""PatchTST as Hugging Face defines it: its modules, its parameters, one logit out, and faster.

`PatchTST` computes from HF's own parameters what HF's forward computes
(tests/training/test_model_step.py), with fewer and larger matrix products; benchmarks/README.md has
what each device gains. On a CPU its dropout is keyed by sample (scaling/training/draws.py).
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PatchTSTConfig, PatchTSTForClassification
from transformers.models.patchtst.modeling_patchtst import PatchTSTEncoderLayer

from scaling.config import WindowConfig
from scaling.sizes import PatchTSTShape
from scaling.training.draws import Draws, Dropped, dropped
from scaling.training.families import Transfer

BASE = PatchTSTShape(d_model=96, layers=2, heads=4, ffn_dim=320, dropout=0.1)

# The options that `PatchTST.forward` computes. It would be wrong for any other value.
COMPUTED = {
    "norm_type": "layernorm",
    "pre_norm": True,
    "pooling_type": "mean",
    "use_cls_token": False,
    "channel_attention": False,
    "share_embedding": True,
    "scaling": None,
    "path_dropout": 0.0,
    "positional_dropout": 0.0,
    "head_dropout": 0.0,
    "activation_function": "gelu",
}

# Added to an activation that is dropped. GELU and its slope are exactly 0 there, so nothing has to
# be multiplied after GELU or in the backward pass, and no mask has to be kept.
FAR_BELOW_ZERO = -1e4


class Drop(NamedTuple):
    """Dropout at one site of one pass on a CPU."""

    draws: Draws
    site: int
    rate: float


class Attention(torch.autograd.Function):
    """Scaled dot-product attention of many sequences of a few tokens, on a CPU.

    For 8 patches a fused kernel costs more than it saves, and autograd's own gradient copied each
    operand of each product: forward and backward together took 24 ms, here 16 (2M, patch 8).
    """

    @staticmethod
    def forward(
        ctx: Any, merged: Tensor, patches: int, width: int, scale: float, drop: Drop | None
    ) -> Tensor:
        """`merged` [tokens, heads * 3 * width], patch first -> [tokens, heads * width].

        Query, key and value of a head stand side by side.
        """
        parts = merged.view(patches, -1, 3, width).permute(2, 1, 0, 3).contiguous()
        query, key, value = parts
        # With keys before queries the softmax is vectorised over queries: 2.3 ms instead of 6.3.
        scores = torch.baddbmm(
            merged.new_empty(()), key, query.transpose(1, 2), beta=0, alpha=scale
        )
        weights = scores.softmax(1, dtype=torch.float32)
        factors = None
        if drop:
            # A sample's sequences and heads lie together, and so do their draws.
            bits = drop.draws.bits(drop.site, weights.numel() // drop.draws.samples)
            mask, kept_scale = dropped(bits, drop.rate, weights.dtype)
            factors = mask.view_as(weights).mul_(-kept_scale).add_(kept_scale)
        used = (weights if factors is None else weights * factors).to(merged.dtype)
        ctx.save_for_backward(parts, weights, used, factors)
        ctx.scale = scale
        mixed = torch.bmm(used.transpose(1, 2), value)
        return mixed.transpose(0, 1).reshape(len(merged), -1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None, None]:
        parts, weights, used, factors = ctx.saved_tensors
        query, key, value = parts
        sequences, patches, width = query.shape
        grad = grads[0].reshape(patches, sequences, width).transpose(0, 1).contiguous()
        grad_weights = torch.bmm(value, grad.transpose(1, 2)).float()
        if factors is not None:
            grad_weights.mul_(factors)
        grad_weights.mul_(weights)
        mean = grad_weights.sum(1, keepdim=True)
        grad_scores = grad_weights.addcmul_(weights, mean, value=-1).mul_(ctx.scale).to(query.dtype)
        merged = grad.new_empty(patches, sequences, 3, width)
        merged[:, :, 0] = torch.bmm(grad_scores.transpose(1, 2), key).transpose(0, 1)
        merged[:, :, 1] = torch.bmm(grad_scores, query).transpose(0, 1)
        merged[:, :, 2] = torch.bmm(used, grad).transpose(0, 1)
        return merged.view(len(grads[0]), -1), None, None, None, None


def fused_attention(merged: Tensor, patches: int, heads: int, scale: float, p: float) -> Tensor:
    """The same as `Attention`, by torch's own kernel, which GPUs use."""
    width = merged.shape[1] // (3 * heads)
    query, key, value = (
        part.transpose(0, 1).view(-1, heads, patches, width)
        for part in merged.view(patches, -1, 3, width).unbind(2)
    )
    mixed = F.scaled_dot_product_attention(query, key, value, dropout_p=p, scale=scale)
    return mixed.flatten(0, 1).transpose(0, 1).reshape(len(merged), -1)


class Source(NamedTuple):
    """Tokens as the product of two matrices: `coordinates` [tokens, k] @ `basis` [k, d_model]."""

    coordinates: Tensor
    basis: Tensor


def linear_of_norm(source: Source, norm: nn.LayerNorm, weight: Tensor, bias: Tensor) -> Tensor:
    """`F.linear(norm(tokens), weight, bias)` for tokens of few coordinates, [tokens, outputs].

    Layer normalisation centres each row, scales it by one number and then is linear again: with
    `centred` the basis less its rows' means, it is coordinates @ centred / deviation, and the
    product with `weight` needs k columns instead of d_model: 16 of 256 (2M, patch 8). In fp64 the
    variance, a quadratic form of the coordinates, loses nothing where its terms cancel.
    """
    coordinates, basis = source
    with torch.autocast(
        weight.device.type, enabled=False
    ):  # these products are too small to be worth rounding
        centred = basis - basis.mean(1, keepdim=True)
        gram = centred.double() @ centred.double().t() / basis.shape[1]
        wide = coordinates.double()
        variance = (wide @ gram).mul(wide).sum(1, keepdim=True)
        scaled = (wide * (variance + norm.eps).rsqrt()).float()
        narrow = weight @ (centred * norm.weight).t()
        shift = F.linear(norm.bias, weight, bias)
    return F.linear(scaled, narrow, shift)


class EncoderLayer(PatchTSTEncoderLayer):  # type: ignore[misc]
    """HF's encoder layer, its parameters and its mathematics, on tokens kept as one matrix.

    Called as a module, so that the hooks of DDP and FSDP see each layer.
    """

    index: int
    ff_dropout: float

    def forward(
        self,
        tokens: Tensor,
        patches: int,
        draws: Draws | None,
        pool: bool = False,
        source: Source | None = None,
    ) -> Tensor:
        """`tokens` [patches * sequences, d_model], patch first, -> the same shape.

        With `pool`, -> their mean over the patches, [sequences, d_model]; the mean is taken before
        the last matrix of the feed-forward, which is linear, so that it has 1/patches of the work.
        `source` is what the tokens were made of, where that is known.
        """
        tokens = tokens + self.self_attn.out_proj(self.attend(tokens, patches, draws, source))
        expand, _, _, contract = self.ff
        hidden, weight = expand(self.norm_sublayer3(tokens)), contract.weight
        drop = self.drop(1, self.ff_dropout, tokens, draws)
        if drop:
            mask, scale = self.dropped_activations(hidden, patches, drop)
            hidden, weight = F.gelu(hidden.add_(mask, alpha=FAR_BELOW_ZERO)), weight * scale
        else:
            hidden = F.dropout(F.gelu(hidden), self.ff_dropout, self.training)
        if pool:
            # The gradient of a sum is a view. That of a mean would be written out for every patch.
            hidden = hidden.view(patches, -1, hidden.shape[1]).sum(0) / patches
            tokens = tokens.view(patches, -1, tokens.shape[1]).mean(0)
        return tokens + F.linear(hidden, weight, contract.bias)

    def drop(self, place: int, rate: float, tokens: Tensor, draws: Draws | None) -> Drop | None:
        """How this layer's attention (`place` 0) or feed-forward (1) drops elements on a CPU.

        None where nothing is dropped, and on other devices, whose dropout is torch's own.
        """
        if not (self.training and rate and tokens.device.type == "cpu"):
            return None
        if draws is None:
            raise ValueError("a training pass needs draws: model(windows, Draws(...))")
        return Drop(draws, 2 * self.index + place, rate)

    def dropped_activations(self, hidden: Tensor, patches: int, drop: Drop) -> Dropped:
        """Which activations [patches * sequences, ffn_dim] are dropped, in their own order."""
        samples, width = drop.draws.samples, hidden.shape[1]
        bits = drop.draws.bits(drop.site, hidden.numel() // samples)
        by_patch = bits.view(samples, patches, -1, width).transpose(0, 1)
        mask, scale = dropped(by_patch, drop.rate, hidden.dtype)
        return Dropped(mask.view_as(hidden), scale)

    def attend(
        self, tokens: Tensor, patches: int, draws: Draws | None, source: Source | None
    ) -> Tensor:
        """Norm and self-attention across each sequence's patches, before the output projection."""
        attention, norm = self.self_attn, self.norm_sublayer1
        d_model, heads, width = tokens.shape[1], attention.num_heads, attention.head_dim
        # Query, key and value are one product. Its rows are interleaved by head, so that a view can
        # make a batch of all (sequence, head) pairs: they lie at one constant stride.
        parts = (attention.q_proj, attention.k_proj, attention.v_proj)
        weight = torch.stack([part.weight.view(heads, width, d_model) for part in parts], 1)
        bias = torch.stack([part.bias.view(heads, width) for part in parts], 1)
        weight, bias = weight.view(3 * d_model, d_model), bias.view(3 * d_model)
        if source is None:
            merged = F.linear(norm(tokens), weight, bias)
        else:
            merged = linear_of_norm(source, norm, weight, bias)
        if tokens.device.type == "cpu":
            drop = self.drop(0, attention.dropout, tokens, draws)
            mixed: Tensor = Attention.apply(  # type: ignore[no-untyped-call]
                merged, patches, width, attention.scaling, drop
            )
            return mixed
        rate = attention.dropout if self.training else 0.0
        return fused_attention(merged, patches, heads, attention.scaling, rate)


class PatchTST(PatchTSTForClassification):  # type: ignore[misc]
    """Hugging Face's classifier; its `state_dict` loads into `PatchTSTForClassification`."""

    def __init__(self, config: PatchTSTConfig) -> None:
        super().__init__(config)
        for name, value in COMPUTED.items():
            if getattr(config, name) != value:
                raise ValueError(f"{name} is {getattr(config, name)!r}; allowed: {value!r}")
        if (
            config.patch_stride != config.patch_length
            or config.context_length % config.patch_length
        ):
            raise ValueError("patches must neither overlap nor leave out days of the context")
        # HF's initialisation has drawn the modules in HF's order. Only their forward is replaced.
        for index, layer in enumerate(self.model.encoder.layers):
            layer.__class__ = EncoderLayer
            layer.index, layer.ff_dropout = index, config.ff_dropout

    def forward(self, past_values: Tensor, draws: Draws | None = None) -> Tensor:
        """`past_values` [batch, context_length, channels] -> logits [batch, 1].

        `draws` are dropout's on a CPU; elsewhere dropout is torch's own.
        """
        config, encoder = self.config, self.model.encoder
        batch, days, channels = past_values.shape
        if (days, channels) != (config.context_length, config.num_input_channels):
            raise ValueError(
                f"a window is {days} days of {channels} channels; the model takes "
                f"{config.context_length} of {config.num_input_channels}"
            )
        patches = days // config.patch_length
        windows = past_values.reshape(batch, patches, config.patch_length, channels)
        values = windows.permute(1, 0, 3, 2).flatten(1, 2)
        embed, positions = encoder.embedder.input_embedding, encoder.positional_encoder.position_enc
        tokens = (embed(values) + positions[:, None]).flatten(0, 1)
        source = None
        if values.device.type == "cpu":
            place = torch.eye(patches)[:, None].expand(-1, values.shape[1], -1)
            source = Source(
                torch.cat([values, place], 2).flatten(0, 1),
                torch.cat([embed.weight.t(), embed.bias + positions]),
            )
        for index, layer in enumerate(encoder.layers, start=1):
            tokens = layer(tokens, patches, draws, index == len(encoder.layers), source)
            source = None
        logits: Tensor = self.head.linear(tokens.view(batch, -1))
        return logits


def hf_config(shape: PatchTSTShape, window: WindowConfig, n_channels: int) -> PatchTSTConfig:
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
        d_model=shape.d_model,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        ffn_dim=shape.ffn_dim,
        attention_dropout=shape.dropout,
        ff_dropout=shape.dropout,
        norm_type="layernorm",
        pooling_type="mean",
        use_cls_token=False,
        scaling=None,
        num_targets=1,
        init_std=shape.initial_deviation,
    )


def build(shape: PatchTSTShape, window: WindowConfig, n_channels: int) -> PatchTST:
    """A new network on the current default device, drawn from its generator."""
    return PatchTST(hf_config(shape, window, n_channels))


def transfer(name: str, base: PatchTSTShape, shape: PatchTSTShape) -> Transfer:
    """How the parameter `name` differs from its like in the `base` (`Family.transfer`).

    A layer adds 1 / layers of what it computes, so that more of them add as much. HF divides the
    product of query and key by the root of a head's width. They come to agree as they are trained,
    and then it grows with the width, so the query has the other root.
    """
    width, ffn_width = shape.d_model / base.d_model, shape.ffn_dim / base.ffn_dim
    shallower = base.layers / shape.layers
    narrower = (base.d_model / base.heads) / (shape.d_model / shape.heads)
    layer, _, kind = name.rpartition(".")
    module = layer.removeprefix("model.encoder.").removeprefix("layers.").lstrip("0123456789.")
    inputs, gain = {
        "self_attn.q_proj": (width, narrower**0.5),
        "self_attn.k_proj": (width, 1.0),
        "self_attn.v_proj": (width, 1.0),
        "self_attn.out_proj": (width, shallower),
        "ff.0": (width, 1.0),
        "ff.3": (ffn_width, shallower),
        "norm_sublayer1": (1.0, 1.0),
        "norm_sublayer3": (1.0, 1.0),
        "embedder.input_embedding": (1.0, 1.0),
        "head.linear": (width, 1.0),
    }[module]
    if kind == "bias" or module.startswith("norm"):
        return Transfer.bias(gain)
    return Transfer.head(inputs) if module == "head.linear" else Transfer.matrix(inputs, gain)


def embedding(network: PatchTST) -> nn.Module:
    """The layer that makes tokens of patches."""
    layer: nn.Module = network.model.encoder.embedder
    return layer


def multiply_adds(shape: PatchTSTShape, window: WindowConfig, n_channels: int) -> int:
    """Of the matrix products of one window's forward pass, without the shortcuts taken here."""
    patches = window.context_length // window.patch_length
    tokens = n_channels * patches
    d = shape.d_model
    layer = 4 * d * d + 2 * d * shape.ffn_dim + 2 * patches * d
    return tokens * (window.patch_length * d + shape.layers * layer) + n_channels * d
