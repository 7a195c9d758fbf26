"""How a model is judged as it was taught: by what its card says of its training."""

from __future__ import annotations

from InnerEarAILib.contrast_matching import DRAWN_EARS, ContrastReference
from InnerEarAILib.model_card import ModelCard
from InnerEarAILib.training.augmentation import AUGMENTATIONS
from InnerEarAILib.training.export import PROTOCOL_KEY
from InnerEarAILib.training.seen_scans import ScanList, SeenScans
from InnerEarAILib.volume import InputError

ALL_VIEWS = 10
"""As in Stebani et al. 2023; nine of them are turned by 90° or more."""


def views_taught(card: ModelCard) -> int:
    """Rotated views of a scan that a model is shown: one where it was taught upright ears alone, else ALL_VIEWS.

    Where a card does not say how it was trained, its method and name do: 2D networks and unaugmented configurations
    have seen no quarter turns.
    """
    data = card.figures.get(PROTOCOL_KEY, {}).get("data", {})
    if data.get("kind") == "manifest":
        augmentation = AUGMENTATIONS.get(data["augmentation"])
        return ALL_VIEWS if augmentation is None or augmentation.turned_axes else 1
    if data:
        return ALL_VIEWS  # drawn ears lie in any orientation
    upright = card.method == "autocasnet" or card.name.endswith("_unaugmented") or card.name == "no_augmentation"
    return 1 if upright else ALL_VIEWS


def contrast_reference(card: ModelCard) -> ContrastReference:
    """The contrast of the scans that a model was trained on, to which others are matched.

    Raises:
        InputError: if it was trained on labelled scans, and its card does not hold their contrast.
    """
    if reference := ContrastReference.of_figures(card.figures):
        return reference
    if SeenScans.of_figures(card.figures).taught != ScanList():
        raise InputError(
            f"The card of {card.name} does not hold the contrast of the labelled scans that it was trained on, so that "
            "no scan can be matched to it: judge it without --contrast, or train it anew."
        )
    return DRAWN_EARS
