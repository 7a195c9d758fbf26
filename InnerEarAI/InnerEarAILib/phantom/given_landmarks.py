"""Landmarks of a given ear from a file: Slicer markups of either kind, or a plain JSON of positions."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping
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

_RAS_WORDS = ("RAS", "0", 0)
"""How markups say that their positions are RAS; else they are LPS."""

_FCSV_COLUMNS = ("id", "x", "y", "z")
_FCSV_STATUS = 14
"""Where Slicer 5 puts a point's status in a line of .fcsv, behind the columns that it names; older ones have none."""

_FCSV_DEFINED = "2"


def read_landmarks(path: Path) -> dict[str, np.ndarray]:
    """The landmarks in a file, (3,) LPS mm by name; those that it leaves undefined are left out.

    Args:
        path: a markups file (.mrk.json, .fcsv) in LPS or RAS mm, or a JSON object that holds a position (3 numbers, LPS
            mm) under each landmark's name; other keys are passed over.

    Raises:
        InputError: if the file cannot be read, holds none of the landmarks, or one of them twice.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")  # with a mark, as programs on Windows save it
    except FileNotFoundError as error:
        raise InputError(f"There is no file {path}; check the path.") from error
    except OSError as error:
        raise InputError(f"{path.name} cannot be read ({error.strerror}).") from error
    except ValueError as error:
        raise InputError(f"{path.name} is no text; give a Slicer markups file (.mrk.json, .fcsv).") from error
    points = _fcsv_points(path, text) if path.suffix.lower() == ".fcsv" else _json_points(path, text)
    found = by_landmark(path, points)
    if not found or any(p.shape != (3,) or not np.isfinite(p).all() for p in found.values()):
        raise InputError(f"{path.name} has no positions of {', '.join(LANDMARK_NAMES)}; name its points so.")
    return found


def by_landmark(path: Path, points: Iterable[tuple[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Positions by landmark, of labels that mean one; which of two points is meant, only the user knows.

    Args:
        path: of the file, for the sentence.
        points: label and position of each.

    Raises:
        InputError: if two points mean the same landmark.
    """
    labels: dict[str, str] = {}
    found = {}
    for label, position in points:
        name = landmark_name(label)
        if name is None:
            continue
        if name in found:
            raise InputError(
                f"{path.name} has two points for the {name}, “{labels[name]}” and “{label}”; delete or rename one."
            )
        labels[name], found[name] = label, position
    return found


def landmark_name(label: str) -> str | None:
    """The landmark that a point's label means; None where it means none of the three."""
    plain = " ".join(str(label).replace("_", " ").replace("-", " ").lower().split())
    plain = OTHER_NAMES.get(plain, plain)
    return plain if plain in LANDMARK_NAMES else None


def _json_points(path: Path, text: str) -> list[tuple[str, np.ndarray]]:
    """Labels and positions, LPS mm, of the landmarks in a JSON file of either form."""
    try:
        # As pairs, since a dictionary keeps the last of equal keys.
        content = json.loads(text, object_pairs_hook=_Pairs)
    except ValueError as error:
        raise InputError(f"{path.name} is no JSON file; give a Slicer markups file (.mrk.json, .fcsv).") from error
    try:
        points = _markups(content) if "markups" in content else content.pairs
        return [(label, np.asarray(place, float)) for label, place in points if landmark_name(label)]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path.name} is no markups file that can be read; save it from Slicer again.") from error


def _fcsv_points(path: Path, text: str) -> list[tuple[str, np.ndarray]]:
    """Labels and positions, LPS mm, of the points of a .fcsv file that are defined."""
    turn, columns, points = np.ones(3), list(_FCSV_COLUMNS), []
    try:
        for line in text.splitlines():
            key, _, value = line.lstrip("# ").partition("=")
            if line.startswith("#") and key.strip() == "CoordinateSystem":
                turn = np.array([-1, -1, 1]) if value.strip() in _RAS_WORDS else np.ones(3)
            elif line.startswith("#") and key.strip() == "columns":
                columns = [name.strip() for name in value.split(",")]
            elif line.strip() and not line.startswith("#"):
                cells = next(csv.reader([line]))
                row = dict(zip(columns, cells, strict=False))
                if cells[_FCSV_STATUS : _FCSV_STATUS + 1] in ([], [_FCSV_DEFINED]):
                    points.append((row["label"], turn * [float(row[axis]) for axis in "xyz"]))
    except (ValueError, KeyError) as error:
        raise InputError(f"{path.name} is no markups file that can be read; save it from Slicer again.") from error
    return points


class _Pairs(dict):
    """A JSON object that remembers all its pairs, also of equal keys."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.pairs = pairs


def _markups(content: Mapping[str, Any]) -> list[tuple[str, list[float]]]:
    """Labels and positions, LPS mm, of the points that are defined."""
    points = []
    for markup in content["markups"]:
        turn = -1.0 if markup.get("coordinateSystem", "LPS") in _RAS_WORDS else 1.0
        for point in markup.get("controlPoints", ()):
            if landmark_name(point["label"]) and point.get("positionStatus", "defined") == "defined":
                x, y, z = point["position"]
                points.append((point["label"], [turn * x, turn * y, z]))
    return points
