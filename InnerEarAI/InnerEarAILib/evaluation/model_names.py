"""What models are called where several are judged: names that are all different, also as names of folders."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from InnerEarAILib.model_card import ModelCard

RUN_PARTS = ("best", "last")
"""Folders of a run that hold models."""


def apart(cards: Sequence[ModelCard]) -> list[str]:
    """Names of models that are all different.

    Of those that share one the run's folder goes before it; “best” or “last” goes behind it where both of one run are
    here, and a number where nothing else tells them apart.
    """
    names = [card.name for card in cards]
    names = [
        f"{run_folder(card).name}_{name}" if shared else name
        for card, name, shared in zip(cards, names, _shared(names), strict=True)
    ]
    names = [
        f"{name}_{card.directory.parent.name}" if shared and card.directory.parent.name in RUN_PARTS else name
        for card, name, shared in zip(cards, names, _shared(names), strict=True)
    ]
    seen: Counter[str] = Counter()
    told = []
    for name in names:
        seen[name] += 1
        told.append(name if seen[name] == 1 else f"{name}_{seen[name]}")
    return told


def run_folder(card: ModelCard) -> Path:
    """RUN of RUN/best/NAME or RUN/last/NAME, else the store that a model lies in."""
    above = card.directory.parent
    return above.parent if above.name in RUN_PARTS else above


def _shared(names: Sequence[str]) -> list[bool]:
    counts = Counter(names)
    return [counts[name] > 1 for name in names]
