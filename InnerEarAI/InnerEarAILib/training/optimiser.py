"""How weights change: the optimiser of a configuration, and the moving average of the weights."""

from __future__ import annotations

import copy

import torch
from torch import nn

from InnerEarAILib.training.configuration import OptimisationConfig


class MovingAverage:
    """Exponential moving average of a network's weights, young at first so that the start is soon forgotten."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = copy.deepcopy(network).requires_grad_(False)
        self._decay = decay

    def update(self, network: nn.Module, step: int) -> None:
        """Moves the average towards the network; `step` counts optimiser steps from 1."""
        share = 1 - min(self._decay, step / (step + 10))
        with torch.no_grad():
            for mean, weight in zip(self.network.parameters(), network.parameters(), strict=True):
                mean.lerp_(weight, share)
            for mean, value in zip(self.network.buffers(), network.buffers(), strict=True):
                mean.copy_(value)


def make_optimiser(config: OptimisationConfig, network: nn.Module) -> torch.optim.Optimizer:
    """The optimiser of a configuration over a network's weights."""
    if config.optimiser == "sgd":
        return torch.optim.SGD(
            network.parameters(),
            config.learning_rate,
            momentum=config.momentum,
            weight_decay=config.weight_decay,
            nesterov=True,
        )
    return torch.optim.AdamW(
        network.parameters(), config.learning_rate, betas=config.betas, weight_decay=config.weight_decay
    )
