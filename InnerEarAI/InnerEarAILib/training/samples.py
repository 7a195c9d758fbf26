"""What a network is trained on: one tile with its truth, batches of them, and the sources they come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch


@dataclass(frozen=True)
class TrainingSample:
    """One tile and its truth.

    Attributes:
        image: (n, n, n) float32, normalised intensities on the model's grid.
        labyrinth: (n, n, n) float32, share of each voxel that is labyrinth, 0 to 1: partial volume counts.
        landmarks_kji: (ears, 3, 3) float64, continuous voxel indices (k, j, i) of each ear's landmarks in the order of
            landmarks.LANDMARK_NAMES; may lie outside the tile. NaN where the scan has none: its heatmap is zero.
        known: (3,) bool, False for a landmark that nobody marked in this scan: its heatmap is not part of the loss.
        same_as: a name that every sample with these very voxels has; empty where voxels do not come again.
    """

    image: np.ndarray
    labyrinth: np.ndarray
    landmarks_kji: np.ndarray
    known: np.ndarray
    same_as: str = ""


class SampleSource(Protocol):
    """Where samples come from: a data set on disk, or the phantom."""

    def sample(self, index: int) -> TrainingSample:
        """Sample number `index`; the same number gives the same sample as long as the source holds the same scans."""


@dataclass(frozen=True)
class Batch:
    """Several samples as tensors.

    Attributes:
        image: (b, 1, n, n, n) float32.
        labyrinth: (b, 1, n, n, n) float32, 0 to 1.
        landmarks_kji: (b, ears, 3, 3) float64, NaN where absent.
        known: (b, 3) bool.
        same_as: a name a sample; see TrainingSample.
    """

    image: torch.Tensor
    labyrinth: torch.Tensor
    landmarks_kji: torch.Tensor
    known: torch.Tensor
    same_as: tuple[str, ...] = ()

    def to(self, device: torch.device) -> Batch:
        """The batch with its voxels on a device; the few landmark numbers stay where they are."""
        return Batch(
            self.image.to(device, non_blocking=True),
            self.labyrinth.to(device, non_blocking=True),
            self.landmarks_kji,
            self.known.to(device, non_blocking=True),
            self.same_as,
        )


def collate(samples: Sequence[TrainingSample]) -> Batch:
    """Stacks samples; ears that a sample does not have are filled up with NaN."""
    ears = max(len(sample.landmarks_kji) for sample in samples)
    landmarks = np.full((len(samples), max(ears, 1), 3, 3), np.nan)
    for row, sample in zip(landmarks, samples, strict=True):
        row[: len(sample.landmarks_kji)] = sample.landmarks_kji
    return Batch(
        torch.from_numpy(np.stack([sample.image for sample in samples]))[:, None],
        torch.from_numpy(np.stack([sample.labyrinth for sample in samples]))[:, None],
        torch.from_numpy(landmarks),
        torch.from_numpy(np.stack([sample.known for sample in samples])),
        tuple(sample.same_as for sample in samples),
    )
