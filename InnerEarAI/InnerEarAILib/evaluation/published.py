"""Figures of the papers, for a column that says so. They were measured on other scans than any evaluation here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from InnerEarAILib.model_card import ModelCard
from InnerEarAILib.networks.methods import network_config
from InnerEarAILib.training.configuration import read_configuration
from InnerEarAILib.training.data_source import with_manifest
from InnerEarAILib.training.export import PROTOCOL_KEY, protocol_of

MICRO_CT_DICE = {
    "unet_2d": "0.884 ± 0.076",
    "autocasnet": "0.900 ± 0.070",
    "residual_unet_2d": "0.869 ± 0.098",
    "autocasnet_residual": "0.871 ± 0.126",
    "squeeze_excitation_unet_2d": "0.778 ± 0.144",
    "autocasnet_squeeze_excitation": "0.839 ± 0.107",
}
"""Dice on 17 micro-CT by configuration (Hussain et al. 2021, Table 1)."""

CLINICAL_DICE = {"gold": "0.94 ± 0.01", "base": "0.93", "segmentation_only": "0.93", "jsdnet_unaugmented": "0.88"}
"""Dice on the nine clinical scans of data set B (Stebani et al. 2023, Table 3 and "Results"), by configuration."""

CLINICAL_LANDMARKS = {
    "gold": "5.2 ± 2.8",
    "base": "5.6",
    "heatmaps_only": "6.3",
    "jsdnet": "9.4",
    "jsdnet_unaugmented": "28.6",
}
"""Mean distance of the landmarks on data set B in voxels of 0.099 mm (the same, Table 4 and "Results")."""


def published_dice(card: ModelCard) -> str:
    """What a paper states for the method of a card, and on what; empty where it states nothing, or of another method.

    A method is the paper's where network and training are those of the shipped configuration of its name.
    """
    return _stated(MICRO_CT_DICE, card, "17 micro-CT") or _stated(CLINICAL_DICE, card, "9 clinical")


def published_landmarks(card: ModelCard) -> str:
    """The same for the landmarks."""
    return _stated(CLINICAL_LANDMARKS, card, "9 clinical")


def _stated(figures: Mapping[str, str], card: ModelCard, scans: str) -> str:
    stated = figures.get(card.name)
    return f"{stated} ({scans})" if stated and _is_the_shipped_configuration(card) else ""


def _is_the_shipped_configuration(card: ModelCard) -> bool:
    """Whether a card says of network and training what the configuration of its name does, as far as it says it."""
    try:
        config = with_manifest(read_configuration(card.name), Path("labelled"), None)
    except ModuleNotFoundError:  # a loss needs MONAI, which an evaluation does not
        return False
    heatmap = config.heatmaps.final
    shipped = (config.spacing_mm, config.tile_voxels, heatmap.amplitude, heatmap.spread)
    if (card.spacing_mm, card.tile_voxels, card.heatmap_amplitude, card.heatmap_spread_voxels) != shipped:
        return False
    if card.method != config.method or network_config(card.method, card.network).to_dict() != config.network.to_dict():
        return False
    protocol = card.figures.get(PROTOCOL_KEY)
    return protocol is None or protocol == {**protocol_of(config), "began_with": ""}
