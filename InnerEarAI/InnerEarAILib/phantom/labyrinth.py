"""The labyrinth of the phantom: its lumen as signed distances, its landmarks and measures by construction.

Definitions:
helicotrema: the blind end of the cochlear lumen: where the wall is met half-way between the direction in which the
    centreline ends and the modiolar axis (base -> apex). Those who annotate mark the end of the last turn, not the
    point furthest along the axis: the mean mark on 48 meshes of real labyrinths (repository
    Modelling-the-Human-Semicircular-Canals) lies 0.5 mm from that point and 0.3 mm from this one, which is 6.7 mm from
    the oval window as on the 94 ears of Stebani et al.;
oval window, round window: the centre of the elliptical membrane that closes it, on the wall of the lumen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.interpolate import CubicSpline

from InnerEarAILib.landmarks import LANDMARK_NAMES
from InnerEarAILib.phantom.labyrinth_canals import build_canals
from InnerEarAILib.phantom.labyrinth_cochlea import build_cochlea, cochlear_tubes, lamina_distances, part_turns
from InnerEarAILib.phantom.labyrinth_measures import measure
from InnerEarAILib.phantom.labyrinth_parameters import CANAL_NAMES, LabyrinthParameters
from InnerEarAILib.phantom.labyrinth_shapes import Curve, Tube, distances_near, smooth_minimum, unit
from InnerEarAILib.phantom.labyrinth_vestibule import build_tympanic_pocket, build_vestibule

REACH_MM = 4.6
"""Distances are evaluated up to this far outside a solid's bounding box; beyond, the distance to the box stands."""

WALL_STEPS = 5
"""Newton steps that put the centre of a window onto the wall; a test holds them to 0.02 mm."""

VESTIBULE_BLEND_MM = 0.5
CANAL_BLEND_MM = 0.3
COCHLEA_BLEND_MM = 0.4
"""Widths over which parts that meet are rounded into each other."""

OVAL_WINDOW_MM = np.array([-0.85, -0.90, -1.10])
ROUND_WINDOW_MM = np.array([0.08, -0.30, -3.97])
"""Window centres of the mean labyrinth; projected onto the wall of each."""

OVAL_WINDOW_SEMI_AXES_MM = (1.45, 0.70)
"""Half length (about horizontal) and half height of the footplate, from memory of anatomy books (2.8-3.2 × 1.2-1.5)."""

ROUND_WINDOW_RADIUS_MM = 0.81
"""Of the circle with the published membrane area, 2.08 mm²."""

VESTIBULAR_AQUEDUCT_MM = np.array(
    [[1.1, 1.6, 0.2], [1.7, 2.6, 1.1], [2.2, 4.2, 1.3], [2.5, 6.2, 0.2], [2.5, 8.0, -1.6], [2.3, 9.6, -3.4]]
)
COCHLEAR_AQUEDUCT_MM = np.array([[1.2, -0.9, -4.2], [2.4, 0.2, -5.0], [4.2, 1.4, -6.2], [6.6, 2.6, -8.0]])
"""Courses in the mean labyrinth: vestibule to the posterior surface of the petrous bone, beside the common crus first;
scala tympani to the subarachnoid space above the jugular bulb. Drawn after descriptions, not measured."""


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


@dataclass(frozen=True)
class LabyrinthDistances:
    """Signed distances (n,) in mm, negative inside; unit gradient at each surface, a lower bound far away.

    Attributes:
        union: the whole lumen.
        cochlea, vestibule, canals: the parts; they tile the union.
        bone_within: osseous spiral lamina within the lumen; the label counts it as lumen, a CT shows bone.
        modiolus: the cone of porous bone and nerve that the cochlea winds about; outside the lumen it counts.
        aqueducts: vestibular and cochlear aqueduct, not part of the label.
    """

    union: torch.Tensor
    cochlea: torch.Tensor
    vestibule: torch.Tensor
    canals: torch.Tensor
    bone_within: torch.Tensor
    modiolus: torch.Tensor
    aqueducts: torch.Tensor


