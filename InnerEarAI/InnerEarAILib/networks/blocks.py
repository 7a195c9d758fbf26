"""The building blocks of the U-Net: normalise-convolve-activate, the double convolution, the attention gate."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

Normalisation = Literal["instance", "batch"]
Activation = Literal["mish", "leaky_relu", "relu", "prelu", "gelu", "silu"]

LEAKY_SLOPE = 0.025
"""Slope of the leaky ReLU (Stebani et al. 2023, "Algorithm and network architecture")."""

PIECE_VALUES = 2**17
"""Values worked on at a time on a CPU: the temporaries stay in the cache, and several threads have enough."""


class InstanceNormalisation(nn.Module):
    """Zero mean and unit variance of each channel of each sample, then a learned scale and shift.

    The same as `nn.InstanceNorm3d(channels, affine=True)`, but it keeps the channels-last layout, which that one
    undoes, and does not refuse maps of a single voxel (they become 0).
    """

    def __init__(self, channels: int, epsilon: float = 1e-5) -> None:
        super().__init__()
        self.epsilon = epsilon
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, features: Tensor) -> Tensor:
        """Maps (b, c, k, j, i) to the same shape."""
        # Batch norm of each sample. Group norm with a group a channel is off by several standard deviations on the CPU
        # where a map's mean is far larger than its spread, and its gradient takes 15 times as long there.
        normalised = [
            torch.batch_norm(sample, self.weight, self.bias, None, None, True, 0.0, self.epsilon, True)
            for sample in features.split(1)
        ]
        return normalised[0] if len(normalised) == 1 else torch.cat(normalised)


def make_normalisation(kind: Normalisation, channels: int) -> nn.Module:
    """The normalisation layer of that name for (b, channels, k, j, i)."""
    return InstanceNormalisation(channels) if kind == "instance" else nn.BatchNorm3d(channels)


class ActivationLayer(nn.Module):
    """A nonlinearity by name; without gradients it works in place, which saves a pass through memory."""

    def __init__(self, kind: Activation) -> None:
        super().__init__()
        self.kind = kind
        self.slope = nn.Parameter(torch.tensor([0.25])) if kind == "prelu" else None

    def forward(self, features: Tensor) -> Tensor:
        """Maps (b, c, k, j, i) to the same shape; the input is overwritten where no gradient is recorded."""
        activated = self._activated(features)
        if activated.requires_grad and activated.device.type == "cpu":
            activated.register_hook(_in_layout_of_weights)
        return activated

    def _activated(self, features: Tensor) -> Tensor:
        in_place = not torch.is_grad_enabled()
        match self.kind:
            case "mish":
                if in_place and features.device.type == "cpu" and features.is_floating_point():
                    return mish_in_place(features)
                return functional.mish(features, inplace=in_place)
            case "leaky_relu":
                return functional.leaky_relu(features, LEAKY_SLOPE, inplace=in_place)
            case "relu":
                return functional.relu(features, inplace=in_place)
            case "silu":
                return functional.silu(features, inplace=in_place)
            case "gelu":
                return functional.gelu(features)
            case _:
                return functional.prelu(features, self.slope.to(features.dtype))


def _in_layout_of_weights(gradient: Tensor) -> Tensor:
    """A gradient with channels last, as the maps are: on a CPU a pass with both layouts takes a fifth longer."""
    return gradient.contiguous(memory_format=torch.channels_last_3d)


def mish_in_place(features: Tensor) -> Tensor:
    """Mish, x · tanh(ln(1 + eˣ)), three times as fast on a CPU as PyTorch's own; to the last bits of float32.

    With the sigmoid s, tanh(ln(1 + eˣ)) = h / (1 - h), h = s - s²/2: one fast exponential in place of three functions.

    Args:
        features: any shape and memory layout without gaps; overwritten.
    """
    # Elementwise, so that the order in which memory holds the values does not matter.
    values = features.as_strided((features.numel(),), (1,))
    for piece in values.split(PIECE_VALUES):
        exact = piece.float()
        rest = torch.sigmoid(exact)
        half = torch.addcmul(rest, rest, rest, value=-0.5)
        torch.sub(1, half, out=rest)
        piece.copy_(half.div_(rest).mul_(exact))
    return features


def weighted_voxels(features: Tensor, weight: Tensor) -> Tensor:
    """Every channel of a map times one weight for each voxel: `features * weight`, without its slow cases on a CPU.

    There PyTorch multiplies bfloat16 rows by one number each without its vector instructions; in float32 with them.

    Args:
        features: (b, c, k, j, i).
        weight: (b, 1, k, j, i), of the same number format.
    """
    rounded = features.dtype in (torch.bfloat16, torch.float16) and not torch.is_grad_enabled()
    layout = torch.channels_last_3d
    if not (rounded and features.device.type == "cpu" and features.is_contiguous(memory_format=layout)):
        return features * weight
    product = torch.empty_like(features, memory_format=layout)
    channels = features.shape[1]
    rows, results = (volume.permute(0, 2, 3, 4, 1).view(-1, channels) for volume in (features, product))
    factors = weight.reshape(-1, 1).float()
    step = max(PIECE_VALUES // channels, 1)
    for row, factor, result in zip(rows.split(step), factors.split(step), results.split(step), strict=True):
        result.copy_(row.float().mul_(factor))
    return product


class ConvolutionUnit(nn.Module):
    """Normalise, convolve 3×3×3 (zero padding, same size), activate: the paper's order."""

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        normalisation: Normalisation,
        activation: Activation,
        normalise: bool = True,
    ) -> None:
        super().__init__()
        self.normalisation = make_normalisation(normalisation, channels_in) if normalise else nn.Identity()
        self.convolution = nn.Conv3d(channels_in, channels_out, kernel_size=3, padding=1)
        self.activation = ActivationLayer(activation)

    def forward(self, features: Tensor) -> Tensor:
        """Maps (b, channels_in, k, j, i) to (b, channels_out, k, j, i)."""
        return self.activation(self.convolution(self.normalisation(features)))


