"""A trained network as the beginning of one with a finer level on top, for voxels half as wide.

The levels of the trained network go on with their weights, one step further down. The new level passes the image on, so
that the network begins with what the trained one saw, and its terminals below the output with what that one said.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from InnerEarAILib.networks.blocks import DoubleConvolution
from InnerEarAILib.networks.dual_head_unet import Decoder, DualHeadUNet, DualHeadUNetConfig

LINEAR_FROM = 4.0
"""Added to what is passed through an activation, which from there on is about the identity."""


def is_one_level_finer(config: DualHeadUNetConfig, trained: DualHeadUNetConfig) -> bool:
    """Whether a network differs from a trained one by a finer level alone, which this module can begin."""
    same = replace(trained, widths=(config.widths[0], *trained.widths)) == config
    return same and config.in_channels == 1 and config.normalisation == "instance" and config.widths[0] >= 2


@torch.no_grad()
def begin_finer(network: DualHeadUNet, trained: DualHeadUNet) -> None:
    """Gives a network the weights of a trained one that has all its levels but the finest.

    Args:
        network: with `is_one_level_finer`; its finest level keeps its own initial weights beside what passes the image.
        trained: for voxels twice as wide.

    Raises:
        ValueError: if the networks differ in more than the finest level.
    """
    if not is_one_level_finer(network.config, trained.config):
        raise ValueError("the networks differ in more than a finest level")
    below = network.encoder.levels[1:]
    for level, old in zip(below[1:], trained.encoder.levels[1:], strict=True):
        level.load_state_dict(old.state_dict())
    for down, old in zip(network.encoder.downs[1:], trained.encoder.downs, strict=True):
        down.load_state_dict(old.state_dict())
    _pass_image_through(network.encoder.levels[0], network.encoder.downs[0])
    _take_image(below[0], trained.encoder.levels[0])
    for head in ("segmentation_head", "heatmap_head"):
        if getattr(network, head) is not None:
            _begin_decoder(getattr(network, head), getattr(trained, head))


def _pass_image_through(level: DoubleConvolution, down: nn.Conv3d) -> None:
    """The first map of the level below is the image, each voxel the mean of eight."""
    for unit in level:
        _select(unit.convolution, 0)
        unit.convolution.bias[0] = LINEAR_FROM
    down.weight[0] = 0
    down.weight[0, 0] = 1 / down.weight[0, 0].numel()
    down.bias[0] = 0


def _take_image(level: DoubleConvolution, trained: DoubleConvolution) -> None:
    """The trained network's finest level, which saw the raw image, reads the first of the maps that reach it now.

    Normalised, that map is the image as the network was trained on it: preprocessing gives it zero mean and unit
    variance.
    """
    first, second = level
    first.convolution.weight.zero_()
    first.convolution.weight[:, :1] = trained[0].convolution.weight
    first.convolution.bias.copy_(trained[0].convolution.bias)
    second.load_state_dict(trained[1].state_dict())


def _begin_decoder(decoder: Decoder, trained: Decoder) -> None:
    for level, old in zip(decoder.levels[2:], trained.levels[1:], strict=True):
        level.load_state_dict(old.state_dict())
    top, old_top = decoder.levels[1], trained.levels[0]
    kept = _loudest(trained.output, decoder.levels[0].up.in_channels)
    top.up.load_state_dict(old_top.up.state_dict())
    if top.gate is not None:
        top.gate.load_state_dict(old_top.gate.state_dict())
    top.convolutions[0].load_state_dict(old_top.convolutions[0].state_dict())
    top.convolutions[1].normalisation.load_state_dict(old_top.convolutions[1].normalisation.state_dict())
    narrow, wide = top.convolutions[1].convolution, old_top.convolutions[1].convolution
    narrow.weight.copy_(wide.weight[kept])
    narrow.bias.copy_(wide.bias[kept])
    for number, terminal in enumerate(decoder.terminals):
        old = trained.output if number == 0 else trained.terminals[number - 1]
        terminal.weight.copy_(old.weight[:, kept] if number == 0 else old.weight)
        terminal.bias.copy_(old.bias)


def _loudest(output: nn.Conv3d, count: int) -> Tensor:
    """The maps that an output listens to most."""
    return output.weight.abs().sum(dim=(0, 2, 3, 4)).topk(count).indices


def _select(convolution: nn.Conv3d, channel: int) -> None:
    """The channel of the result is that of the input."""
    convolution.weight[channel] = 0
    convolution.weight[channel, channel, 1, 1, 1] = 1
