"""On CUDA: forward and backward recorded once and replayed as one launch each.

A step of the small budgets is hundreds of kernels of a few microseconds, bound by how fast Python
launches them: 338 operations at 2M, 817 at 20M. Not `torch.compile`: it would take longer to
compile than the small budgets take to train.
"""

import logging

import torch
from torch import Tensor, nn

from scaling.machine.device import Precision
from scaling.training.draws import Draws

LOG = logging.getLogger(__name__)


class Captured(nn.Module):
    """`model` recorded for windows of one shape. Other shapes and evaluation run without it.

    The weights are the model's own. Its gradients are made here and must be zeroed in place: a
    replay returns the same buffers each time, which accumulation would otherwise take for its sum
    (https://github.com/pytorch/pytorch/issues/181723).
    """

    def __init__(self, model: nn.Module, windows: Tensor, precision: Precision) -> None:
        super().__init__()
        self.model, self.shape = model, windows.shape
        with torch.autocast(
            windows.device.type, torch.bfloat16, precision == "bf16", cache_enabled=False
        ):
            torch.cuda.make_graphed_callables(model, (windows,))  # replaces `model.forward`
        self.replay = model.__dict__.pop("forward")
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.grad = torch.zeros_like(parameter)

    def forward(self, windows: Tensor, draws: Draws | None = None) -> Tensor:
        """`windows` [batch, context_length, channels] -> logits [batch, 1].

        The recorded dropout is torch's own, so `draws` count only in their `torch_seed`.
        """
        # Torch would broadcast a smaller batch into the recorded one and give no error.
        recorded = windows.shape == self.shape
        logits: Tensor = self.replay(windows) if recorded else self.model(windows, draws)
        return logits


def captured(model: nn.Module, windows: Tensor, precision: Precision) -> nn.Module:
    """On CUDA `model` recorded for batches like `windows`, elsewhere `model` itself.

    Where capturing fails training is slower and otherwise the same, and says so.
    """
    if windows.device.type != "cuda":
        return model
    try:
        return Captured(model, windows, precision)
    except RuntimeError as error:
        model.__dict__.pop("forward", None)
        reason = str(error).strip().splitlines()[0]
        LOG.warning(
            f"the training step was not captured as a CUDA graph ({reason}): slower, not different"
        )
        return model
