"""The vestibule: ellipsoids for its cavity and recesses, and the pocket of the scala tympani below it."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from InnerEarAILib.phantom.labyrinth_malformations import Part
from InnerEarAILib.phantom.labyrinth_parameters import LabyrinthParameters
from InnerEarAILib.phantom.labyrinth_shapes import Ellipsoid, unit

RECESSES = {
    "cavity": ((-0.18, 0.18, 0.23), (1.61, 2.90, 1.83), (-0.40, -0.41, -0.30)),
    "elliptical recess": ((0.36, 1.79, 0.37), (1.45, 1.64, 1.33), (0.63, 0.14, 0.01)),
    "ampullary recess": ((-1.17, -1.05, 1.13), (2.05, 1.57, 1.14), (-0.19, 0.14, 0.11)),
    "spherical recess": ((0.48, -0.92, -0.56), (1.41, 1.73, 1.49), (0.12, 0.21, -0.54)),
    "cochlear recess": ((0.15, 0.20, -1.47), (1.12, 1.55, 1.44), (0.21, 0.52, 0.08)),
}
"""Centre and semi-axes in mm and rotation vector in radians of the ellipsoids of the mean vestibule."""

TYMPANIC_POCKET = ((0.40, -1.08, -2.90), (0.76, 1.05, 1.14), (-0.04, -0.02, 0.17))
"""The blind end of the scala tympani, which the round window closes; it is part of the cochlea."""


def build_vestibule(parameters: LabyrinthParameters, displace) -> list[Ellipsoid]:
    """The ellipsoids of the vestibule in the order of RECESSES."""
    scale = np.asarray(parameters.vestibule_scale)
    return [
        _ellipsoid(recess, scale, bulge, parameters.size, displace)
        for recess, bulge in zip(RECESSES.values(), parameters.vestibule_bulge, strict=True)
    ]


def build_cavities(parameters: LabyrinthParameters, part: Part, displace) -> list[Ellipsoid]:
    """The cavities of a malformed labyrinth that belong to a part."""
    return [
        Ellipsoid(
            displace(parameters.size * np.array([cavity.centre_mm]))[0],
            parameters.size * np.array(cavity.semi_axes_mm),
            _axes_along(np.array(cavity.long_axis)),
        )
        for cavity in parameters.malformation.cavities
        if cavity.part == part
    ]


def _axes_along(direction: np.ndarray) -> np.ndarray:
    """Orthonormal rows, the first along a direction, the third as nearly upright as can be."""
    first = unit(direction)
    third = unit(np.array([0.0, 0.0, 1.0]) - first[2] * first)
    return np.stack([first, np.cross(third, first), third])


def build_tympanic_pocket(parameters: LabyrinthParameters, displace) -> Ellipsoid:
    """The blind end of the scala tympani."""
    cochlea = parameters.cochlea
    centre, semi_axes, turn = TYMPANIC_POCKET
    moved = tuple(np.asarray(centre) + 0.7 * np.asarray(cochlea.offset_mm))
    return _ellipsoid((moved, semi_axes, turn), np.ones(3), cochlea.lumen_scale, parameters.size, displace)


def _ellipsoid(recess, scale: np.ndarray, bulge: float, size: float, displace) -> Ellipsoid:
    centre, semi_axes, turn = recess
    axes = Rotation.from_rotvec(turn).as_matrix().T
    # The part's widths along x, y, z act on a semi-axis by how much it points that way.
    stretch = np.sqrt(((axes * scale) ** 2).sum(1)) * bulge * size
    return Ellipsoid(displace(size * (np.asarray(centre) * scale)[None])[0], np.asarray(semi_axes) * stretch, axes)
