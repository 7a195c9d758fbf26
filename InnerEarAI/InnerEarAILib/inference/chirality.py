"""Left or right? A labyrinth and its mirror image cannot be turned into each other: the shape alone tells the side."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from InnerEarAILib.ear_result import LandmarkResult, Side
from InnerEarAILib.inference.quality import (
    LEAST_CONFIDENCE,
    SIDE_LANDMARKS,
    UNCERTAIN_LANDMARK,
    centre_of_mass,
    is_possible,
    landmark_distances,
)
from InnerEarAILib.landmarks import LANDMARK_NAMES
from InnerEarAILib.volume import Volume, marked_indices

LEAST_HANDEDNESS = 0.15
"""Smaller triple products decide no side. Of 48 real labyrinths the least certain has 0.19; the mean is 0.87."""

LEAST_SKEW = 0.05
"""Smaller skews decide no side. Of 48 real labyrinths the least certain has 0.085, the mean is 0.27; of 31 results on
drawn and real anatomy, ten of them ossified, the least certain has 0.117, and all tell the true side."""


CERTAIN_ROUND_WINDOW = 0.6
"""Where landmarks and shape contradict each other, the landmarks are believed if the round window is as confident as
this; ours."""


@dataclass(frozen=True)
class ToldSide:
    """What a labyrinth says of its side.

    Attributes:
        side: anatomical.
        doubt: what it rests on that may be wrong, as the end of a sentence; None where nothing speaks against it.
    """

    side: Side
    doubt: str | None = None


def handedness(positions: Mapping[str, np.ndarray], centre_lps: np.ndarray) -> float:
    """Chirality of the landmarks: positive for a right ear, negative for a left one, whatever the pose.

    The triple product of the unit vectors from the oval window to the helicotrema, the round window and the labyrinth's
    centre of mass; -1 to 1.

    Args:
        positions: the three landmarks, LPS mm.
        centre_lps: centre of mass of the labyrinth, LPS mm.
    """
    origin = positions["oval window"]
    arms = np.array([positions["helicotrema"], positions["round window"], centre_lps]) - origin
    lengths = np.linalg.norm(arms, axis=1, keepdims=True)
    if (lengths < 1e-6).any():
        return 0.0
    return float(np.linalg.det(arms / lengths))


def skew(segmentation: Volume, helicotrema_lps: np.ndarray, oval_window_lps: np.ndarray) -> float:
    """Chirality of a labyrinth without its round window: positive for a right ear, whatever the pose and size.

    How unevenly the labyrinth lies on the two sides of the plane through helicotrema, oval window and its centre of
    mass. With x from the oval window to the helicotrema, y towards the centre of mass, z across the plane, in units of
    the radius of gyration: the mean of z³ + z·y² − z·x² − z·x/2 over the voxels; the weights are ours.

    Args:
        segmentation: 1 labyrinth, 0 not.
        helicotrema_lps, oval_window_lps: LPS mm.
    """
    places = segmentation.grid.to_lps(marked_indices(segmentation.voxels)[:, ::-1])
    if len(places) < 2:
        return 0.0
    centre = places.mean(0)
    radius = np.sqrt(((places - centre) ** 2).sum(1).mean())
    along = helicotrema_lps - oval_window_lps
    towards = centre - oval_window_lps
    across = np.cross(along, towards)
    lengths = np.linalg.norm(along), np.linalg.norm(across)
    if min(*lengths, radius) < 1e-6:
        return 0.0
    x_axis, z_axis = along / lengths[0], across / lengths[1]
    axes = np.array([x_axis, np.cross(z_axis, x_axis), z_axis])
    x, y, z = axes @ (places - oval_window_lps).T / radius
    return float((z * (z**2 + y**2 - x**2 - 0.5 * x)).mean())


def side_by_chirality(landmarks: tuple[LandmarkResult, ...], centre_lps: np.ndarray) -> Side | None:
    """The side that the landmarks tell; None where one is missing or astray, or they are undecided."""
    positions = {m.name: m.position_lps for m in landmarks if m.position_lps is not None}
    if len(positions) < len(LANDMARK_NAMES) or not _all_possible(landmarks):
        return None
    return _decided(handedness(positions, centre_lps), LEAST_HANDEDNESS)


def side_of_ear(
    landmarks: tuple[LandmarkResult, ...], segmentation: Volume, beyond: Collection[str] = (), is_cut_off: bool = False
) -> ToldSide | None:
    """The side of a result: by its landmarks where all are sure, else by the shape of its labyrinth.

    Where the round window is ossified there is none to be found, and a guess at it would tell the wrong side; where a
    scan ends above it, a network may be half sure of another place. So the shape is asked in either case.

    Args:
        landmarks: the three landmarks.
        segmentation: 1 labyrinth, 0 not.
        beyond: names of landmarks that lie beyond the scan: guesses.
        is_cut_off: whether the labyrinth reaches the end of the scan, so that its shape is not its own.

    Returns:
        None where helicotrema or oval window is missing or astray, or the shape is undecided.
    """
    within = tuple(m for m in landmarks if m.name not in beyond)
    by_landmarks = None
    if all(m.confidence >= UNCERTAIN_LANDMARK for m in within):
        by_landmarks = side_by_chirality(within, centre_of_mass(segmentation))
    seen = tuple(m for m in within if m.name in SIDE_LANDMARKS and m.confidence >= LEAST_CONFIDENCE)
    by_shape = _side_by_skew(seen, segmentation)
    if by_landmarks is None:
        return None if by_shape is None else ToldSide(by_shape, _doubt_of_shape(seen, is_cut_off))
    if by_shape in (None, by_landmarks):
        return ToldSide(by_landmarks)
    round_window = next(m for m in within if m.name not in SIDE_LANDMARKS)
    if round_window.confidence >= CERTAIN_ROUND_WINDOW:
        return ToldSide(by_landmarks, "landmarks that its shape contradicts")
    return ToldSide(by_shape, "a shape that its landmarks contradict")


def _side_by_skew(landmarks: tuple[LandmarkResult, ...], segmentation: Volume) -> Side | None:
    positions = {m.name: m.position_lps for m in landmarks if m.position_lps is not None}
    if len(positions) < len(SIDE_LANDMARKS) or not _all_possible(landmarks):
        return None
    return _decided(skew(segmentation, *(positions[name] for name in SIDE_LANDMARKS)), LEAST_SKEW)


def _doubt_of_shape(landmarks: tuple[LandmarkResult, ...], is_cut_off: bool) -> str | None:
    if any(m.confidence < UNCERTAIN_LANDMARK for m in landmarks):
        return "an uncertain landmark"
    return "the shape of a labyrinth that is cut off" if is_cut_off else None


def _all_possible(landmarks: tuple[LandmarkResult, ...]) -> bool:
    return all(is_possible(*distance) for distance in landmark_distances(landmarks).items())


def _decided(value: float, least: float) -> Side | None:
    if abs(value) < least:
        return None
    return "right" if value > 0 else "left"
