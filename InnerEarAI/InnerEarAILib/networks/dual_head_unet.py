"""The paper's network: one encoder, and two decoders that draw the labyrinth and the landmark heatmaps.

A level is a width here, so that there are five; the “four levels” of the paper's text are the four steps between them.
What the paper leaves open is chosen as follows.

Where the width changes. Strided and transposed convolutions keep the number of feature maps, as the paper says for
both pathways. In the encoder the first convolution of a level widens; the decoder is its mirror image, so the second
convolution of a level narrows to the width of the level above, and what a transposed convolution brings up has as many
maps as the encoder's beside it (at the lowest step 320 beside 256).

Gates. Additive attention gates (Oktay et al. 2018); their inner width is that of the encoder map. So the network at the
paper's widths has 25.45 million parameters.

Normalisation. It comes first in every unit, but the very first is left out: instance normalisation of the raw,
single-channel tile would erase the brightness that the scan-wide normalisation has just set (a tile of air, a tile of
bone), and blow the noise of an empty tile up to unit variance.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from InnerEarAILib.networks.blocks import Activation, AttentionGate, DoubleConvolution, Normalisation
from InnerEarAILib.networks.network_output import NetworkOutput
from InnerEarAILib.networks.subvoxels import blocks_to_channels, channels_to_blocks

Gates = Literal["both", "segmentation", "heatmaps", "none"]
Heads = Literal["both", "segmentation", "heatmaps"]

LARGEST_TERMINAL_COUNT = 3
"""Supervision terminals t1 to t3 of each head, below the output t0 (paper, Fig. 2)."""


@dataclass(frozen=True)
class DualHeadUNetConfig:
    """Everything that the ablations vary in the network; the defaults are the gold status of the paper.

    Attributes:
        in_channels: channels of the image.
        widths: feature maps of each encoder level, finest first; at least two levels.
        segmentation_channels: channels of the segmentation.
        landmark_channels: heatmaps, one for each landmark.
        normalisation: "instance" or "batch".
        activation: "mish", "leaky_relu" (slope 0.025), "relu", "prelu", "gelu" or "silu".
        attention_gates: which decoders gate their skip connections.
        heads: which decoders there are.
        deep_supervision: whether lower decoder levels have outputs of their own while training.
        subvoxel_factor: edge, in voxels, of the blocks that the network takes as channels of one voxel and answers for
            voxel by voxel (networks.subvoxels); 1 as in the paper, 2 computes on a lattice of voxels twice as wide.

    Raises:
        ValueError: if a value is not one of the choices, or a width is not positive.
    """

    in_channels: int = 1
    widths: tuple[int, ...] = (32, 64, 128, 256, 320)
    segmentation_channels: int = 1
    landmark_channels: int = 3
    normalisation: Normalisation = "instance"
    activation: Activation = "mish"
    attention_gates: Gates = "both"
    heads: Heads = "both"
    deep_supervision: bool = True
    subvoxel_factor: int = 1

    def __post_init__(self) -> None:
        try:
            object.__setattr__(self, "widths", tuple(self.widths))
        except TypeError:
            raise ValueError(f"widths must be a list of feature map counts, got {self.widths!r}") from None
        if len(self.widths) < 2:
            raise ValueError(f"widths must name at least two levels, got {list(self.widths)}")
        counts = {"in_channels": self.in_channels, "segmentation_channels": self.segmentation_channels}
        counts |= {"landmark_channels": self.landmark_channels, "subvoxel_factor": self.subvoxel_factor}
        counts |= {f"widths[{level}]": width for level, width in enumerate(self.widths)}
        for name, count in counts.items():
            if not isinstance(count, int) or isinstance(count, bool) or count < 1:
                raise ValueError(f"{name} must be a positive whole number, got {count!r}")
        choices = {"normalisation": Normalisation, "activation": Activation, "attention_gates": Gates, "heads": Heads}
        for name, kind in choices.items():
            if getattr(self, name) not in get_args(kind):
                raise ValueError(f"{name} must be one of {', '.join(get_args(kind))}; got {getattr(self, name)!r}")
        if not isinstance(self.deep_supervision, bool):
            raise ValueError(f"deep_supervision must be true or false, got {self.deep_supervision!r}")

    @property
    def size_multiple(self) -> int:
        """Every spatial size must be a multiple of this: 2 for each step down, times the edge of a block."""
        return 2 ** (len(self.widths) - 1) * self.subvoxel_factor

    @property
    def terminal_count(self) -> int:
        """Supervision terminals of each head: three, or fewer where there are fewer lower decoder levels."""
        return min(LARGEST_TERMINAL_COUNT, len(self.widths) - 2) if self.deep_supervision else 0

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON or TOML."""
        return asdict(self) | {"widths": list(self.widths)}


class Encoder(nn.Module):
    """Double convolutions, finest level first, with strided 2×2×2 convolutions between the levels."""

    def __init__(self, config: DualHeadUNetConfig) -> None:
        super().__init__()
        widths = config.widths
        arriving = (config.in_channels * config.subvoxel_factor**3, *widths[:-1])
        self.levels = nn.ModuleList(
            DoubleConvolution(before, width, width, config.normalisation, config.activation, normalise_input=level > 0)
            for level, (before, width) in enumerate(zip(arriving, widths, strict=True))
        )
        self.downs = nn.ModuleList(nn.Conv3d(width, width, kernel_size=2, stride=2) for width in widths[:-1])

    def forward(self, image: Tensor) -> list[Tensor]:
        """The feature maps of every level, finest first."""
        maps = [self.levels[0](image)]
        for down, level in zip(self.downs, self.levels[1:], strict=True):
            maps.append(level(down(maps[-1])))
        return maps


