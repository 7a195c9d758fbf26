"""Models in the route's store that read painted grey values (painted_ear.py) instead of knowing anatomy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from torch import nn

from InnerEarAILib import segmenter
from InnerEarAILib.inference.locator import EarCandidate
from InnerEarAILib.model_card import ModelCard, ModelError
from InnerEarAILib.networks.dual_head_unet import DualHeadUNetConfig
from library.painted_ear import ReadingNetwork

CARD = ModelCard(
    name="clinical",
    version="1",
    role="segmenter",
    network=DualHeadUNetConfig().to_dict(),
    spacing_mm=0.5,
    tile_voxels=48,
    overlap_voxels=16,
    heatmap_amplitude=1.0,
    heatmap_spread_voxels=2.0,
    region_mm=24.0,
    trained_on="Nothing: it reads painted values.",
    validated_on="",
    limits="",
    licence="Apache-2.0",
    library_version="0",
    weights_sha256="0" * 64,
)
LOCATOR = ModelCard(**{**CARD.to_dict(), "name": "locator", "role": "locator", "spacing_mm": 1.0, "tile_voxels": 40})


def install(
    monkeypatch: pytest.MonkeyPatch, card: ModelCard = CARD, network: Callable[[], nn.Module] = ReadingNetwork
) -> None:
    """Lets the route find this model and the locator alone; `network` makes the network of either."""
    cards = {card.name: card, LOCATOR.name: LOCATOR}

    def load_card(name, directory=None):
        if name not in cards:
            raise ModelError(f"There is no model '{name}'.")
        return cards[name]

    monkeypatch.setattr(segmenter, "list_models", lambda directory=None: tuple(cards.values()))
    monkeypatch.setattr(segmenter, "load_card", load_card)
    monkeypatch.setattr(segmenter, "find_card", load_card)
    monkeypatch.setattr(segmenter, "load_network", lambda card, device: network())


def marks(*places: tuple[float, float, float]) -> Callable[..., tuple[EarCandidate, ...]]:
    """A locator that marks these places, LPS mm."""
    return lambda *_: tuple(EarCandidate(np.array(place, float), 500.0, 0.9) for place in places)