class DoubleConvolution(nn.Sequential):
    """Two convolution units: `channels_in` → `channels_between` → `channels_out`.

    Args:
        normalise_input: False leaves out the first normalisation (for the raw image, whose brightness says something).
    """

    def __init__(
        self,
        channels_in: int,
        channels_between: int,
        channels_out: int,
        normalisation: Normalisation,
        activation: Activation,
        normalise_input: bool = True,
    ) -> None:
        super().__init__(
            ConvolutionUnit(channels_in, channels_between, normalisation, activation, normalise_input),
            ConvolutionUnit(channels_between, channels_out, normalisation, activation),
        )


class AttentionGate(nn.Module):
    """Weights the encoder's feature maps, voxel by voxel, by what the decoder below saw there.

    Encoder maps are brought to the decoder's coarser grid by a strided 2×2×2 convolution, added to the decoder's maps
    (1×1×1 convolution), rectified, reduced to one channel and squashed; the weights go back up trilinearly. All but
    the last product runs on an eighth of the voxels.

    Args:
        encoder_channels: channels of the encoder maps; also the width of the gate's inner maps.
        decoder_channels: channels of the decoder maps one level below.

    Source:
        Oktay et al. 2018, "Attention U-Net", section 2 (additive attention), without its output projection.
    """

    def __init__(self, encoder_channels: int, decoder_channels: int) -> None:
        super().__init__()
        self.from_encoder = nn.Conv3d(encoder_channels, encoder_channels, kernel_size=2, stride=2, bias=False)
        self.from_decoder = nn.Conv3d(decoder_channels, encoder_channels, kernel_size=1)
        self.to_weight = nn.Conv3d(encoder_channels, 1, kernel_size=1)

    def forward(self, encoder_map: Tensor, decoder_map: Tensor) -> Tensor:
        """Maps encoder (b, c, 2k, 2j, 2i) and decoder (b, d, k, j, i) to the gated encoder map (b, c, 2k, 2j, 2i)."""
        joint = functional.relu(self.from_encoder(encoder_map) + self.from_decoder(decoder_map))
        weight = torch.sigmoid(self.to_weight(joint))
        weight = functional.interpolate(weight, scale_factor=2, mode="trilinear", align_corners=False)
        return weighted_voxels(encoder_map, weight)
