"""The families of networks. Each is a module here, and a shape of its name in `scaling.sizes`.

To add a family, add both: a module with the three functions of `Family`, and a class of
`ModelConfig` with the keys of its budgets' files. Everything else works for every family.
"""

import pkgutil
from typing import Any, Protocol

from torch import nn

from scaling.config import WindowConfig


class Family(Protocol):
    """What the module of a family gives."""

    def build(self, shape: Any, window: WindowConfig, n_channels: int) -> nn.Module:
        """A new network, drawn from torch's generator.

        Its forward takes `windows` [batch, context_length, channels] and `draws`, and gives logits
        [batch, 1]. Dropout is keyed by `draws`, which are None in evaluation. If the family uses
        torch's own dropout instead, it need not read them: torch is seeded before each micro-batch.
        """

    def embedding(self, network: Any) -> nn.Module:
        """The part of a network that makes its tokens, which some scaling laws do not count."""

    def multiply_adds(self, shape: Any, window: WindowConfig, n_channels: int) -> int:
        """Of the matrix products of one window's forward pass."""


def family_of(name: str) -> Family:
    """The module of one family. No other family is imported."""
    module: Family = pkgutil.resolve_name(f"{__package__}.{name}")
    return module
