"""Figures of the papers, for a column that says so. They were measured on other scans than any evaluation here."""

from __future__ import annotations

from collections.abc import Mapping

from InnerEarAILib.model_store import ModelCard

MICRO_CT_DICE = {
    ("plain", False): "0.884 ± 0.076",
    ("plain", True): "0.900 ± 0.070",
    ("residual", False): "0.869 ± 0.098",
    ("residual", True): "0.871 ± 0.126",
    ("squeeze_excitation", False): "0.778 ± 0.144",
    ("squeeze_excitation", True): "0.839 ± 0.107",
}
"""Dice on 17 micro-CT by block and whether it is a cascade (Hussain et al. 2021, Table 1)."""

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

SINGLE_TASKS = {"segmentation_only": "segmentation", "heatmaps_only": "heatmaps"}
"""The one head of those configurations that have one: the single-task BaseUNet of the same, Fig. 3."""


def published_dice(card: ModelCard) -> str:
    """What a paper states for the method of a card, and on what; empty where it states nothing."""
    if card.method == "autocasnet":
        block, cascade = card.network.get("block", "plain"), len(card.network.get("planes", ())) > 1
        return f"{MICRO_CT_DICE[block, cascade]} (17 micro-CT)"
    return _clinical(CLINICAL_DICE, card)


def published_landmarks(card: ModelCard) -> str:
    """The same for the landmarks."""
    return _clinical(CLINICAL_LANDMARKS, card)


def _clinical(figures: Mapping[str, str], card: ModelCard) -> str:
    """The figure of the configuration that a model is named after, if the model has the heads of that configuration."""
    if card.network.get("heads", "both") != SINGLE_TASKS.get(card.name, "both"):
        return ""
    stated = figures.get(card.name)
    return f"{stated} (9 clinical)" if stated else ""
