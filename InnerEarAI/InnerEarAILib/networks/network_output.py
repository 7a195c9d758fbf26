"""What every network answers, whichever paper it is from: the contract with inference and training."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class NetworkOutput(NamedTuple):
    """What a network says about a batch of tiles.

    Attributes:
        segmentation: logits (before the sigmoid), (b, segmentation_channels, k, j, i); None without that head.
        heatmaps: (b, landmark_channels, k, j, i), no activation; None without that head.
        segmentation_terminals: logits at a half, a quarter, an eighth of the size (t1, t2, t3), of subvoxels at as many
            steps below their blocks; only while training.
        heatmap_terminals: the same for the heatmaps.
    """

    segmentation: Tensor | None
    heatmaps: Tensor | None
    segmentation_terminals: tuple[Tensor, ...]
    heatmap_terminals: tuple[Tensor, ...]
