"""Trained weights as a model folder that the rest of the library runs: RUN/last/NAME and RUN/best/NAME."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from torch import nn

from InnerEarAILib import __version__
from InnerEarAILib.model_store import ModelCard, save_model
from InnerEarAILib.training.configuration import TrainingConfig
from InnerEarAILib.training.data_source import TrainingData
from InnerEarAILib.training.validation import ValidationFigures

OVERLAP_SHARE_OF_TILE = 25 / 128
"""25 voxels of overlap to a tile of 128, as in the paper; smaller tiles overlap by as large a share."""


def model_exporter(
    config: TrainingConfig, data: TrainingData, folder: Path
) -> Callable[[nn.Module, str, int, ValidationFigures], None]:
    """A function (network, "last" or "best", iteration, figures) that writes the network as a model folder."""

    def export(network: nn.Module, which: str, iteration: int, figures: ValidationFigures) -> None:
        save_model(folder / which, model_card(config, data, iteration, figures), network)

    return export


def model_card(config: TrainingConfig, data: TrainingData, iteration: int, figures: ValidationFigures) -> ModelCard:
    """What a card says about weights after so many iterations; `save_model` adds the network and the checksum."""
    final = config.heatmaps.final
    measured = {
        f"validation_{name}": round(value, 4) for name, value in asdict(figures).items() if math.isfinite(value)
    }
    return ModelCard(
        name=config.name,
        version=f"{__version__}-{iteration}",
        role=config.role,
        network={},
        spacing_mm=config.spacing_mm,
        tile_voxels=config.tile_voxels,
        overlap_voxels=int(OVERLAP_SHARE_OF_TILE * config.tile_voxels),
        heatmap_amplitude=final.amplitude,
        heatmap_spread_voxels=final.spread,
        region_mm=data.region_mm,
        trained_on=f"{data.trained_on} {iteration} iterations.",
        validated_on=data.validated_on,
        limits=data.limits,
        licence="Apache-2.0",
        library_version=__version__,
        figures=measured,
    )
