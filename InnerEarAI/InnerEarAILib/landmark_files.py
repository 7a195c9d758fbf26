"""The landmarks of one ear as a Slicer markups file (.mrk.json)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from InnerEarAILib.ear_result import LandmarkResult
from InnerEarAILib.volume import InputError
from InnerEarAILib.whole_files import replacing

SCHEMA = (
    "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/Schema/"
    "markups-schema-v1.0.3.json#"
)

_AXES_IN_LPS = [-1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0]
"""Orientation of a point without one: the axes of RAS, which Slicer takes as the identity."""


def landmarks_as_markups(landmarks: Sequence[LandmarkResult]) -> dict:
    """A markups file's content: one fiducial list, positions in LPS mm, the confidence as a point's description.

    A landmark that was not found stays in the list as an undefined point, without a position.
    """
    return {
        "@schema": SCHEMA,
        "markups": [
            {
                "type": "Fiducial",
                "coordinateSystem": "LPS",
                "coordinateUnits": "mm",
                "locked": False,
                "fixedNumberOfControlPoints": True,
                "labelFormat": "%N-%d",
                "lastUsedControlPointNumber": len(landmarks),
                "controlPoints": [_control_point(number, one) for number, one in enumerate(landmarks, start=1)],
            }
        ],
    }


def write_landmarks(path: Path, landmarks: Sequence[LandmarkResult]) -> None:
    """Writes a markups file; it is whole or absent.

    Args:
        path: ends in .mrk.json; an existing file is replaced.
        landmarks: of one ear.

    Raises:
        InputError: if the file cannot be written.
    """
    write_json(path, landmarks_as_markups(landmarks))


def write_json(path: Path, content: dict) -> None:
    """Writes JSON under a temporary name that is then changed.

    Raises:
        InputError: if the file cannot be written.
        ValueError: if a number is NaN or infinite, which JSON does not know.
    """
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    try:
        with replacing(path) as unfinished:
            unfinished.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path.name} cannot be written to {path.parent} ({error.strerror}).") from error


def landmark_description(landmark: LandmarkResult) -> str:
    """What a user reads beside the point: how sure the network is."""
    if landmark.position_lps is None:
        return "not found"
    scatter = "" if landmark.scatter_mm is None else f", scatter {landmark.scatter_mm:.2f} mm"
    return f"confidence {landmark.confidence:.2f}{scatter}"


def _control_point(number: int, landmark: LandmarkResult) -> dict:
    found = landmark.position_lps is not None
    position = {"position": [float(x) for x in landmark.position_lps], "orientation": _AXES_IN_LPS} if found else {}
    return {
        "id": str(number),
        "label": landmark.name,
        "description": landmark_description(landmark),
        "associatedNodeID": "",
        **position,
        "selected": True,
        "locked": False,
        "visibility": True,
        "positionStatus": "defined" if found else "undefined",
    }
