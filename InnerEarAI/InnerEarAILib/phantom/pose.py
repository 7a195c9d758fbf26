"""Where an anatomy lies in the scanner: a rotation, a mirror image for the other side, and a place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from scipy.spatial.transform import Rotation

from InnerEarAILib.ear_result import Side
from InnerEarAILib.phantom.anatomy import PhantomEar

OTHER_SIDE: Mapping[Side, Side] = {"right": "left", "left": "right"}


@dataclass(frozen=True)
class Pose:
    """Maps the anatomy's frame to the scanner's LPS millimetres: mirror and size, then rotation, then translation.

    Attributes:
        rotation: (3, 3) proper rotation.
        translation_lps: (3,) mm, where the anatomy's origin comes to lie.
        mirror: reflect x before anything else; turns a right ear into a left one and swaps the sides of a head.
        size: length of anything in the scan by its length in the anatomy's frame.
    """

    rotation: np.ndarray = field(default_factory=lambda: np.eye(3))
    translation_lps: np.ndarray = field(default_factory=lambda: np.zeros(3))
    mirror: bool = False
    size: float = 1.0

    def __post_init__(self) -> None:
        """Refuses what is no rotation, and no size."""
        rotation = np.asarray(self.rotation, float)
        if rotation.shape != (3, 3) or np.abs(rotation @ rotation.T - np.eye(3)).max() > 1e-6:
            raise ValueError("the rotation of a pose must be an orthonormal (3, 3) matrix")
        if np.linalg.det(rotation) < 0:
            raise ValueError("the rotation of a pose must not reflect; use mirror=True for the other side")
        if self.size <= 0:
            raise ValueError(f"the size of a pose must be positive, got {self.size}")
        object.__setattr__(self, "rotation", rotation)
        object.__setattr__(self, "translation_lps", np.asarray(self.translation_lps, float))

    @property
    def affine(self) -> np.ndarray:
        """(4, 4), maps the anatomy's frame to LPS."""
        affine = np.eye(4)
        affine[:3, :3] = self.size * self.rotation @ np.diag([-1.0 if self.mirror else 1.0, 1.0, 1.0])
        affine[:3, 3] = self.translation_lps
        return affine

    @property
    def inverse_affine(self) -> np.ndarray:
        """(4, 4), maps LPS to the anatomy's frame."""
        return np.linalg.inv(self.affine)

    def to_lps(self, points: np.ndarray) -> np.ndarray:
        """LPS positions (…, 3) of points of the anatomy's frame (…, 3), mm."""
        affine = self.affine
        return np.asarray(points, float) @ affine[:3, :3].T + affine[:3, 3]

    def side(self, ear: PhantomEar) -> Side:
        """The side that an ear of the anatomy has in the scan."""
        return OTHER_SIDE[ear.side] if self.mirror else ear.side

    def landmarks_lps(self, ear: PhantomEar) -> dict[str, np.ndarray]:
        """True landmarks of an ear in the scan, (3,) LPS mm by name."""
        return {name: self.to_lps(position) for name, position in ear.landmarks.items()}


def sample_pose(rng: np.random.Generator, mirror: bool, tilt_degrees: float = 12.0, place_mm: float = 40.0) -> Pose:
    """A patient on the table: head tilted a little about any axis, somewhere in the scanner.

    Args:
        rng: source of randomness.
        mirror: as in Pose.
        tilt_degrees: standard deviation of the rotation about each axis; 180 or more gives any orientation.
        place_mm: standard deviation of the place on each axis.
    """
    if tilt_degrees >= 180:
        rotation = Rotation.random(random_state=rng)
    else:
        rotation = Rotation.from_rotvec(np.radians(rng.normal(0.0, tilt_degrees, 3)))
    return Pose(rotation.as_matrix(), rng.normal(0.0, place_mm, 3), mirror)
