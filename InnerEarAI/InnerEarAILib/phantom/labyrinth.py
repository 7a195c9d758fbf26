"""The labyrinth of the phantom: its lumen as signed distances, its landmarks and measures by construction.

Definitions:
helicotrema: the blind end of the cochlear lumen: where the wall is met half-way between the direction in which the
    centreline ends and the modiolar axis (base -> apex). Those who annotate mark the end of the last turn, not the
    point furthest along the axis: the mean mark on 48 meshes of real labyrinths (repository
    Modelling-the-Human-Semicircular-Canals) lies 0.5 mm from that point and 0.3 mm from this one, which is 6.7 mm from
    the oval window as on the 94 ears of Stebani et al.;
oval window, round window: the centre of the elliptical membrane that closes it, on the wall of the lumen.

What surrounds a malformed labyrinth is placed by the whole one that it would have been, but for windows, which lie on
the wall that there is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from InnerEarAILib.landmarks import LANDMARK_NAMES
from InnerEarAILib.phantom.labyrinth_malformations import WHOLE
from InnerEarAILib.phantom.labyrinth_measures import measure
from InnerEarAILib.phantom.labyrinth_parameters import LabyrinthParameters
from InnerEarAILib.phantom.labyrinth_shapes import unit
from InnerEarAILib.phantom.labyrinth_solids import LabyrinthDistances, LabyrinthSolids, warp

WALL_STEPS = 5
"""Newton steps that put the centre of a window onto the wall; a test holds them to 0.02 mm."""

OVAL_WINDOW_MM = np.array([-0.85, -0.90, -1.10])
ROUND_WINDOW_MM = np.array([0.08, -0.30, -3.97])
"""Window centres of the mean labyrinth; projected onto the wall of each."""

OVAL_WINDOW_SEMI_AXES_MM = (1.45, 0.70)
"""Half length (about horizontal) and half height of the footplate, from memory of anatomy books (2.8-3.2 × 1.2-1.5)."""

ROUND_WINDOW_RADIUS_MM = 0.81
"""Of the circle with the published membrane area, 2.08 mm²."""


@dataclass(frozen=True)
class Window:
    """A membrane: centre (3,) mm, outward unit normal (3,), the direction of its long axis (3,), half axes in mm."""

    centre: np.ndarray
    normal: np.ndarray
    long_axis: np.ndarray
    half_axes_mm: tuple[float, float]


@dataclass(frozen=True)
class LabyrinthFrames:
    """What the neighbours of the labyrinth need to know of it; positions (3,) mm, directions unit.

    Attributes:
        modiolar_origin, modiolar_axis: the axis, base -> apex; its origin lies near the apex.
        cochlear_base: centre of the base of the modiolus, where the cochlear nerve enters.
        oval_window, round_window: the membranes.
        fundus: where the internal auditory canal ends: "cochlear", "superior vestibular", "inferior vestibular" and
            "facial" point.
        canal_centrelines: by canal name, (n, 3).
        cochlear_centreline: (n, 3), base to apex.
    """

    modiolar_origin: np.ndarray
    modiolar_axis: np.ndarray
    cochlear_base: np.ndarray
    oval_window: Window
    round_window: Window
    fundus: dict[str, np.ndarray]
    canal_centrelines: dict[str, np.ndarray]
    cochlear_centreline: np.ndarray


class Labyrinth:
    """A bony labyrinth of a right ear.

    Args:
        parameters: what to build; LabyrinthParameters() is the mean labyrinth.

    Attributes:
        parameters: as given.
        landmarks: (3,) mm by name (LANDMARK_NAMES), those that there are.
        measures: figures by construction, see labyrinth_measures.measure.
        frames: what the surrounding bone is built on.

    Example:
        >>> labyrinth = Labyrinth(LabyrinthParameters())
        >>> bool(labyrinth.distances(torch.zeros(1, 3)).union < 0)
        True
    """

    def __init__(self, parameters: LabyrinthParameters) -> None:
        self.parameters = parameters
        self._solids = whole = LabyrinthSolids(parameters)
        lacking = parameters.malformation
        if lacking != WHOLE:
            whole = LabyrinthSolids(replace(parameters, malformation=WHOLE))
        self.frames = _frames(whole)
        if whole is not self._solids:
            self.frames = _with_windows_on_the_wall(self.frames, self._solids)
        places = (_helicotrema(whole), self.frames.oval_window.centre, self.frames.round_window.centre)
        named = dict(zip(LANDMARK_NAMES, places, strict=True))
        self.landmarks = {name: place for name, place in named.items() if name in lacking.landmarks}
        canals = {name: canal for name, canal in whole.canals.items() if name in lacking.canals}
        self.measures = measure(whole.cochlea if lacking.modiolus else None, canals, self.landmarks, parameters)

    def distances(self, points: torch.Tensor) -> LabyrinthDistances:
        """Signed distances at points (n, 3) mm, any device; float32."""
        return self._solids.distances(points)


def _helicotrema(solids: LabyrinthSolids) -> np.ndarray:
    curve = solids.cochlea.curve
    towards = unit(curve.frames()[0][-1] + solids.cochlea.axis)
    return _onto_wall(solids, curve.centres[-1] + curve.profile[-1, 0] * towards)


def _frames(whole: LabyrinthSolids) -> LabyrinthFrames:
    """Of a labyrinth that lacks nothing."""
    parameters, cochlea, displace = whole.parameters, whole.cochlea, warp(whole.parameters)
    size = parameters.size
    moved = {
        name: displace(size * np.array([point]))[0]
        for name, point in {
            "superior vestibular": (2.3, -1.0, 0.6),
            "inferior vestibular": (2.5, -1.2, -0.8),
            "facial": (2.6, -2.6, 1.2),
        }.items()
    }
    base = cochlea.axis_origin - 3.2 * size * parameters.cochlea.scale * cochlea.axis
    shift = np.asarray(parameters.cochlea.offset_mm)
    oval = displace(size * (OVAL_WINDOW_MM + parameters.oval_window_offset_mm)[None])[0]
    round_ = displace(size * (ROUND_WINDOW_MM + 0.7 * shift)[None])[0]
    return LabyrinthFrames(
        modiolar_origin=cochlea.axis_origin,
        modiolar_axis=cochlea.axis,
        cochlear_base=base,
        oval_window=_window(whole, oval, OVAL_WINDOW_SEMI_AXES_MM),
        round_window=_window(whole, round_, (ROUND_WINDOW_RADIUS_MM, ROUND_WINDOW_RADIUS_MM)),
        fundus={"cochlear": base, **moved},
        canal_centrelines={name: canal.curve.centres for name, canal in whole.canals.items()},
        cochlear_centreline=cochlea.curve.centres,
    )


def _with_windows_on_the_wall(frames: LabyrinthFrames, solids: LabyrinthSolids) -> LabyrinthFrames:
    """Frames whose windows close a malformed lumen; one that it does not have stays in the bone, or at the wall."""
    landmarks = solids.parameters.malformation.landmarks

    def placed(window: Window, name: str) -> Window:
        inside = solids.wall_and_gradient(window.centre)[0] < 0
        if not inside and name not in landmarks:
            return window
        moved = _window(solids, window.centre, (0.0, 0.0))
        return replace(moved, half_axes_mm=window.half_axes_mm)

    return replace(
        frames,
        oval_window=placed(frames.oval_window, "oval window"),
        round_window=placed(frames.round_window, "round window"),
    )


def _window(solids: LabyrinthSolids, start: np.ndarray, half_axes_mm: tuple[float, float]) -> Window:
    """The window whose centre is the point of the lumen's wall reached from `start` down the distance field."""
    point = _onto_wall(solids, start)
    normal = unit(solids.wall_and_gradient(point)[1])
    long_axis = unit(np.array([0.0, 1.0, 0.0]) - normal[1] * normal)
    size = solids.parameters.size
    return Window(point, normal, long_axis, (half_axes_mm[0] * size, half_axes_mm[1] * size))


def _onto_wall(solids: LabyrinthSolids, start: np.ndarray) -> np.ndarray:
    point = np.asarray(start, float)
    for _ in range(WALL_STEPS):
        distance, gradient = solids.wall_and_gradient(point)
        point = point - distance * gradient / max(float(gradient @ gradient), 0.1)
    return point
