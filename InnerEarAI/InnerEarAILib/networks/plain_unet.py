"""The plain U-Net in two or three dimensions, of which JSDNet and AutoCasNet are made.

Double convolutions (convolve–normalise–ReLU), down by 2 × 2 (× 2) max pooling, up by transposed convolutions that bring
the width to that of the level above, and one decoder. Three kinds of blocks:

plain                two convolution units.
residual             the first unit and a 1 × 1 convolution of the block's input are summed before the second unit.
squeeze_excitation   between the two units each channel is weighted by what the whole map says (Hu et al. 2018).

Source:
    Ronneberger et al. 2015; for blocks and sizes in two dimensions Hussain et al. 2021, Fig. 3, and their published
    code (github.com/raabid236/AutoCasNet), where the lowest level always has the plain block. That code squeezes with a
    maximum and excites one channel alone; here it is the block of the paper that they cite.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from InnerEarAILib.networks.blocks import InstanceNormalisation, Normalisation

Block = Literal["plain", "residual", "squeeze_excitation"]

SQUEEZE_RATIO = 8
"""Channels of a squeeze-and-excitation block are squeezed to an eighth (Hussain et al. 2021, published code)."""

_CONVOLUTIONS = {2: nn.Conv2d, 3: nn.Conv3d}
_UPWARD = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
_BATCH_NORMALISATIONS = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
_POOLINGS = {2: nn.MaxPool2d, 3: nn.MaxPool3d}
_DROPOUTS = {2: nn.Dropout2d, 3: nn.Dropout3d}


class PlainUNet(nn.Module):
    """A U-Net with one decoder.

    Args:
        dimensions: 2 or 3.
        channels_in: of the image.
        channels_out: of the output, which has no activation.
        widths: feature maps of each level, finest first; at least two.
        block: of all levels but the lowest.
        normalisation: "batch" or "instance".
        dropout: probability with which a feature map of the lowest level is dropped while training.
    """

    def __init__(
        self,
        dimensions: Literal[2, 3],
        channels_in: int,
        channels_out: int,
        widths: tuple[int, ...],
        block: Block = "plain",
        normalisation: Normalisation = "batch",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        arriving = (channels_in, *widths[:-1])
        kinds = (*(block for _ in widths[:-1]), "plain")
        self.encoder = nn.ModuleList(
            UNetBlock(dimensions, before, width, kind, normalisation)
            for before, width, kind in zip(arriving, widths, kinds, strict=True)
        )
        self.pool = _POOLINGS[dimensions](2)
        self.dropout = _DROPOUTS[dimensions](dropout) if dropout else nn.Identity()
        below = list(zip(widths[1:], widths[:-1], strict=True))[::-1]
        self.ups = nn.ModuleList(_UPWARD[dimensions](deep, width, kernel_size=2, stride=2) for deep, width in below)
        self.decoder = nn.ModuleList(
            UNetBlock(dimensions, 2 * width, width, block, normalisation) for _, width in below
        )
        self.output = _CONVOLUTIONS[dimensions](widths[0], channels_out, kernel_size=1)
        self.apply(_initialise)

    def forward(self, image: Tensor) -> Tensor:
        """Maps (b, channels_in, …) to (b, channels_out, …); sizes must be multiples of 2^(levels − 1)."""
        maps = [self.encoder[0](image)]
        for level in self.encoder[1:]:
            maps.append(level(self.pool(maps[-1])))
        features = self.dropout(maps.pop())
        for up, level in zip(self.ups, self.decoder, strict=True):
            features = level(torch.cat((up(features), maps.pop()), dim=1))
        return self.output(features)


class UNetBlock(nn.Module):
    """Two convolution units, with or without what the kind adds between them."""

    def __init__(
        self, dimensions: int, channels_in: int, channels_out: int, kind: Block, normalisation: Normalisation
    ) -> None:
        super().__init__()
        convolution = _CONVOLUTIONS[dimensions]
        self.first = _unit(dimensions, channels_in, channels_out, normalisation)
        self.shortcut = convolution(channels_in, channels_out, kernel_size=1) if kind == "residual" else None
        self.excitation = SqueezeExcitation(dimensions, channels_out) if kind == "squeeze_excitation" else nn.Identity()
        self.second = _unit(dimensions, channels_out, channels_out, normalisation)

    def forward(self, features: Tensor) -> Tensor:
        """Maps (b, channels_in, …) to (b, channels_out, …)."""
        between = self.excitation(self.first(features))
        return self.second(between if self.shortcut is None else between + self.shortcut(features))


class SqueezeExcitation(nn.Module):
    """Weights each channel by a small network on the channels' means.

    Source:
        Hu et al. 2018, "Squeeze-and-excitation networks".
    """

    def __init__(self, dimensions: int, channels: int) -> None:
        super().__init__()
        squeezed = max(1, channels // SQUEEZE_RATIO)
        self.dimensions = dimensions
        self.weights = nn.Sequential(
            nn.Linear(channels, squeezed), nn.ReLU(), nn.Linear(squeezed, channels), nn.Sigmoid()
        )

    def forward(self, features: Tensor) -> Tensor:
        """Maps (b, c, …) to the same shape."""
        space = tuple(range(2, 2 + self.dimensions))
        return features * self.weights(features.mean(space)).reshape(*features.shape[:2], *(1 for _ in space))


def _unit(dimensions: int, channels_in: int, channels_out: int, normalisation: Normalisation) -> nn.Sequential:
    normalise = _BATCH_NORMALISATIONS[dimensions] if normalisation == "batch" else InstanceNormalisation
    return nn.Sequential(
        _CONVOLUTIONS[dimensions](channels_in, channels_out, kernel_size=3, padding=1),
        normalise(channels_out),
        nn.ReLU(),
    )


def _initialise(layer: nn.Module) -> None:
    """Weights of constant signal variance (He et al. 2015, as in Hussain's code); biases zero."""
    if isinstance(layer, nn.Conv2d | nn.Conv3d):
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        nn.init.zeros_(layer.bias)
