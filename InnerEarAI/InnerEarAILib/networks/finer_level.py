"""A trained network as the beginning of one with a finer level on top, for voxels half as wide.

The levels of the trained network go on with their weights, one step further down. The new level passes on what it is
given: the image downwards, the answer upwards. So the network begins by saying what the trained one said.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from InnerEarAILib.networks.blocks import ConvolutionUnit, DoubleConvolution
from InnerEarAILib.networks.dual_head_unet import Decoder, DecoderLevel, DualHeadUNet, DualHeadUNetConfig, Encoder

LINEAR_FROM = 4.0
"""Added to what is passed through an activation, which from there on is about the identity."""

OTHERS_SHARE = 0.1
"""What is left of the initial weights of other channels where one is passed on."""

_LINE = torch.tensor([0.25, 0.5, 0.25])
SMOOTHED = _LINE[:, None, None] * _LINE[:, None] * _LINE
SAME_VOXEL = functional.pad(torch.ones(1, 1, 1), (1,) * 6)
"""Kernels, (3, 3, 3)."""


def is_one_level_finer(config: DualHeadUNetConfig, trained: DualHeadUNetConfig) -> bool:
    """Whether a network differs from a trained one by a finer level alone, which this module can begin."""
    same = replace(trained, widths=(config.widths[0], *trained.widths)) == config
    return same and config.in_channels == 1 and config.normalisation == "instance" and config.widths[0] >= 2


@torch.no_grad()
def begin_finer(network: DualHeadUNet, trained: DualHeadUNet, images: Tensor) -> None:
    """Gives a network the weights of a trained one that has all its levels but the finest.

    Args:
        network: with `is_one_level_finer`; its own initial weights stay beside those that pass something on.
        trained: for voxels twice as wide.
        images: normalised tiles of `network`, (n, 1, k, j, i), each with an ear: the trained network's answers to them
            tell which of its maps matter to its outputs.

    Raises:
        ValueError: if the networks differ in more than the finest level.
    """
    if not is_one_level_finer(network.config, trained.config):
        raise ValueError("the networks differ in more than a finest level")
    _begin_encoder(network.encoder, trained.encoder)
    maps = network.encoder(images)
    answers = trained(functional.avg_pool3d(images, 2))
    for head, answer in (("segmentation_head", answers.segmentation), ("heatmap_head", answers.heatmaps)):
        if answer is not None:
            _begin_decoder(getattr(network, head), getattr(trained, head), maps, answer)


def _begin_decoder(decoder: Decoder, trained: Decoder, maps: list[Tensor], answer: Tensor) -> None:
    """Gives a decoder the weights of a trained one without its finest level.

    Args:
        decoder: of a network with a finer level.
        trained: of the network without.
        maps: of the finer network's encoder, finest first, (n, channels, k, j, i).
        answer: what the trained network answered to these images, (n, channels, k/2, j/2, i/2).
    """
    for level, old in zip(decoder.levels[2:], trained.levels[1:], strict=True):
        level.load_state_dict(old.state_dict())
    for terminal, old in zip(decoder.terminals[1:], trained.terminals, strict=False):
        terminal.load_state_dict(old.state_dict())
    *_, (_, known) = trained.climb(maps[1:])
    _narrow(decoder.levels[1], trained.levels[0], _that_matter(trained.output, known, decoder.levels[0].up.in_channels))
    _pass_answer_through(decoder.levels[0])
    finest, below = [decoder_map for _, decoder_map in decoder.climb(maps)][:-3:-1]
    if len(decoder.terminals):
        _fit(decoder.terminals[0], below, answer)
    _fit(decoder.output, finest, functional.interpolate(answer, scale_factor=2, mode="trilinear"))


def _begin_encoder(encoder: Encoder, trained: Encoder) -> None:
    for level, old in zip(encoder.levels[2:], trained.levels[1:], strict=True):
        level.load_state_dict(old.state_dict())
    for down, old in zip(encoder.downs[1:], trained.downs, strict=True):
        down.load_state_dict(old.state_dict())
    _pass_image_through(encoder.levels[0], encoder.downs[0])
    _take_image(encoder.levels[1], trained.levels[0])


def _pass_image_through(level: DoubleConvolution, down: nn.Conv3d) -> None:
    """The first map of the level below is the image, each voxel the mean of eight."""
    for unit in level:
        _pass_on(unit, 1, SAME_VOXEL)
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


def _narrow(level: DecoderLevel, trained: DecoderLevel, kept: Tensor) -> None:
    """The trained decoder's finest level with some of its maps alone."""
    level.up.load_state_dict(trained.up.state_dict())
    if level.gate is not None:
        level.gate.load_state_dict(trained.gate.state_dict())
    (first, second), (old_first, old_second) = level.convolutions, trained.convolutions
    first.load_state_dict(old_first.state_dict())
    second.normalisation.load_state_dict(old_second.normalisation.state_dict())
    second.convolution.weight.copy_(old_second.convolution.weight[kept])
    second.convolution.bias.copy_(old_second.convolution.bias[kept])


def _that_matter(output: nn.Conv3d, maps: Tensor, count: int) -> Tensor:
    """The maps whose variation an output shows most of: of each output in turn, so that none goes without."""
    seen = output.weight[:, :, 0, 0, 0].abs() * maps.transpose(0, 1).flatten(1).std(1)
    ranks = seen.argsort(dim=1, descending=True).argsort(dim=1)
    return (ranks.amin(0) - seen.sum(0) / seen.sum().clamp(min=1e-12)).argsort()[:count]


def _pass_answer_through(level: DecoderLevel) -> None:
    """The maps of the level are those from below, smoothed over the eight voxels that came of each."""
    below = level.up.in_channels
    level.up.weight.zero_()
    level.up.weight[range(below), range(below)] = 1
    level.up.bias.zero_()
    for unit, kernel in zip(level.convolutions, (SMOOTHED, SAME_VOXEL), strict=True):
        _pass_on(unit, below, kernel)


def _pass_on(unit: ConvolutionUnit, channels: int, kernel: Tensor) -> None:
    """The first channels of the result are those of the input, with a little of all others, which can so be learnt."""
    convolution, passed = unit.convolution, range(channels)
    convolution.weight[passed] *= OTHERS_SHARE
    convolution.weight[passed, passed] = kernel.to(convolution.weight)
    convolution.bias[passed] = LINEAR_FROM


def _fit(output: nn.Conv3d, maps: Tensor, answer: Tensor) -> None:
    """The 1×1×1 convolution of maps that comes closest to an answer, by least squares."""
    values = maps.transpose(0, 1).flatten(1).double()
    values = torch.cat((values, torch.ones_like(values[:1])))
    wanted = answer.transpose(0, 1).flatten(1).double()
    # The products are small, and on a GPU the solver has no driver for maps that are not independent.
    solution = torch.linalg.lstsq((values @ values.T).cpu(), (values @ wanted.T).cpu(), driver="gelsd").solution
    output.weight.copy_(solution[:-1].T[:, :, None, None, None])
    output.bias.copy_(solution[-1])
