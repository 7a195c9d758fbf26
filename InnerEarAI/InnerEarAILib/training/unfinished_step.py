"""What the passes of a step change before it is taken, so that passes that are given back leave no trace."""

from __future__ import annotations

import torch
from torch import nn


class UnfinishedStep:
    """Running statistics of batch normalisation and random-number state, as they were when a step began.

    Args:
        network: whose buffers are meant.
    """

    def __init__(self, network: nn.Module) -> None:
        self._network = network
        self.begin()

    def begin(self) -> None:
        """A step begins here."""
        self._buffers = [value.clone() for value in self._network.buffers()]
        self._random = torch.get_rng_state()
        self._random_of_gpu = torch.cuda.get_rng_state() if torch.cuda.is_available() else None

    def give_back(self) -> None:
        """As if the passes since then had not been made."""
        with torch.no_grad():
            for value, kept in zip(self._network.buffers(), self._buffers, strict=True):
                value.copy_(kept)
        torch.set_rng_state(self._random)
        if self._random_of_gpu is not None:
            torch.cuda.set_rng_state(self._random_of_gpu)
