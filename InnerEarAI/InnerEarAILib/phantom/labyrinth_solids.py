"""The solids that a labyrinth is made of, put together as signed distances to its lumen and what lies in and by it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.interpolate import CubicSpline

from InnerEarAILib.phantom.labyrinth_canals import build_canals
from InnerEarAILib.phantom.labyrinth_cochlea import build_cochlea, cochlear_tubes, lamina_distances, part_turns
from InnerEarAILib.phantom.labyrinth_malformations import CANAL_NAMES
from InnerEarAILib.phantom.labyrinth_parameters import LabyrinthParameters
from InnerEarAILib.phantom.labyrinth_shapes import FAR_MM, Curve, Ellipsoid, Tube, distances_near, smooth_minimum
from InnerEarAILib.phantom.labyrinth_vestibule import build_cavities, build_tympanic_pocket, build_vestibule

REACH_MM = 4.6
"""Distances are evaluated up to this far outside a solid's bounding box; beyond, the distance to the box stands."""

VESTIBULE_BLEND_MM = 0.5
CANAL_BLEND_MM = 0.3
COCHLEA_BLEND_MM = 0.4
"""Widths over which parts that meet are rounded into each other."""

AQUEDUCT_BLEND_MM = 0.1

VESTIBULAR_AQUEDUCT_MM = np.array(
    [[1.1, 1.6, 0.2], [1.7, 2.6, 1.1], [2.2, 4.2, 1.3], [2.5, 6.2, 0.2], [2.5, 8.0, -1.6], [2.3, 9.6, -3.4]]
)
COCHLEAR_AQUEDUCT_MM = np.array([[1.2, -0.9, -4.2], [2.4, 0.2, -5.0], [4.2, 1.4, -6.2], [6.6, 2.6, -8.0]])
"""Courses in the mean labyrinth: vestibule to the posterior surface of the petrous bone, beside the common crus first;
scala tympani to the subarachnoid space above the jugular bulb. Drawn after descriptions, not measured."""


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


