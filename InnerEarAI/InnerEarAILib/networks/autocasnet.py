"""AutoCasNet: three 2D networks in a cascade, each looking along another axis and at what those before it drew.

The first network segments coronal slices; its volume, reduced to the largest connected region, is a further channel of
the second network's sagittal slices; both go into the third network's axial slices, whose largest region is the result.
With a single plane this is a plain 2D network with largest-region extraction, the paper's point of comparison.

In training mode a network gives what its present stage draws on chosen slices (`slices`, `stage_logits`); the earlier
ones stay as they are. In evaluation mode it draws the whole volume with the stages that have been trained.

Source:
    Hussain et al. 2021, "Auto-cascaded net (AutoCasNet)", Fig. 2 and 3. The widths are those of their published code
    (github.com/raabid236/AutoCasNet): 32-64-128-256.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor, nn

from InnerEarAILib.networks.network_output import NetworkOutput
from InnerEarAILib.networks.plain_unet import Block, PlainUNet

Plane = Literal["coronal", "sagittal", "axial"]

SLICE_AXIS: dict[Plane, int] = {"axial": 0, "coronal": 1, "sagittal": 2}
"""Along which axis of a (k, j, i) volume the slices of a plane follow each other."""

BOTTLENECK_DROPOUT = 0.2
"""Hussain et al. 2021, "Auto-cascaded net"."""

SLICES_AT_ONCE = 16
"""Slices of a whole volume that go through a network together."""

LEFT_OUT_LOGIT = -10.0
"""What a voxel outside the largest region gets: a probability of 5·10⁻⁵."""


@dataclass(frozen=True)
class AutoCasNetConfig:
    """The cascade.

    Attributes:
        planes: what each stage looks at, in order; one to three different ones.
        block: "plain" (U-Net), "residual" (ResU-Net) or "squeeze_excitation" (SEU-Net).
        widths: feature maps of each level of every stage, finest first.

    Raises:
        ValueError: if a value is not allowed.
    """

    planes: tuple[Plane, ...] = ("coronal", "sagittal", "axial")
    block: Block = "plain"
    widths: tuple[int, ...] = (32, 64, 128, 256)

    def __post_init__(self) -> None:
        for name in ("planes", "widths"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if not self.planes or len(set(self.planes)) < len(self.planes) or not set(self.planes) <= set(SLICE_AXIS):
            raise ValueError(f"planes must be different ones of {', '.join(SLICE_AXIS)}, got {list(self.planes)}")
        if self.block not in get_args(Block):
            raise ValueError(f"block must be one of {', '.join(get_args(Block))}, got {self.block!r}")
        if len(self.widths) < 2 or min(self.widths) < 1:
            raise ValueError(f"widths must name at least two levels, got {list(self.widths)}")

    @property
    def size_multiple(self) -> int:
        """Every spatial size must be a multiple of this."""
        return 2 ** (len(self.widths) - 1)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON or TOML."""
        return asdict(self) | {"planes": list(self.planes), "widths": list(self.widths)}


class AutoCasNet(nn.Module):
    """The cascade as one network on volumes.

    `trained_stages`, a buffer kept with the weights, says how many stages evaluation runs through.
    """

    method = "autocasnet"

    def __init__(self, config: AutoCasNetConfig | None = None) -> None:
        super().__init__()
        self.config = config or AutoCasNetConfig()
        self.stages = nn.ModuleList(
            PlainUNet(2, 1 + stage, 1, self.config.widths, self.config.block, dropout=BOTTLENECK_DROPOUT)
            for stage in range(len(self.config.planes))
        )
        self.register_buffer("trained_stages", torch.tensor(len(self.stages)))

    def axis(self, stage: int) -> int:
        """Along which axis of a (k, j, i) volume the slices of a stage follow each other."""
        return SLICE_AXIS[self.config.planes[stage]]

    def stage_logits(self, stage: int, slices: Tensor) -> Tensor:
        """What the network of a stage draws.

        Args:
            stage: from 0.
            slices: (s, 1 + stage, height, width): the image and the masks of the stages before.

        Returns:
            (s, 1, height, width), before the sigmoid.
        """
        return self.stages[stage](slices)

    @torch.no_grad()
    def context(self, image: Tensor, stage: int) -> Tensor:
        """The masks that a stage is shown, in evaluation mode whatever the present mode.

        Args:
            image: normalised intensities of one volume, (k, j, i).
            stage: from 0.

        Returns:
            (stage, k, j, i) float32, 0 or 1: the largest region that each earlier stage draws.
        """
        channels = image[None]
        for earlier in range(stage):
            logits = self._whole_volume(earlier, channels)
            mask = _largest_region(logits > 0)
            channels = torch.cat((channels, mask[None].to(channels.dtype)))
        return channels[1:].float()

    def forward(self, image: Tensor) -> NetworkOutput:
        """Segmentation logits of whole volumes by the trained stages, LEFT_OUT_LOGIT outside their largest region.

        Args:
            image: normalised intensities, (b, 1, k, j, i); sizes are multiples of `config.size_multiple`.

        Raises:
            ValueError: if the shape does not fit.
        """
        multiple = self.config.size_multiple
        if image.ndim != 5 or image.shape[1] != 1 or any(size % multiple for size in image.shape[2:]):
            raise ValueError(f"expected (batch, 1, k, j, i), multiples of {multiple}; got {tuple(image.shape)}")
        last = int(self.trained_stages) - 1
        volumes = []
        for volume in image[:, 0]:
            logits = self._whole_volume(last, torch.cat((volume[None], self.context(volume, last).to(volume.dtype))))
            volumes.append(torch.where(_largest_region(logits > 0), logits, logits.clamp(max=LEFT_OUT_LOGIT)))
        return NetworkOutput(torch.stack(volumes)[:, None], None, (), ())

    def _whole_volume(self, stage: int, channels: Tensor) -> Tensor:
        """Logits (k, j, i) of a stage on all slices of (1 + stage, k, j, i)."""
        network, axis = self.stages[stage], self.axis(stage)
        was_training = network.training
        network.eval()
        slices = slices_along(channels, axis)
        drawn = torch.cat([network(part)[:, 0] for part in slices.split(SLICES_AT_ONCE)])
        network.train(was_training)
        return drawn.movedim(0, axis)


def slices_along(channels: Tensor, axis: int) -> Tensor:
    """The slices (s, c, height, width) of a volume (c, k, j, i) along axis 0, 1 or 2 of its space."""
    return channels.movedim(1 + axis, 0)


def _largest_region(mask: Tensor) -> Tensor:
    """The largest connected region (faces touch) of a bool mask (k, j, i), on the mask's device."""
    regions, count = ndimage.label(mask.cpu().numpy())
    if count < 2:
        return mask
    largest = 1 + int(np.argmax(np.bincount(regions.ravel())[1:]))
    return torch.from_numpy(regions == largest).to(mask.device)
