"""A network that finds the balls of labelled_balls by their grey value, and its card."""

from __future__ import annotations

import torch

from InnerEarAILib.model_card import ModelCard
from InnerEarAILib.networks.network_output import NetworkOutput

CARD = ModelCard(
    name="reader",
    version="1",
    role="segmenter",
    network={},
    spacing_mm=0.5,
    tile_voxels=24,
    overlap_voxels=4,
    heatmap_amplitude=4.0,
    heatmap_spread_voxels=2.5,
    region_mm=12.0,
    trained_on="Nothing: it reads grey values.",
    validated_on="Nothing.",
    limits="For tests.",
    licence="Apache-2.0",
    library_version="0.1.0",
)


class Reader(torch.nn.Module):
    """Finds balls: labyrinth where it is bright, every landmark where it is brightest round about."""

    def __init__(self, segments=True, localises=True):
        super().__init__()
        self.segments, self.localises = segments, localises

    def forward(self, image):
        heatmaps = 5 + torch.nn.functional.avg_pool3d(image, 11, 1, 5).repeat(1, 3, 1, 1, 1) if self.localises else None
        return NetworkOutput(10 * image if self.segments else None, heatmaps, (), ())
