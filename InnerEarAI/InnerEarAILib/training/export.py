"""Trained weights as a model folder that the rest of the library runs: RUN/last/NAME and RUN/best/NAME."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from InnerEarAILib import __version__
from InnerEarAILib.contrast_matching import CONTRAST_KEY, ContrastReference
from InnerEarAILib.model_card import ALL_VIEWS, VIEWS_KEY, ModelCard
from InnerEarAILib.model_store import save_model
from InnerEarAILib.training.augmentation import AUGMENTATIONS
from InnerEarAILib.training.configuration import TrainingConfig
from InnerEarAILib.training.data_source import TrainingData, data_of
from InnerEarAILib.training.manifest_dataset import ManifestSource, load_case
from InnerEarAILib.training.processes import Processes
from InnerEarAILib.training.run_state import Export, RunState
from InnerEarAILib.training.samples import SampleSource
from InnerEarAILib.training.seen_scans import SeenScans
from InnerEarAILib.training.validation import ValidationFigures

OVERLAP_SHARE_OF_TILE = 25 / 128
"""25 voxels of overlap to a tile of 128, as in the paper; smaller tiles overlap by as large a share."""

PROTOCOL_KEY = "protocol"
"""Under this key of a card's figures stands `protocol_of` the run."""

SEEN_ALONG_AN_EDGE = 32
"""Voxels along each edge of a labelled scan that its contrast is told by."""


def model_exporter(
    config: TrainingConfig,
    data: TrainingData,
    folder: Path,
    device: torch.device,
    processes: Processes | None = None,
) -> Export:
    """A function (network, "last" or "best", where the run stands, figures) that writes the network as a model folder.

    Args:
        config: of the run.
        data: what it trains on.
        folder: the run folder.
        device: what it trains on, for the card.
        processes: that train together, each on such a device; None: one.
    """
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    by = _with_article(name)
    if processes and processes.count > 1:
        made = processes.count * processes.passes_of_step(config.optimisation.accumulation)
        by = f"{by} for each of {processes.count} processes, {made} passes to a step"
    contrast = _contrast(data.source)

    def export(network: nn.Module, which: str, state: RunState, figures: ValidationFigures) -> None:
        card = model_card(config, data, state, by, figures, which == "best")
        save_model(folder / which, replace(card, figures={**card.figures, **contrast}), network)

    return export


def model_card(
    config: TrainingConfig, data: TrainingData, state: RunState, by: str, figures: ValidationFigures, chosen: bool
) -> ModelCard:
    """What a card says about weights at a point of a run; `save_model` adds the network and the checksum.

    Args:
        config: of the run.
        data: what it trains on.
        state: where it stands.
        by: devices, in words.
        figures: of the weights.
        chosen: whether the validation chose these weights; its scans are then no test of them.
    """
    final = config.heatmaps.final
    measured: dict[str, Any] = {
        f"validation_{name}": round(value, 4) for name, value in asdict(figures).items() if math.isfinite(value)
    }
    before_it = SeenScans.of_figures(state.seen_before)
    seen = data.seen if chosen else SeenScans(data.seen.taught)
    measured |= (seen | before_it).figures()
    measured[VIEWS_KEY] = views_taught(config)
    measured[PROTOCOL_KEY] = {**protocol_of(config), "began_with": state.begun_with}
    tiles = f"{state.iteration:,} iterations of {_counted(config.optimisation.batch, 'tile')}"
    spent = f"{tiles} in {state.seconds / 3600:.2f} hours on {by}"
    before = f" It began with the weights of {state.begun_with}." if state.begun_with else ""
    known = data.seen.validated.shared(before_it.taught)
    flattered = f" Of these scans {known} had taught the weights that it began with." if known else ""
    return ModelCard(
        name=config.name,
        version=f"{__version__}-{state.iteration + _iterations_of(state.begun_with)}",
        role=config.role,
        network={},
        spacing_mm=config.spacing_mm,
        tile_voxels=config.tile_voxels,
        overlap_voxels=int(OVERLAP_SHARE_OF_TILE * config.tile_voxels),
        heatmap_amplitude=final.amplitude,
        heatmap_spread_voxels=final.spread,
        region_mm=data.region_mm,
        trained_on=f"{data.trained_on} {spent}.{before}",
        validated_on=data.validated_on + flattered,
        limits=data.limits,
        licence="Apache-2.0",
        library_version=__version__,
        figures=measured,
        method=config.method,
    )


def protocol_of(config: TrainingConfig) -> dict[str, Any]:
    """How a run trains, JSON-able: loss, heatmaps, optimisation, and its [data] without what names scans and fold."""
    data = dict(config.data)
    if data.get("kind") == "manifest":
        data |= asdict(data_of(config))
        del data["manifest"], data["fold"]
    parts = {name: asdict(getattr(config, name)) for name in ("loss", "heatmaps", "optimisation")}
    return json.loads(json.dumps({**parts, "data": data}))


def views_taught(config: TrainingConfig) -> int:
    """ModelCard.views_taught of what a run trains; drawn ears lie in any orientation."""
    if config.data["kind"] != "manifest":
        return ALL_VIEWS
    return ALL_VIEWS if AUGMENTATIONS[data_of(config).augmentation].turned_axes else 1


def _contrast(source: SampleSource) -> dict[str, list[float]]:
    """The mean distribution of intensities in labelled scans that are trained on; nothing of drawn ones."""
    if not isinstance(source, ManifestSource):
        return {}
    regions = []
    for folder in source.folders:
        image = load_case(folder).image
        steps = (slice(None, None, max(1, edge // SEEN_ALONG_AN_EDGE)) for edge in image.shape)
        regions.append(image[tuple(steps)].astype(np.float32))
    return {CONTRAST_KEY: [round(value, 4) for value in ContrastReference.of(regions).quantiles]}


def _counted(number: int, noun: str) -> str:
    return f"one {noun}" if number == 1 else f"{number} {noun}s"


def _with_article(device_name: str) -> str:
    return "a CPU" if device_name == "CPU" else f"one {device_name}"


def _iterations_of(version: str) -> int:
    """What stands after the last hyphen of a version; 0 where there is no such number."""
    last = version.rpartition("-")[2]
    return int(last) if last.isdigit() else 0