class DecoderLevel(nn.Module):
    """Up, beside the (gated) encoder map, double convolution."""

    def __init__(self, config: DualHeadUNetConfig, below: int, width: int, above: int, gated: bool) -> None:
        super().__init__()
        self.up = nn.ConvTranspose3d(below, below, kernel_size=2, stride=2)
        self.gate = AttentionGate(width, below) if gated else None
        self.convolutions = DoubleConvolution(below + width, width, above, config.normalisation, config.activation)

    def forward(self, decoder_map: Tensor, encoder_map: Tensor) -> Tensor:
        """Maps (b, below, k, j, i) and (b, width, 2k, 2j, 2i) to (b, above, 2k, 2j, 2i)."""
        skip = encoder_map if self.gate is None else self.gate(encoder_map, decoder_map)
        return self.convolutions(torch.cat((self.up(decoder_map), skip), dim=1))


class Decoder(nn.Module):
    """One head: decoder levels from the lowest up, the output t0, and the terminals t1 to t3."""

    def __init__(self, config: DualHeadUNetConfig, channels_out: int, gated: bool) -> None:
        super().__init__()
        widths = config.widths
        arriving = [widths[max(level - 1, 0)] for level in range(len(widths) - 1)] + [widths[-1]]
        self.levels = nn.ModuleList(
            DecoderLevel(config, arriving[level + 1], widths[level], arriving[level], gated)
            for level in range(len(widths) - 1)
        )
        self.subvoxel_factor = config.subvoxel_factor
        self.output = nn.Conv3d(arriving[0], channels_out * self.subvoxel_factor**3, kernel_size=1)
        self.terminals = nn.ModuleList(
            nn.Conv3d(arriving[level], channels_out, kernel_size=1) for level in range(1, config.terminal_count + 1)
        )

    def forward(self, encoder_maps: list[Tensor]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The output and, while training, its terminals, finest first."""
        terminals: list[Tensor] = []
        for level, decoder_map in self.climb(encoder_maps):
            if self.training and 1 <= level <= len(self.terminals):
                terminals.append(self.terminals[level - 1](decoder_map))
        return channels_to_blocks(self.output(decoder_map), self.subvoxel_factor), tuple(reversed(terminals))

    def climb(self, encoder_maps: list[Tensor]) -> Iterator[tuple[int, Tensor]]:
        """The decoder's map of every level with the level's number, from the lowest up to 0."""
        decoder_map = encoder_maps[-1]
        for level in reversed(range(len(self.levels))):
            decoder_map = self.levels[level](decoder_map, encoder_maps[level])
            yield level, decoder_map


class DualHeadUNet(nn.Module):
    """Joint segmentation and landmark network.

    Source:
        Stebani et al. 2023, "Algorithm and network architecture" and Fig. 2.
    """

    method = "dual_head_unet"

    def __init__(self, config: DualHeadUNetConfig | None = None) -> None:
        super().__init__()
        self.config = config or DualHeadUNetConfig()
        self.encoder = Encoder(self.config)
        self.segmentation_head = self._head("segmentation", self.config.segmentation_channels)
        self.heatmap_head = self._head("heatmaps", self.config.landmark_channels)
        self.apply(_initialise_uniformly)
        # Convolutions answer in the layout of their weights, and this one is the faster: on two CPU cores with AVX512,
        # 128³ at half width, 2.3 s instead of 9.3 s in bfloat16 and 5 s instead of 12 s in float32.
        self.to(memory_format=torch.channels_last_3d)

    def _head(self, name: Literal["segmentation", "heatmaps"], channels_out: int) -> Decoder | None:
        if self.config.heads not in ("both", name):
            return None
        return Decoder(self.config, channels_out, gated=self.config.attention_gates in ("both", name))

    def forward(self, image: Tensor) -> NetworkOutput:
        """Segmentation logits and heatmaps of a batch of tiles.

        Args:
            image: normalised intensities, (b, in_channels, k, j, i); sizes are multiples of `config.size_multiple`.

        Returns:
            The outputs of both heads; terminals only in training mode with deep supervision.

        Raises:
            ValueError: if the shape does not fit.
        """
        multiple = self.config.size_multiple
        if image.ndim != 5 or image.shape[1] != self.config.in_channels:
            raise ValueError(f"expected (batch, {self.config.in_channels}, k, j, i), got {tuple(image.shape)}")
        if any(size % multiple for size in image.shape[2:]):
            raise ValueError(f"tile sizes must be multiples of {multiple}, got {tuple(image.shape[2:])}")
        maps = self.encoder(blocks_to_channels(image, self.config.subvoxel_factor))
        segmentation, segmentation_terminals = (
            (None, ()) if self.segmentation_head is None else self.segmentation_head(maps)
        )
        heatmaps, heatmap_terminals = (None, ()) if self.heatmap_head is None else self.heatmap_head(maps)
        return NetworkOutput(segmentation, heatmaps, segmentation_terminals, heatmap_terminals)


def _initialise_uniformly(layer: nn.Module) -> None:
    """Uniform weights of constant signal variance (He et al. 2015); biases zero. The paper says uniform, no more."""
    if isinstance(layer, nn.Conv3d):
        rectified = layer.kernel_size == (3, 3, 3)
        nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu" if rectified else "linear")
    elif isinstance(layer, nn.ConvTranspose3d):
        bound = (3 / layer.in_channels) ** 0.5  # stride = kernel, so each voxel up sums over one voxel below
        nn.init.uniform_(layer.weight, -bound, bound)
    else:
        return
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
