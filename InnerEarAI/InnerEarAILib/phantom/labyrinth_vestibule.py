"""The vestibule: ellipsoids for its cavity and recesses, and the pocket of the scala tympani below it."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from InnerEarAILib.phantom.labyrinth_parameters import LabyrinthParameters
from InnerEarAILib.phantom.labyrinth_shapes import Ellipsoid

RECESSES = {
    "cavity": ((0.0, 0.0, -0.1), (1.75, 2.35, 1.95), (0.0, 0.0, 0.0)),
    "elliptical recess": ((0.5, 1.7, 0.5), (1.15, 1.5, 1.15), (0.0, 0.0, 0.0)),
    "ampullary recess": ((-1.3, -1.1, 1.2), (1.5, 1.35, 1.1), (0.0, 0.0, 0.0)),
    "spherical recess": ((0.8, -0.9, -0.4), (1.1, 1.3, 1.1), (0.0, 0.0, 0.0)),
    "cochlear recess": ((0.1, -0.4, -1.7), (1.1, 1.7, 1.0), (0.0, 0.0, 0.0)),
}
"""Centre and semi-axes in mm and rotation vector in radians of the ellipsoids of the mean vestibule."""

TYMPANIC_POCKET = ((0.3, -1.0, -3.2), (1.2, 1.3, 1.15), (0.0, 0.0, 0.0))
"""The blind end of the scala tympani, which the round window closes; it is part of the cochlea."""


def build_vestibule(parameters: LabyrinthParameters, displace) -> list[Ellipsoid]:
    """The ellipsoids of the vestibule in the order of RECESSES."""
    scale = np.asarray(parameters.vestibule_scale)
    return [
        _ellipsoid(recess, scale, bulge, parameters.size, displace)
        for recess, bulge in zip(RECESSES.values(), parameters.vestibule_bulge, strict=True)
    ]


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
