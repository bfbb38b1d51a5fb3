"""The families of networks. Each is a module here, and a shape of its name in `scaling.sizes`.

To add a family, add both: a module with what `Family` asks for, and a class of `ModelConfig` with
the keys of its budgets' files. Everything else works for every family.
"""

import pkgutil
from typing import Any, NamedTuple, Protocol

from torch import nn

from scaling.config import WindowConfig


class Transfer(NamedTuple):
    """How one parameter differs from its like in the base; see scaling/training/transfer.py.

    `deviation` multiplies what Hugging Face draws, `rate` the learning rate, and `decay` the weight
    decay. Torch shrinks a weight by rate x decay, so a matrix's decay undoes its rate. What is no
    matrix never decays, as biases and norms have no scale to shrink (nanoGPT, GPT-2).
    """

    deviation: float = 1.0
    rate: float = 1.0
    decay: float = 0.0

    @classmethod
    def matrix(cls, wider: float, gain: float = 1.0) -> "Transfer":
        """A matrix whose inputs are `wider` times the base's, its outputs multiplied by `gain`."""
        return cls(gain * wider**-0.5, gain / wider, wider / gain)

    @classmethod
    def head(cls, wider: float) -> "Transfer":
        """The last matrix: a mean over its inputs, which agree more and more as it is trained."""
        return cls(1 / wider, 1 / wider, wider)

    @classmethod
    def bias(cls, gain: float = 1.0) -> "Transfer":
        """A bias, beside a matrix of that gain. Hugging Face starts it at 0."""
        return cls(rate=gain)


class Family(Protocol):
    """What the module of a family gives."""

    BASE: Any
    """The shape at which an experiment's recipe is tuned. All others follow from it."""

    def build(self, shape: Any, window: WindowConfig, n_channels: int) -> nn.Module:
        """A new network as Hugging Face draws it, from torch's generator.

        Its forward takes `windows` [batch, context_length, channels] and `draws`, and gives logits
        [batch, 1]. Dropout is keyed by `draws`, which are None in evaluation. If the family uses
        torch's own dropout instead, it need not read them: torch is seeded before each micro-batch.
        """

    def transfer(self, name: str, base: Any, shape: Any) -> Transfer:
        """How the parameter `name` of a network of `shape` differs from its like in the `base`."""

    def embedding(self, network: Any) -> nn.Module:
        """The part of a network that makes its tokens, which some scaling laws do not count."""

    def multiply_adds(self, shape: Any, window: WindowConfig, n_channels: int) -> int:
        """Of the matrix products of one window's forward pass."""


def family_of(name: str) -> Family:
    """The module of one family. No other family is imported."""
    module: Family = pkgutil.resolve_name(f"{__package__}.{name}")
    return module
