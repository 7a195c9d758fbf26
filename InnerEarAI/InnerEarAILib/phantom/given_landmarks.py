"""Landmarks of a given ear from a file: Slicer markups, or a plain JSON of positions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

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
        InputError: if the file cannot be read, or holds none of the landmarks.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path.name} cannot be read ({error.strerror}).") from error
    except ValueError as error:
        raise InputError(f"{path.name} is no JSON file; give a Slicer markups file (.mrk.json).") from error
    try:
        found = _markups(content) if "markups" in content else _positions(content)
        found = {name: np.asarray(position, float) for name, position in found.items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path.name} is no markups file that can be read; save it from Slicer again.") from error
    if not found or any(p.shape != (3,) or not np.isfinite(p).all() for p in found.values()):
        raise InputError(f"{path.name} has no positions of {', '.join(LANDMARK_NAMES)}; name its points so.")
    return found


def _markups(content: dict) -> dict[str, list[float]]:
    found = {}
    for markup in content["markups"]:
        turn = -1.0 if markup.get("coordinateSystem", "LPS") in ("RAS", "0", 0) else 1.0
        for point in markup.get("controlPoints", ()):
            name = landmark_name(point["label"])
            if name and point.get("positionStatus", "defined") == "defined":
                x, y, z = point["position"]
                found[name] = [turn * x, turn * y, z]
    return found


def _positions(content: dict) -> dict[str, list[float]]:
    return {landmark_name(key): value for key, value in content.items() if landmark_name(key)}


def landmark_name(label: str) -> str | None:
    """The landmark that a point's label means; None where it means none of the three."""
    plain = " ".join(str(label).replace("_", " ").replace("-", " ").lower().split())
    plain = OTHER_NAMES.get(plain, plain)
    return plain if plain in LANDMARK_NAMES else None
