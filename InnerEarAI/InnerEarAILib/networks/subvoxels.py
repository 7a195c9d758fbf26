"""Finer voxels at about the price of coarse ones: blocks of voxels as channels of one, and back.

A network that takes blocks of f×f×f voxels as f³ channels computes on a lattice f times as wide, and answers for each
voxel of a block by a channel of its own.

Source:
    Shi et al. 2016 (sub-pixel convolution), there for images; here for volumes, and for the input as well.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from InnerEarAILib.networks.dual_head_unet import DualHeadUNet, DualHeadUNetConfig


def blocks_to_channels(volume: Tensor, factor: int) -> Tensor:
    """Each block of voxels as channels of one voxel.

    Args:
        volume: (b, c, k, j, i), sizes multiples of `factor`.
        factor: edge of a block, voxels.

    Returns:
        (b, c·factor³, k/factor, j/factor, i/factor); the voxels of a channel's block follow each other, i fastest.
    """
    if factor == 1:
        return volume
    batch, channels, *sizes = volume.shape
    k, j, i = (size // factor for size in sizes)
    blocks = volume.reshape(batch, channels, k, factor, j, factor, i, factor).permute(0, 1, 3, 5, 7, 2, 4, 6)
    return blocks.reshape(batch, channels * factor**3, k, j, i)


def channels_to_blocks(maps: Tensor, factor: int) -> Tensor:
    """The opposite of `blocks_to_channels`."""
    if factor == 1:
        return maps
    batch, channels, k, j, i = maps.shape
    blocks = maps.reshape(batch, -1, factor, factor, factor, k, j, i).permute(0, 1, 5, 2, 6, 3, 7, 4)
    return blocks.reshape(batch, channels // factor**3, k * factor, j * factor, i * factor)


def computed_edge(network: nn.Module, tile: int) -> int:
    """Edge of the lattice on which a network computes a tile of that edge, voxels."""
    return tile // getattr(getattr(network, "config", None), "subvoxel_factor", 1)


def differs_by_subvoxels(config: DualHeadUNetConfig, trained: DualHeadUNetConfig) -> bool:
    """Whether a network differs from a trained one by finer voxels alone, which `begin_with_subvoxels` can begin."""
    return config.subvoxel_factor > 1 and replace(config, subvoxel_factor=1) == trained


@torch.no_grad()
def begin_with_subvoxels(network: DualHeadUNet, trained: DualHeadUNet) -> None:
    """Gives a network the weights of a trained one for voxels as wide as its blocks.

    It begins by saying of each voxel what the trained one says of the block round it, seen as the mean of its voxels.

    Raises:
        ValueError: if the networks differ in more than the voxels.
    """
    if not differs_by_subvoxels(network.config, trained.config):
        raise ValueError("the networks differ in more than the size of their voxels")
    of_block = network.config.subvoxel_factor**3
    weights = trained.state_dict()
    for name, wanted in network.state_dict().items():
        if wanted.shape == weights[name].shape:
            continue
        if name.startswith("encoder"):
            weights[name] = weights[name].repeat_interleave(of_block, dim=1) / of_block
        else:
            weights[name] = weights[name].repeat_interleave(of_block, dim=0)
    network.load_state_dict(weights)
