"""The composite loss: segmentation, heatmaps, and both again at the deep-supervision terminals.

Source:
    Stebani et al. 2023, eq. 1 and "Algorithm and network architecture". Equation 1 is a plain sum; the text calls the
    segmentation term a linear combination and leaves the definitions of its parts to the supplement (S.6). The weights
    of the heatmaps and of the deep-supervision terminals are ours and named in `LossConfig`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Literal, get_args

import numpy as np
import torch
from torch.nn import functional

from InnerEarAILib.landmarks import gaussian_profiles
from InnerEarAILib.training.checked_fields import check_at_least, check_types
from InnerEarAILib.training.samples import Batch
from InnerEarAILib.training.schedules import HeatmapShape

SegmentationLoss = Literal["dice_bce", "dice", "squared_dice", "log_cosh_dice", "bce"]
SegmentationTerm = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class LossConfig:
    """Weights and kinds of the loss terms.

    Attributes:
        segmentation: which loss the segmentation head is trained with; the paper's is "dice_bce".
        cross_entropy_weight: factor of the cross-entropy beside the Dice term of "dice_bce". A mean over all voxels is
            small beside it, so that a piece of another channel taken for labyrinth costs little; 10 weighs such a piece
            about as nnU-Net's "DC and top-10 %" loss does.
        segmentation_weight: factor of the segmentation term; 0 trains the heatmaps alone.
        heatmap_weight: factor of the heatmaps' mean squared error; 0 trains the segmentation alone. Landmarks fill few
            voxels, so that a mean over all voxels is small beside the Dice term; 64 brings both to the same size.
        supervision_weights: factor of the full output and of the terminals at half, a quarter, an eighth of its size.
            Their sum is scaled to 1. Empty after the first: no deep supervision.

    Raises:
        ValueError: if a value is not of its type or out of its range.
    """

    segmentation: SegmentationLoss = "dice_bce"
    cross_entropy_weight: float = 1.0
    segmentation_weight: float = 1.0
    heatmap_weight: float = 64.0
    supervision_weights: tuple[float, ...] = (1.0, 0.5, 0.25, 0.125)

    def __post_init__(self) -> None:
        check_types(self)
        check_at_least(0, self, "cross_entropy_weight", "segmentation_weight", "heatmap_weight")
        if self.segmentation_weight + self.heatmap_weight == 0:
            raise ValueError("segmentation_weight and heatmap_weight cannot both be 0: nothing would be learnt")
        if not self.supervision_weights or self.supervision_weights[0] <= 0 or min(self.supervision_weights) < 0:
            raise ValueError(
                "supervision_weights must begin with a number above 0, that of the full output, and have none below 0, "
                f"got {list(self.supervision_weights)}"
            )


@dataclass(frozen=True)
class LossTerms:
    """The loss and what it is made of, scalars.

    Attributes:
        total: what is minimised.
        segmentation: segmentation loss of the full-size output, unweighted.
        heatmap: mean squared error of the full-size heatmaps, unweighted.
    """

    total: torch.Tensor
    segmentation: torch.Tensor
    heatmap: torch.Tensor


def segmentation_loss(kind: SegmentationLoss, cross_entropy_weight: float = 1.0) -> SegmentationTerm:
    """A loss between logits and labyrinth shares, both (b, 1, n, n, n); float32, 0 at a perfect prediction for Dice.

    The Dice term is the soft Dice over the whole batch, in the form of Wang et al. 2023 (Dice semimetric losses): its
    minimum is a prediction equal to the soft truth, which plain soft Dice does not give.

    Raises:
        ValueError: if the kind is none of those in SegmentationLoss.
        ModuleNotFoundError: if it has a Dice term and MONAI is not installed.
    """
    if kind not in get_args(SegmentationLoss):
        raise ValueError(f"unknown segmentation loss {kind!r}; choose one of {', '.join(get_args(SegmentationLoss))}")
    cross_entropy = functional.binary_cross_entropy_with_logits
    if kind == "bce":
        return cross_entropy
    # Here, since a configuration is read where nothing is trained, and MONAI comes with an extra.
    from monai.losses import DiceLoss

    soft_dice = DiceLoss(sigmoid=True, batch=True, soft_label=True)
    kinds: dict[str, SegmentationTerm] = {
        "dice_bce": lambda logits, truth: (
            soft_dice(logits, truth) + cross_entropy_weight * cross_entropy(logits, truth)
        ),
        "dice": soft_dice,
        "squared_dice": DiceLoss(sigmoid=True, batch=True, squared_pred=True),
        "log_cosh_dice": lambda logits, truth: torch.log(torch.cosh(soft_dice(logits, truth))),
    }
    return kinds[kind]


def heatmap_truth(
    landmarks_kji: torch.Tensor, shape: Sequence[int], heatmap: HeatmapShape, scale: int, device: torch.device
) -> torch.Tensor:
    """Heatmaps of a batch on the grid of a terminal.

    Args:
        landmarks_kji: (b, ears, 3, 3) voxel indices on the full grid, NaN where there is none (on the CPU).
        shape: voxels (k, j, i) of the terminal.
        heatmap: amplitude, and spread in voxels of the full grid.
        scale: how many voxels of the full grid a voxel of the terminal spans along an axis.
        device: where the heatmaps are to be.

    Returns:
        (b, 3, k, j, i) float32; where two ears share the tile, the higher of their Gaussians.
    """
    centres = (landmarks_kji.numpy() + 0.5) / scale - 0.5
    truth = torch.zeros(len(centres), 3, *shape, device=device)
    for row, ears in zip(truth, centres, strict=True):
        for ear in ears:
            for channel, centre in enumerate(ear):
                if np.isnan(centre).any():
                    continue
                k, j, i = (
                    torch.from_numpy(profile).to(device)
                    for profile in gaussian_profiles(centre, tuple(shape), heatmap.spread / scale)
                )
                gaussian = heatmap.amplitude * k[:, None, None] * j[None, :, None] * i[None, None, :]
                torch.maximum(row[channel], gaussian, out=row[channel])
    return truth


def heatmap_error(predicted: torch.Tensor, truth: torch.Tensor, known: torch.Tensor, power: int = 2) -> torch.Tensor:
    """Mean over voxels of |predicted − truth|^power, of the known landmarks alone.

    Args:
        predicted: (b, 3, k, j, i).
        truth: (b, 3, k, j, i).
        known: (b, 3) bool.
        power: 2 for the mean squared error, 1 for the mean absolute error.

    Returns:
        A scalar; 0 where no landmark of the batch is known.
    """
    errors = (predicted.float() - truth).abs().pow(power).mean(dim=(2, 3, 4))
    return (errors * known).sum() / known.sum().clamp(min=1)


class JointLoss:
    """Segmentation and heatmap loss of a network output, with deep supervision."""

    def __init__(self, config: LossConfig) -> None:
        self._config = config
        self._segmentation = segmentation_loss(config.segmentation, config.cross_entropy_weight)

    def __call__(self, output, batch: Batch, heatmap: HeatmapShape) -> LossTerms:
        """The loss of a NetworkOutput against its batch, with heatmaps of the given amplitude and spread.

        A head that the network does not have (None) contributes nothing.
        """
        levels = list(
            zip_longest(
                (output.segmentation, *output.segmentation_terminals), (output.heatmaps, *output.heatmap_terminals)
            )
        )
        weights = self._config.supervision_weights[: len(levels)]
        device = batch.image.device
        total = torch.zeros((), device=device)
        first: list[torch.Tensor] = []
        for weight, (segmentation, heatmaps) in zip(weights, levels, strict=False):
            share = weight / sum(weights)
            terms = [torch.zeros((), device=device), torch.zeros((), device=device)]
            if segmentation is not None and self._config.segmentation_weight:
                scale = batch.labyrinth.shape[-1] // segmentation.shape[-1]
                truth = functional.avg_pool3d(batch.labyrinth, scale) if scale > 1 else batch.labyrinth
                terms[0] = self._segmentation(segmentation.float(), truth)
            if heatmaps is not None and self._config.heatmap_weight:
                scale = batch.labyrinth.shape[-1] // heatmaps.shape[-1]
                truth = heatmap_truth(batch.landmarks_kji, heatmaps.shape[2:], heatmap, scale, device)
                terms[1] = heatmap_error(heatmaps, truth, batch.known)
            first = first or terms
            total = total + share * (
                self._config.segmentation_weight * terms[0] + self._config.heatmap_weight * terms[1]
            )
        return LossTerms(total, first[0].detach(), first[1].detach())


def displacement_truth(landmarks_kji: torch.Tensor, edge: int, device: torch.device) -> torch.Tensor:
    """Displacement maps of a batch: where each landmark lies as seen from each voxel.

    Args:
        landmarks_kji: (b, ears, 3, 3) voxel indices, NaN where there is none (on the CPU).
        edge: voxels along each side of the tile.
        device: where the maps are to be.

    Returns:
        (b, 9, edge, edge, edge) float32: for each landmark its index minus the voxel's along k, j, i, in units of the
        edge; of several ears the one nearest to the tile's middle. NaN where no ear has the landmark.

    Source:
        Zhang et al. 2020 (displacement maps).
    """
    middle = (edge - 1) / 2
    distance = torch.linalg.vector_norm(landmarks_kji - middle, dim=-1).nan_to_num(nan=torch.inf)
    nearest = distance.argmin(dim=1)[:, None, :, None].expand(-1, 1, -1, 3)
    places = landmarks_kji.gather(1, nearest)[:, 0].to(device=device, dtype=torch.float32)
    line = torch.arange(edge, device=device, dtype=torch.float32)
    maps = []
    for axis in range(3):
        along = line.reshape([-1 if other == axis else 1 for other in range(3)])
        maps.append((places[:, :, axis, None, None, None] - along) / edge)
    shape = (len(places), places.shape[1], edge, edge, edge)
    return torch.stack([part.expand(shape) for part in maps], dim=2).flatten(1, 2)


def displacement_error(predicted: torch.Tensor, truth: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """Mean squared error of displacement maps, (b, 9, k, j, i) both, over the landmarks that are known and there.

    Args:
        predicted, truth: of `displacement_truth`.
        known: (b, 3) bool.

    Returns:
        A scalar; 0 where no landmark counts.
    """
    there = known.repeat_interleave(3, dim=1) & truth.isfinite().flatten(2).all(dim=2)
    errors = (predicted.float() - truth.nan_to_num()).square().mean(dim=(2, 3, 4))
    return (errors * there).sum() / there.sum().clamp(min=1)
