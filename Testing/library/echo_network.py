"""Small networks for tests of the prediction: one that is real, and one that says what it sees."""

import numpy as np
import torch

from InnerEarAILib.networks.dual_head_unet import DualHeadUNet, DualHeadUNetConfig
from InnerEarAILib.networks.network_output import NetworkOutput

TILE, OVERLAP = 16, 5


def small_network(**changes):
    torch.manual_seed(3)
    return DualHeadUNet(DualHeadUNetConfig(**{"widths": (4, 6, 8)} | changes)).eval()


def random_voxels(shape, seed=4):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


class Echo(torch.nn.Module):
    """Says the voxel's own value in every output; keeps the batch sizes and formats that the latest one was given."""

    def __init__(self):
        super().__init__()
        Echo.calls.clear()
        self.scale = torch.nn.Parameter(torch.ones(1))

    calls: list = []  # noqa: RUF012 - on the class, since the predictor works on a copy of the module

    def forward(self, tiles):
        Echo.calls.append((len(tiles), tiles.dtype))
        return NetworkOutput(tiles * self.scale, tiles.repeat(1, 3, 1, 1, 1) * self.scale, (), ())