class Labyrinth:
    """A bony labyrinth of a right ear.

    Args:
        parameters: what to build; LabyrinthParameters() is the mean labyrinth.

    Attributes:
        parameters: as given.
        landmarks: (3,) mm by name (LANDMARK_NAMES).
        measures: figures by construction, see labyrinth_measures.measure.
        frames: what the surrounding bone is built on.

    Example:
        >>> labyrinth = Labyrinth(LabyrinthParameters())
        >>> bool(labyrinth.distances(torch.zeros(1, 3)).union < 0)
        True
    """

    def __init__(self, parameters: LabyrinthParameters) -> None:
        self.parameters = parameters
        displace = warp(parameters)
        size = parameters.size
        self._cochlea = build_cochlea(parameters.cochlea, size, displace)
        self._pieces = cochlear_tubes(self._cochlea)
        self._pocket = build_tympanic_pocket(parameters, displace)
        self._vestibule = build_vestibule(parameters, displace)
        canals = build_canals(dict(zip(CANAL_NAMES, parameters.canals, strict=True)), size, displace)
        self._canals = [Tube(canal.curve, "flat", "flat") for canal in canals.values()]
        self._aqueducts = self._build_aqueducts(displace)
        self.frames = self._build_frames(canals, displace)
        self.landmarks = dict(
            zip(
                LANDMARK_NAMES,
                (self._helicotrema(), self.frames.oval_window.centre, self.frames.round_window.centre),
                strict=True,
            )
        )
        self.measures = measure(self._cochlea, canals, self.landmarks, parameters)

    @torch.no_grad()
    def distances(self, points: torch.Tensor) -> LabyrinthDistances:
        """Signed distances at points (n, 3) mm, any device; float32."""
        points = points.to(torch.float32)
        cochlea, lamina = self._cochlear_distances(points)
        vestibule = self._blend([distances_near(e, points, REACH_MM) for e in self._vestibule], VESTIBULE_BLEND_MM)
        canals = self._blend([distances_near(t, points, REACH_MM) for t in self._canals], CANAL_BLEND_MM)
        union = smooth_minimum(smooth_minimum(vestibule, canals, CANAL_BLEND_MM), cochlea, COCHLEA_BLEND_MM)
        aqueducts = self._blend([distances_near(t, points, REACH_MM) for t in self._aqueducts], 0.1)
        return LabyrinthDistances(
            union=union,
            cochlea=_tile(union, cochlea, torch.minimum(vestibule, canals)),
            vestibule=_tile(union, vestibule, torch.minimum(cochlea, canals)),
            canals=_tile(union, canals, torch.minimum(cochlea, vestibule)),
            bone_within=torch.maximum(lamina, union),
            modiolus=self._modiolus(points),
            aqueducts=aqueducts,
        )

    def _cochlear_distances(self, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        lamina = None
        distances, angles = [], []
        all_angles = torch.as_tensor(self._cochlea.angles, dtype=points.dtype, device=points.device)
        for tube, numbers in self._pieces:
            low, high = (torch.as_tensor(a, dtype=points.dtype, device=points.device) for a in (tube.low, tube.high))
            distance = torch.maximum(low - points, points - high).amax(1)
            shelf, angle = distance.clone(), torch.zeros_like(distance)
            for chosen in (distance < REACH_MM).nonzero()[:, 0].split(65536):
                distance[chosen], place, x, y = tube.evaluate(points[chosen])
                place = place + numbers[0]
                inner = lamina_distances(self._cochlea, self.parameters.cochlea.lamina_thickness_mm, place, x, y)
                shelf[chosen] = torch.maximum(inner, distance[chosen])
                angle[chosen] = all_angles[place.long()]
            distances.append(distance)
            angles.append(angle)
            lamina = shelf if lamina is None else torch.minimum(lamina, shelf)
        total = part_turns(torch.stack(distances), torch.stack(angles), self.parameters.cochlea.partition_turns)
        pocket = distances_near(self._pocket, points, REACH_MM)
        return smooth_minimum(total, pocket, COCHLEA_BLEND_MM), lamina

    @staticmethod
    def _blend(fields: list[torch.Tensor], blend_mm: float) -> torch.Tensor:
        total = fields[0]
        for field in fields[1:]:
            total = smooth_minimum(total, field, blend_mm)
        return total

    def _modiolus(self, points: torch.Tensor) -> torch.Tensor:
        cochlea, scale = self._cochlea, self.parameters.size * self.parameters.cochlea.scale
        offset = points - torch.as_tensor(cochlea.axis_origin, dtype=points.dtype, device=points.device)
        axis = torch.as_tensor(cochlea.axis, dtype=points.dtype, device=points.device)
        height = offset @ axis
        radial = (offset - height[:, None] * axis).norm(dim=1)
        # A cone from 1.9 mm at the base to 0.3 mm below the cupula.
        slope = 1.6 / 3.0
        cone = (radial - scale * (0.3 - slope * (height / scale + 0.2))) / np.sqrt(1 + slope**2)
        return torch.maximum(cone, torch.maximum(height + 0.2 * scale, -3.2 * scale - height))

    def _helicotrema(self) -> np.ndarray:
        curve = self._cochlea.curve
        towards = unit(curve.frames()[0][-1] + self._cochlea.axis)
        return self._onto_wall(curve.centres[-1] + curve.profile[-1, 0] * towards)

    def _build_aqueducts(self, displace) -> list[Tube]:
        p = self.parameters
        return [
            _aqueduct(displace(p.size * VESTIBULAR_AQUEDUCT_MM), p.vestibular_aqueduct_mm / 2, widening=1.6),
            _aqueduct(displace(p.size * COCHLEAR_AQUEDUCT_MM), p.cochlear_aqueduct_mm / 2, widening=3.0),
        ]

    def _build_frames(self, canals, displace) -> LabyrinthFrames:
        size = self.parameters.size
        cochlea = self._cochlea
        moved = {
            name: displace(size * np.array([point]))[0]
            for name, point in {
                "superior vestibular": (2.3, -1.0, 0.6),
                "inferior vestibular": (2.5, -1.2, -0.8),
                "facial": (2.6, -2.6, 1.2),
            }.items()
        }
        base = cochlea.axis_origin - 3.2 * size * self.parameters.cochlea.scale * cochlea.axis
        shift = np.asarray(self.parameters.cochlea.offset_mm)
        oval = self._window(
            displace(size * (OVAL_WINDOW_MM + self.parameters.oval_window_offset_mm)[None])[0], OVAL_WINDOW_SEMI_AXES_MM
        )
        round_ = self._window(
            displace(size * (ROUND_WINDOW_MM + 0.7 * shift)[None])[0], (ROUND_WINDOW_RADIUS_MM, ROUND_WINDOW_RADIUS_MM)
        )
        return LabyrinthFrames(
            modiolar_origin=cochlea.axis_origin,
            modiolar_axis=cochlea.axis,
            cochlear_base=base,
            oval_window=oval,
            round_window=round_,
            fundus={"cochlear": base, **moved},
            canal_centrelines={name: canal.curve.centres for name, canal in canals.items()},
            cochlear_centreline=cochlea.curve.centres,
        )

    def _window(self, start: np.ndarray, half_axes_mm: tuple[float, float]) -> Window:
        """The window whose centre is the point of the lumen's wall reached from `start` down the distance field."""
        point = self._onto_wall(start)
        normal = unit(self._wall_and_gradient(point)[1])
        long_axis = unit(np.array([0.0, 1.0, 0.0]) - normal[1] * normal)
        size = self.parameters.size
        return Window(point, normal, long_axis, (half_axes_mm[0] * size, half_axes_mm[1] * size))

    def _onto_wall(self, start: np.ndarray) -> np.ndarray:
        point = np.asarray(start, float)
        for _ in range(WALL_STEPS):
            distance, gradient = self._wall_and_gradient(point)
            point = point - distance * gradient / max(float(gradient @ gradient), 0.1)
        return point

    def _wall_and_gradient(self, point: np.ndarray) -> tuple[float, np.ndarray]:
        step = 0.05 * np.concatenate([np.zeros((1, 3)), np.eye(3), -np.eye(3)])
        union = self.distances(torch.as_tensor(point + step, dtype=torch.float32)).union.double().numpy()
        return float(union[0]), (union[1:4] - union[4:7]) / 0.1


def warp(parameters: LabyrinthParameters) -> Callable[[np.ndarray], np.ndarray]:
    """The smooth displacement of a labyrinth: maps points (n, 3) mm to where it moves them."""
    waves = np.asarray(parameters.warp, float).reshape(-1, 7)

    def displace(points: np.ndarray) -> np.ndarray:
        return points + np.sin(points @ waves[:, 3:6].T + waves[:, 6]) @ waves[:, :3]

    return displace


def _tile(union: torch.Tensor, own: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """The share of the union that is nearer to one part than to the others; the border halves the gap."""
    return torch.maximum(union, (own - others) / 2)


def _smooth_course(knots: np.ndarray) -> np.ndarray:
    length = np.r_[0.0, np.cumsum(np.linalg.norm(np.diff(knots, axis=0), axis=1))]
    return CubicSpline(length, knots)(np.linspace(0, length[-1], int(length[-1] / 0.2) + 2))


def _aqueduct(knots: np.ndarray, radius_mm: float, widening: float) -> Tube:
    centres = _smooth_course(knots)
    radius = radius_mm * np.linspace(1, widening, len(centres))
    profile = np.zeros((len(centres), 5))
    profile[:, 0] = radius
    return Tube(Curve(centres, np.tile([0.3, 0.2, 1.0], (len(centres), 1)), profile), "round", "round")
