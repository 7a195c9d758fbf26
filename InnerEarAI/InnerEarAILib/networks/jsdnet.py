"""JSDNet: a network that says how far it is from every voxel to each landmark, and one that draws with its help.

The first (FC1) maps the image to displacement maps: for each landmark, where it lies as seen from the voxel. The second
(FC2) sees the image and these maps, and gives the segmentation and the heatmaps together, from one decoder.

The paper that this baseline is compared in (Stebani et al. 2023) reimplemented it with a cursory search for what was
not said; so is it here. Chosen by us: four levels of 32-64-128-256 feature maps, instance normalisation (a batch is one
tile), displacements in units of the tile's edge, output layers that begin at zero.

Source:
    Zhang et al. 2020, "Context-guided fully convolutional networks for joint craniomaxillofacial bone segmentation and
    landmark digitization"; Stebani et al. 2023, "Related work" and "Algorithm and network architecture".
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from InnerEarAILib.networks.network_output import NetworkOutput
from InnerEarAILib.networks.plain_unet import PlainUNet

AXES = 3


@dataclass(frozen=True)
class JSDNetConfig:
    """Sizes of both networks.

    Attributes:
        widths: feature maps of each level, finest first, of either network.
        landmark_channels: landmarks, each with one heatmap and three displacement maps.

    Raises:
        ValueError: if a value is not allowed.
    """

    widths: tuple[int, ...] = (32, 64, 128, 256)
    landmark_channels: int = 3

    def __post_init__(self) -> None:
        object.__setattr__(self, "widths", tuple(self.widths))
        if len(self.widths) < 2 or min(self.widths) < 1 or self.landmark_channels < 1:
            raise ValueError(f"JSDNet needs at least two widths and one landmark, got {self}")

    @property
    def size_multiple(self) -> int:
        """Every spatial size must be a multiple of this."""
        return 2 ** (len(self.widths) - 1)

    @property
    def displacement_channels(self) -> int:
        """Displacement maps: three (k, j, i) for each landmark."""
        return AXES * self.landmark_channels

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON or TOML."""
        return asdict(self) | {"widths": list(self.widths)}


class JSDNet(nn.Module):
    """Displacement network and joint network, one after the other."""

    method = "jsdnet"

    def __init__(self, config: JSDNetConfig | None = None) -> None:
        super().__init__()
        self.config = config or JSDNetConfig()
        widths, maps = self.config.widths, self.config.displacement_channels
        self.displacement_network = PlainUNet(3, 1, maps, widths, normalisation="instance")
        self.joint_network = PlainUNet(3, 1 + maps, 1 + self.config.landmark_channels, widths, normalisation="instance")
        # Heatmaps are zero nearly everywhere. Were random maps the beginning, their weighted squared error would
        # outweigh the segmentation in the decoder that both share, and AdamW, which divides by the mean of past squared
        # gradients, would take too small steps for a thousand steps after.
        for network in (self.displacement_network, self.joint_network):
            nn.init.zeros_(network.output.weight)

    def displacements(self, image: Tensor) -> Tensor:
        """Displacement maps of a batch.

        Args:
            image: normalised intensities, (b, 1, k, j, i).

        Returns:
            (b, 3 · landmarks, k, j, i): for each landmark its index minus the voxel's along k, j and i, in units of the
            tile's edge.
        """
        return self.displacement_network(image)

    def forward(self, image: Tensor) -> NetworkOutput:
        """Segmentation logits and heatmaps of a batch of tiles, (b, 1, k, j, i); no gradient reaches the first network.

        Raises:
            ValueError: if the shape does not fit.
        """
        multiple = self.config.size_multiple
        if image.ndim != 5 or image.shape[1] != 1 or any(size % multiple for size in image.shape[2:]):
            raise ValueError(f"expected (batch, 1, k, j, i), multiples of {multiple}; got {tuple(image.shape)}")
        with torch.no_grad():
            maps = self.displacements(image)
        joint = self.joint_network(torch.cat((image, maps), dim=1))
        return NetworkOutput(joint[:, :1], joint[:, 1:], (), ())