class LabyrinthSolids:
    """The solids of a labyrinth, as far as its malformation leaves them.

    Args:
        parameters: what to build.

    Attributes:
        parameters: as given.
        cochlea: course and sections of the cochlea, whether or not there is one.
        canals: the three canals, whether or not they are there.
    """

    def __init__(self, parameters: LabyrinthParameters) -> None:
        self.parameters = parameters
        displace, size, lacking = warp(parameters), parameters.size, parameters.malformation
        self.cochlea = build_cochlea(parameters.cochlea, size, displace)
        self.canals = build_canals(dict(zip(CANAL_NAMES, parameters.canals, strict=True)), size, displace)
        self._cochlear_pieces = cochlear_tubes(self.cochlea) if lacking.cochlea else []
        self._about_cochlea: list[Ellipsoid] = build_cavities(parameters, "cochlea", displace)
        self._vestibule: list[Ellipsoid] = build_cavities(parameters, "vestibule", displace)
        self._canals: list[Tube | Ellipsoid] = [
            *(Tube(self.canals[name].curve, "flat", "flat") for name in lacking.canals),
            *build_cavities(parameters, "canals", displace),
        ]
        self._aqueducts: list[Tube] = []
        if lacking.vestibule:
            self._vestibule = build_vestibule(parameters, displace) + self._vestibule
            course, radius_mm = VESTIBULAR_AQUEDUCT_MM, parameters.vestibular_aqueduct_mm / 2
            self._aqueducts.append(_aqueduct(displace(size * course), radius_mm, widening=1.6))
        if lacking.cochlea:
            self._about_cochlea.insert(0, build_tympanic_pocket(parameters, displace))
            course, radius_mm = COCHLEAR_AQUEDUCT_MM, parameters.cochlear_aqueduct_mm / 2
            self._aqueducts.append(_aqueduct(displace(size * course), radius_mm, widening=3.0))

    @torch.no_grad()
    def distances(self, points: torch.Tensor) -> LabyrinthDistances:
        """Signed distances at points (n, 3) mm, any device; float32."""
        points = points.to(torch.float32)
        cochlea, lamina = self._cochlear_distances(points)
        vestibule = _blended(self._vestibule, points, VESTIBULE_BLEND_MM)
        canals = _blended(self._canals, points, CANAL_BLEND_MM)
        union = smooth_minimum(smooth_minimum(vestibule, canals, CANAL_BLEND_MM), cochlea, COCHLEA_BLEND_MM)
        return LabyrinthDistances(
            union=union,
            cochlea=_tile(union, cochlea, torch.minimum(vestibule, canals)),
            vestibule=_tile(union, vestibule, torch.minimum(cochlea, canals)),
            canals=_tile(union, canals, torch.minimum(cochlea, vestibule)),
            bone_within=torch.maximum(lamina, union),
            modiolus=self._modiolus(points) if self.parameters.malformation.modiolus else _nowhere(points),
            aqueducts=_blended(self._aqueducts, points, AQUEDUCT_BLEND_MM),
        )

    def wall_and_gradient(self, point: np.ndarray) -> tuple[float, np.ndarray]:
        """Distance to the wall of the lumen at a point (3,) mm, and its gradient (3,)."""
        step = 0.05 * np.concatenate([np.zeros((1, 3)), np.eye(3), -np.eye(3)])
        union = self.distances(torch.as_tensor(point + step, dtype=torch.float32)).union.double().numpy()
        return float(union[0]), (union[1:4] - union[4:7]) / 0.1

    def _cochlear_distances(self, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        total, lamina = _nowhere(points), _nowhere(points)
        if self._cochlear_pieces:
            total, lamina = self._winding_distances(points)
        for solid in self._about_cochlea:
            total = smooth_minimum(total, distances_near(solid, points, REACH_MM), COCHLEA_BLEND_MM)
        return total, lamina

    def _winding_distances(self, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Distances to the tube of the cochlea and to its lamina."""
        lamina = None
        distances, angles = [], []
        all_angles = torch.as_tensor(self.cochlea.angles, dtype=points.dtype, device=points.device)
        for tube, numbers in self._cochlear_pieces:
            low, high = (torch.as_tensor(a, dtype=points.dtype, device=points.device) for a in (tube.low, tube.high))
            distance = torch.maximum(low - points, points - high).amax(1)
            shelf, angle = distance.clone(), torch.zeros_like(distance)
            for chosen in (distance < REACH_MM).nonzero()[:, 0].split(65536):
                distance[chosen], place, x, y = tube.evaluate(points[chosen])
                place = place + numbers[0]
                inner = lamina_distances(self.cochlea, self.parameters.cochlea.lamina_thickness_mm, place, x, y)
                shelf[chosen] = torch.maximum(inner, distance[chosen])
                angle[chosen] = all_angles[place.long()]
            distances.append(distance)
            angles.append(angle)
            lamina = shelf if lamina is None else torch.minimum(lamina, shelf)
        return part_turns(torch.stack(distances), torch.stack(angles), self.parameters.cochlea.partition_turns), lamina

    def _modiolus(self, points: torch.Tensor) -> torch.Tensor:
        cochlea, scale = self.cochlea, self.parameters.size * self.parameters.cochlea.scale
        offset = points - torch.as_tensor(cochlea.axis_origin, dtype=points.dtype, device=points.device)
        axis = torch.as_tensor(cochlea.axis, dtype=points.dtype, device=points.device)
        height = offset @ axis
        radial = (offset - height[:, None] * axis).norm(dim=1)
        # A cone from 1.9 mm at the base to 0.3 mm below the cupula.
        slope = 1.6 / 3.0
        cone = (radial - scale * (0.3 - slope * (height / scale + 0.2))) / np.sqrt(1 + slope**2)
        return torch.maximum(cone, torch.maximum(height + 0.2 * scale, -3.2 * scale - height))


def warp(parameters: LabyrinthParameters) -> Callable[[np.ndarray], np.ndarray]:
    """The smooth displacement of a labyrinth: maps points (n, 3) mm to where it moves them."""
    waves = np.asarray(parameters.warp, float).reshape(-1, 7)

    def displace(points: np.ndarray) -> np.ndarray:
        return points + np.sin(points @ waves[:, 3:6].T + waves[:, 6]) @ waves[:, :3]

    return displace


def _nowhere(points: torch.Tensor) -> torch.Tensor:
    """The distance (n,) to what is not there."""
    return torch.full_like(points[:, 0], FAR_MM)


def _blended(solids: Sequence[Tube | Ellipsoid], points: torch.Tensor, blend_mm: float) -> torch.Tensor:
    if not solids:
        return _nowhere(points)
    total = distances_near(solids[0], points, REACH_MM)
    for solid in solids[1:]:
        total = smooth_minimum(total, distances_near(solid, points, REACH_MM), blend_mm)
    return total


def _tile(union: torch.Tensor, own: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """The share of the union that is nearer to one part than to the others; the border halves the gap."""
    return torch.maximum(union, (own - others) / 2)


def _aqueduct(knots: np.ndarray, radius_mm: float, widening: float) -> Tube:
    centres = _smooth_course(knots)
    profile = np.zeros((len(centres), 5))
    profile[:, 0] = radius_mm * np.linspace(1, widening, len(centres))
    return Tube(Curve(centres, np.tile([0.3, 0.2, 1.0], (len(centres), 1)), profile), "round", "round")


def _smooth_course(knots: np.ndarray) -> np.ndarray:
    length = np.r_[0.0, np.cumsum(np.linalg.norm(np.diff(knots, axis=0), axis=1))]
    return CubicSpline(length, knots)(np.linspace(0, length[-1], int(length[-1] / 0.2) + 2))
