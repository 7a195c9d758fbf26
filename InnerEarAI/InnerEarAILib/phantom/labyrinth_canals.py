"""The three semicircular canals with their ampullae and the common crus, as tubes that open into the vestibule."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import CubicSpline, PchipInterpolator
from scipy.spatial.transform import Rotation

from InnerEarAILib.phantom.labyrinth_parameters import CanalParameters
from InnerEarAILib.phantom.labyrinth_shapes import Curve, elliptical_profile, unit

SAMPLE_MM = 0.2


@dataclass(frozen=True)
class CanalMorphometry:
    """The mean course of a canal in polar coordinates of its plane.

    Attributes:
        centre: (3,) mm.
        normal: (3,) of the plane, unit.
        first: (3,) direction of the angle 0, in the plane; the angle grows towards normal × first.
        angle_deg: of the knots, from the ampulla or crus at one end to the other.
        radius_mm, height_mm: distance from the centre and from the plane at the knots.
        long_mm, short_mm: semi-axes of the lumen, mostly in and across the plane.
        start_mm, end_mm: points (m, 3) through which the course leaves the vestibule and comes back.
        start_width_mm, end_width_mm: radius of the lumen at those points.
    """

    centre: np.ndarray
    normal: np.ndarray
    first: np.ndarray
    angle_deg: np.ndarray
    radius_mm: np.ndarray
    height_mm: np.ndarray
    long_mm: np.ndarray
    short_mm: np.ndarray
    start_mm: np.ndarray
    end_mm: np.ndarray
    start_width_mm: np.ndarray
    end_width_mm: np.ndarray


def _morphometry(centre, normal, first, knots, start, end) -> CanalMorphometry:
    normal = unit(np.array(normal))
    first = np.array(first) - (np.array(first) @ normal) * normal
    start, end = np.array(start, float).reshape(-1, 4), np.array(end, float).reshape(-1, 4)
    columns = np.array(knots, float).T
    return CanalMorphometry(
        np.array(centre), normal, unit(first), *columns, start[:, :3], end[:, :3], start[:, 3], end[:, 3]
    )


MEAN_CANALS = {
    # angle, radius, height above the plane, semi-axes in and across the plane
    "anterior": _morphometry(
        (-1.00, 0.65, 4.63),
        (0.766, -0.619, 0.173),
        (0, 0, 1),
        [
            (-75, 3.43, -0.11, 0.63, 0.53),
            (-45, 3.19, 0.22, 0.54, 0.44),
            (-15, 3.14, 0.25, 0.48, 0.45),
            (15, 3.18, 0.06, 0.49, 0.45),
            (45, 3.28, -0.18, 0.56, 0.51),
            (75, 3.29, -0.27, 0.61, 0.54),
            (95, 3.30, -0.17, 0.76, 0.55),
            (112, 3.20, 0.10, 0.98, 0.75),
        ],
        [(0.68, 2.70, 1.60, 0.70), (0.72, 3.35, 2.60, 0.66), (0.82, 3.72, 3.75, 0.62)],
        [(-1.65, -1.35, 2.35, 1.05), (-1.2, -0.9, 1.5, 0.95)],
    ),
    "posterior": _morphometry(
        (-1.13, 5.14, 0.49),
        (0.628, 0.766, -0.138),
        (-1, 0, 0),
        [
            (-122, 3.50, -0.20, 0.98, 0.78),
            (-105, 3.31, -0.08, 0.81, 0.53),
            (-80, 2.93, 0.10, 0.64, 0.47),
            (-60, 2.95, 0.22, 0.65, 0.48),
            (-30, 3.26, 0.23, 0.71, 0.50),
            (0, 3.49, -0.09, 0.69, 0.50),
            (30, 3.55, -0.20, 0.66, 0.45),
            (60, 3.46, -0.08, 0.66, 0.43),
            (90, 3.20, 0.13, 0.59, 0.46),
            (108, 3.22, 0.16, 0.61, 0.51),
        ],
        [(0.85, 2.05, -0.9, 0.75), (0.72, 2.75, -1.65, 0.88)],
        [(0.42, 4.38, 3.20, 0.60), (0.66, 3.45, 2.55, 0.66), (0.68, 2.70, 1.60, 0.70)],
    ),
    "lateral": _morphometry(
        (-3.32, 1.42, 1.00),
        (0.018, 0.132, 0.991),
        (-1, 0, 0),
        [
            (-122, 2.50, 0.06, 0.76, 0.67),
            (-100, 2.53, 0.12, 0.71, 0.54),
            (-75, 2.68, 0.05, 0.73, 0.46),
            (-45, 2.68, -0.06, 0.65, 0.46),
            (-15, 2.60, -0.14, 0.67, 0.47),
            (15, 2.50, -0.03, 0.73, 0.48),
            (35, 2.45, 0.10, 0.78, 0.49),
            (60, 2.46, 0.13, 0.96, 0.62),
            (85, 2.46, 0.02, 1.08, 0.75),
        ],
        [(-0.2, 2.55, 0.45, 0.85), (-1.1, 3.08, 0.58, 0.80)],
        [(-2.7, -0.98, 1.20, 0.95), (-1.8, -0.8, 1.0, 0.95)],
    ),
}
"""Mean courses; the courses of the anterior and the posterior canal share the common crus."""


@dataclass(frozen=True)
class Canal:
    """One canal of a labyrinth.

    Attributes:
        curve: its course, with both ends in the vestibule.
        normal: of its plane, (3,).
        radius_mm: mean distance of its arc from ampulla to crus from its centre, in the plane.
        slender: (n,) bool, the samples between ampulla and crus.
    """

    curve: Curve
    normal: np.ndarray
    radius_mm: float
    slender: np.ndarray


def build_canals(parameters: dict[str, CanalParameters], size: float, displace) -> dict[str, Canal]:
    """Lays out the canals.

    Args:
        parameters: by canal name.
        size: linear size of the labyrinth relative to the mean.
        displace: maps points (n, 3) mm to where the warp of the labyrinth moves them.
    """
    return {name: _build(MEAN_CANALS[name], one, size, displace) for name, one in parameters.items()}


def _build(mean: CanalMorphometry, parameters: CanalParameters, size: float, displace) -> Canal:
    second = np.cross(mean.normal, mean.first)
    tilt = np.radians(parameters.tilt_deg)
    rotation = Rotation.from_rotvec(tilt[0] * mean.first + tilt[1] * second)
    normal, first, second = (rotation.apply(a) for a in (mean.normal, mean.first, second))
    angle = np.radians(mean.angle_deg)
    radius = mean.radius_mm * parameters.radius_scale * (1 + parameters.ellipticity * np.cos(2 * angle))
    height = mean.height_mm * parameters.twist
    offset = np.asarray(parameters.offset_mm)
    centre = mean.centre + offset
    arc = centre + np.stack([np.cos(angle) * radius, np.sin(angle) * radius, height], 1) @ [first, second, normal]
    knots = displace(size * np.concatenate([mean.start_mm + 0.3 * offset, arc, mean.end_mm + 0.3 * offset]))

    length = np.r_[0.0, np.cumsum(np.linalg.norm(np.diff(knots, axis=0), axis=1))]
    samples = np.linspace(0, length[-1], int(np.ceil(length[-1] / SAMPLE_MM)) + 1)
    centres = CubicSpline(length, knots)(samples)
    lumen = size * parameters.lumen_scale
    slender_mm = np.sqrt(mean.long_mm * mean.short_mm).min()
    ends = [np.r_[mean.start_width_mm, table, mean.end_width_mm] for table in (mean.long_mm, mean.short_mm)]
    long, short = (
        PchipInterpolator(length, lumen * (slender_mm + (table - slender_mm) * parameters.ampulla_scale))(samples)
        for table in ends
    )
    reference = centres - displace(size * centre[None])[0]
    profile = elliptical_profile(long, short, np.zeros_like(long))
    first_arc, last_arc = length[len(mean.start_mm)], length[len(mean.start_mm) + len(angle) - 1]
    on_arc = (samples >= first_arc) & (samples <= last_arc)
    slender = on_arc & (profile[:, 0] < 1.5 * lumen * slender_mm)
    plane = displace(size * np.stack([centre, centre + 2 * first, centre + 2 * second]))
    normal = unit(np.cross(plane[1] - plane[0], plane[2] - plane[0]))
    offsets = centres[on_arc] - plane[0]
    offsets = offsets - (offsets @ normal)[:, None] * normal
    radius_mm = float(np.linalg.norm(offsets, axis=1).mean())
    return Canal(Curve(centres, reference, profile), normal, radius_mm, slender)
