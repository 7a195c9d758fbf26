"""The contrast that a model was taught, by what its card says of its training."""

from __future__ import annotations

from InnerEarAILib.contrast_matching import DRAWN_EARS, ContrastReference
from InnerEarAILib.model_card import ModelCard
from InnerEarAILib.training.seen_scans import ScanList, SeenScans
from InnerEarAILib.volume import InputError


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
