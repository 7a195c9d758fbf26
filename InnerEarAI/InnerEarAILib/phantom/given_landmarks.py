"""Landmarks of a given ear from a file: Slicer markups, or a plain JSON of positions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from InnerEarAILib.landmarks import LANDMARK_NAMES
from InnerEarAILib.volume import InputError

OTHER_NAMES: Mapping[str, str] = {
    "apex": "helicotrema",
    "cochlea top": "helicotrema",
    "cochleatop": "helicotrema",
    "ovalwindow": "oval window",
    "ow": "oval window",
    "roundwindow": "round window",
    "rw": "round window",
}
"""What else the landmarks are called, among others in the data of Stebani et al. 2023 (CochleaTop, OvalWindow …)."""


def read_landmarks(path: Path) -> dict[str, np.ndarray]:
    """The landmarks in a file, (3,) LPS mm by name; those that it leaves undefined are left out.

    Args:
        path: a markups file (.mrk.json) in LPS or RAS mm, or a JSON object that holds a position (3 numbers, LPS mm)
            under each landmark's name; other keys are passed over.

    Raises:
        InputError: if the file cannot be read, holds none of the landmarks, or one of them twice.
    """
    try:
        # With a mark, as programs on Windows save it; as pairs, since a dictionary keeps the last of equal keys.
        content = json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=_Pairs)
    except OSError as error:
        raise InputError(f"{path.name} cannot be read ({error.strerror}).") from error
    except ValueError as error:
        raise InputError(f"{path.name} is no JSON file; give a Slicer markups file (.mrk.json).") from error
    try:
        points = _markups(content) if "markups" in content else content.pairs
        points = [(label, np.asarray(place, float)) for label, place in points if landmark_name(label)]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path.name} is no markups file that can be read; save it from Slicer again.") from error
    found = _by_name(path, points)
    if not found or any(p.shape != (3,) or not np.isfinite(p).all() for p in found.values()):
        raise InputError(f"{path.name} has no positions of {', '.join(LANDMARK_NAMES)}; name its points so.")
    return found


class _Pairs(dict):
    """A JSON object that remembers all its pairs, also of equal keys."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.pairs = pairs


def _markups(content: Mapping[str, Any]) -> list[tuple[str, list[float]]]:
    """Labels and positions, LPS mm, of the points that are defined."""
    points = []
    for markup in content["markups"]:
        turn = -1.0 if markup.get("coordinateSystem", "LPS") in ("RAS", "0", 0) else 1.0
        for point in markup.get("controlPoints", ()):
            if landmark_name(point["label"]) and point.get("positionStatus", "defined") == "defined":
                x, y, z = point["position"]
                points.append((point["label"], [turn * x, turn * y, z]))
    return points


def _by_name(path: Path, points: Sequence[tuple[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Positions by landmark; which of two points is meant, only the user knows."""
    labels: dict[str, str] = {}
    for label, _ in points:
        name = landmark_name(label)
        if name in labels:
            raise InputError(
                f"{path.name} has two points for the {name}, “{labels[name]}” and “{label}”; delete or rename one."
            )
        labels[name] = label
    return {landmark_name(label): position for label, position in points}


def landmark_name(label: str) -> str | None:
    """The landmark that a point's label means; None where it means none of the three."""
    plain = " ".join(str(label).replace("_", " ").replace("-", " ").lower().split())
    plain = OTHER_NAMES.get(plain, plain)
    return plain if plain in LANDMARK_NAMES else None
