"""What an anatomist measures on a labyrinth, exact by construction: from centrelines, sections and landmarks."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import numpy as np

from InnerEarAILib.landmarks import LANDMARK_NAMES
from InnerEarAILib.phantom.labyrinth_canals import Canal
from InnerEarAILib.phantom.labyrinth_cochlea import Cochlea
from InnerEarAILib.phantom.labyrinth_parameters import LabyrinthParameters

ORGAN_OF_CORTI_SHARE = 0.6
"""How far outwards of the lumen's middle the organ of Corti runs, as a share of the lumen's radius: on the basilar
membrane, between the edge of the osseous lamina and the lateral wall."""


def measure(
    cochlea: Cochlea | None,
    canals: Mapping[str, Canal],
    landmarks: Mapping[str, np.ndarray],
    parameters: LabyrinthParameters,
) -> dict[str, float]:
    """Figures of a labyrinth, in mm, degrees and turns; those of what it has.

    Args:
        cochlea: None where it does not wind.
        canals, landmarks: those that there are.
        parameters: of the labyrinth.

    Definitions:
        a_value_mm: from the round window across the modiolar axis to the lateral wall opposite, seen along the axis.
        b_value_mm: across the axis from lateral wall to lateral wall at 90° to the A value.
        cochlear_height_mm: along the axis from the middle of the lumen at the round window to the end of the lumen.
        cochlear_duct_length_mm: along the lateral wall from the round window's half plane to the end of the spiral.
        organ_of_corti_length_mm: the same at ORGAN_OF_CORTI_SHARE of the lumen's radius outwards of its middle.
        NAME_canal_radius_mm, NAME_canal_lumen_mm: mean distance of the arc from ampulla to crus from the canal's
            centre; mean diameter of the lumen in its slender part.
        NAME_NAME_angle_deg: between the planes of two canals, 0 to 90.
        helicotrema_oval_mm, helicotrema_round_mm, oval_round_mm: between landmarks.
    """
    figures = {}
    if cochlea is not None:
        figures |= _cochlear_figures(cochlea, landmarks["round window"], parameters)
    for first, second in combinations([name for name in LANDMARK_NAMES if name in landmarks], 2):
        figures[f"{first.split()[0]}_{second.split()[0]}_mm"] = float(
            np.linalg.norm(landmarks[first] - landmarks[second])
        )
    for name, canal in canals.items():
        figures[f"{name}_canal_radius_mm"] = canal.radius_mm
        figures[f"{name}_canal_lumen_mm"] = float(2 * canal.curve.profile[canal.slender, 0].mean())
    for first, second in combinations(canals, 2):
        cosine = abs(float(canals[first].normal @ canals[second].normal))
        figures[f"{first}_{second}_angle_deg"] = float(np.degrees(np.arccos(min(cosine, 1.0))))
    return figures


def _cochlear_figures(cochlea: Cochlea, round_window: np.ndarray, parameters: LabyrinthParameters) -> dict[str, float]:
    from_zero = cochlea.angles >= 0
    wall = cochlea.curve.wall(0.0)
    corti = cochlea.curve.centres + ORGAN_OF_CORTI_SHARE * (wall - cochlea.curve.centres)

    def height(point: np.ndarray) -> np.ndarray:
        return (point - cochlea.axis_origin) @ cochlea.axis

    def off_axis(point: np.ndarray) -> float:
        offset = point - cochlea.axis_origin
        return float(np.linalg.norm(offset - (offset @ cochlea.axis) * cochlea.axis))

    def wall_at(degrees: float) -> np.ndarray:
        return np.array([np.interp(np.radians(degrees), cochlea.angles, wall[:, k]) for k in range(3)])

    middle = np.array([np.interp(0.0, cochlea.angles, cochlea.curve.centres[:, k]) for k in range(3)])
    return {
        "a_value_mm": off_axis(round_window) + off_axis(wall_at(180)),
        "b_value_mm": off_axis(wall_at(90)) + off_axis(wall_at(270)),
        "cochlear_height_mm": float(height(_walls_of_last_turn(cochlea)).max() - height(middle)),
        "cochlear_turns": parameters.cochlea.turns,
        "cochlear_duct_length_mm": _length(wall[from_zero]),
        "organ_of_corti_length_mm": _length(corti[from_zero]),
    }


def _walls_of_last_turn(cochlea: Cochlea) -> np.ndarray:
    """Points of the wall, (n, 3) mm, all round each section."""
    last = cochlea.angles > cochlea.angles[-1] - 2 * np.pi
    return np.concatenate([cochlea.curve.wall(angle)[last] for angle in np.linspace(0, 2 * np.pi, 73)[:-1]])


def _length(course: np.ndarray) -> float:
    return float(np.linalg.norm(np.diff(course, axis=0), axis=1).sum())
