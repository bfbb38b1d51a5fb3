"""Dropout's random numbers, a function of what is trained and not of how a batch is cut.

They are keyed by seed, step, site (a layer's attention or feed-forward) and the sample's place in
the optimiser batch. Micro-batches of 8 or 32, one process or two, resumed or not: a sample's draws
are the same, and no generator has a state to save.
"""

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

LEVELS = 2**16  # a draw has 16 bits, so a rate is rounded to 1/65536


class Draws(NamedTuple):
    """The draws of one piece of an optimiser batch: `samples` of it, from place `first` on."""

    seed: int
    step: int
    first: int
    samples: int

    def bits(self, site: int, each: int) -> Tensor:
        """Uniform 16-bit draws for every sample, int16 [samples, each].

        All samples of a site share one stream of PCG64DXSM, in which each has a place of its own
        that `advance` reaches in 0.4 us. Torch's own generator draws one number an element,
        serially: 26 ms for 3.9 million, here 3.
        """
        words = math.ceil(each / 4)
        stream = np.random.PCG64DXSM(np.random.SeedSequence((self.seed, self.step, site)))
        stream.advance(self.first * words)
        drawn = torch.from_numpy(stream.random_raw(self.samples * words))
        return drawn.view(torch.int16).view(self.samples, 4 * words)[:, :each]

    @property
    def torch_seed(self) -> int:
        """For modules and devices whose dropout is torch's own: it then depends on the piece."""
        key = np.random.SeedSequence((self.seed, self.step, self.first))
        return int(key.generate_state(1, np.uint64)[0])


class Dropped(NamedTuple):
    """1 where an element is dropped, else 0; what is kept is multiplied by `scale`."""

    mask: Tensor
    scale: float


def dropped(bits: Tensor, p: float, dtype: torch.dtype) -> Dropped:
    """Turn draws into dropout at rate `p`; the mask is contiguous and of the shape of `bits`."""
    dropping = min(max(round(p * LEVELS), 1), LEVELS - 1)
    largest_kept = LEVELS // 2 - 1 - dropping
    # Saturating by hand keeps to vectorised int16 passes; comparing, or filling by a mask, is not.
    mask = bits.clamp(largest_kept, largest_kept + 1).sub_(largest_kept)
    mask = mask.to(dtype, memory_format=torch.contiguous_format)
    return Dropped(mask, LEVELS / (LEVELS - dropping))
