"""The cochlea: a tube whose centreline is a rising logarithmic spiral about the modiolar axis, opened by a hook.

Angles count from the half plane of the round window (A value line) towards the apex. In a right ear seen from the apex
the cochlea turns counter-clockwise towards it: it is right-handed about the axis base -> apex.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from scipy.interpolate import CubicSpline, PchipInterpolator
from scipy.spatial.transform import Rotation

from InnerEarAILib.phantom.labyrinth_parameters import CochleaParameters
from InnerEarAILib.phantom.labyrinth_shapes import Curve, Tube, elliptical_profile, unit

MODIOLAR_AXIS = unit(np.array([-0.520, -0.823, -0.231]))
"""Direction base -> apex: mean over 48 surfaces, scatter between people 4° (axis of the best logarithmic spiral)."""

AXIS_ORIGIN_MM = np.array([2.55, -6.22, -2.26])
"""Point of the modiolar axis from which heights count; near the apex."""

ROUND_WINDOW_DIRECTION = unit(np.array([-0.716, 0.567, -0.407]))
"""From the axis to the round window, across the axis: zero of the spiral angle."""

HEIGHT_AT_ROUND_WINDOW_MM = -3.196
"""Height of the spiral's centreline, extrapolated to the round window."""

HOOK_DECAY_DEG = 27.0
"""The hook fades as exp(-(angle / HOOK_DECAY_DEG)^1.4)."""

HOOK_LIFT = 0.33
"""Rise of the hook towards the vestibule per mm of its outward swing."""

APICAL_WIDENING_MM = 0.18
"""The apical turn lies further out and higher than the logarithmic spiral of the turns below."""

VESTIBULE_END_MM = np.array([[0.05, -0.45, -1.55], [0.12, -0.90, -2.45]])
"""Where the centreline begins in the vestibule, and where it passes its floor."""

SECTION_DEG = np.array([-60, -20, 0, 20, 60, 120, 180, 260, 340, 400, 500, 600, 720, 810, 880, 936])
SECTION_LONG_MM = np.array(
    [0.96, 1.20, 1.31, 1.27, 1.11, 1.02, 1.04, 1.14, 0.99, 0.97, 0.98, 0.88, 0.75, 0.72, 0.63, 0.51]
)
SECTION_SHORT_MM = np.array(
    [0.86, 0.95, 1.09, 0.91, 0.77, 0.77, 0.91, 0.96, 0.78, 0.66, 0.68, 0.64, 0.55, 0.48, 0.41, 0.35]
)
SECTION_TILT_DEG = np.array([70, 75, 75, 48, 44, 61, 80, 114, 90, 78, 77, 84, 115, 145, 165, 175])
"""Semi-axes of the lumen along the spiral and the angle of the long one, from outwards to apexwards. The last angle
stands for the end of the spiral, whatever its number of turns."""

SEPTUM_MM = 0.15
"""Least bone between neighbouring turns; from memory of micro-CT."""

SAMPLE_MM = 0.15
TURN = 2 * np.pi


@dataclass(frozen=True)
class Cochlea:
    """The cochlea's centreline and what is measured along it.

    Attributes:
        curve: from within the vestibule to the apex.
        angles: (n,) radians, spiral angle of each sample; negative in the hook.
        axis_origin, axis: (3,) modiolar axis, base -> apex.
        lamina_edge: (n,) free edge of the osseous spiral lamina as a share of the lumen's radius, from -1 (inner wall,
            no lamina) to 0 (middle).
    """

    curve: Curve
    angles: np.ndarray
    axis_origin: np.ndarray
    axis: np.ndarray
    lamina_edge: np.ndarray


def build_cochlea(parameters: CochleaParameters, size: float, displace) -> Cochlea:
    """Lays out a cochlea.

    Args:
        parameters: see there.
        size: linear size of the labyrinth relative to the mean.
        displace: maps points (n, 3) mm to where the warp of the labyrinth moves them.
    """
    end = parameters.turns * TURN
    angles = np.radians(np.arange(8.0, np.degrees(end) + 0.1, 4.0))
    angles = np.r_[angles[angles < end - 0.03], end]
    hook = parameters.hook_mm * np.exp(-((np.degrees(angles) / HOOK_DECAY_DEG) ** 1.4))
    radius = parameters.spiral_radius_mm * np.exp(-parameters.spiral_decay * angles) + hook
    height = HEIGHT_AT_ROUND_WINDOW_MM + parameters.rise_mm * angles + HOOK_LIFT * hook
    apical = APICAL_WIDENING_MM * _smooth_step((np.degrees(angles) / np.degrees(end) * SECTION_DEG[-1] - 560) / 160)
    radius, height = radius + apical, height + 0.7 * apical
    rotation = _pose(parameters)
    axis, zero = rotation.apply(MODIOLAR_AXIS), rotation.apply(ROUND_WINDOW_DIRECTION)
    zero = unit(zero - (zero @ axis) * axis)
    across = np.cross(axis, zero)
    middle = AXIS_ORIGIN_MM + MODIOLAR_AXIS * (HEIGHT_AT_ROUND_WINDOW_MM / 2)
    origin = middle + np.asarray(parameters.offset_mm) - axis * (HEIGHT_AT_ROUND_WINDOW_MM / 2) * parameters.scale

    def place(angle: np.ndarray, radial: np.ndarray, high: np.ndarray) -> np.ndarray:
        outwards = np.cos(angle)[:, None] * zero + np.sin(angle)[:, None] * across
        return origin + parameters.scale * (radial[:, None] * outwards + high[:, None] * axis)

    spiral = place(angles, radius, height)
    knots = displace(size * np.concatenate([VESTIBULE_END_MM + 0.5 * np.asarray(parameters.offset_mm), spiral]))
    base = displace(size * (origin - 4 * axis)[None])[0]
    top = displace(size * (origin + axis)[None])[0]
    axis = unit(top - base)
    axis_origin = displace(size * origin[None])[0]
    return _along(knots, angles, parameters, size, axis_origin, axis)


def _pose(parameters: CochleaParameters) -> Rotation:
    first = ROUND_WINDOW_DIRECTION
    second = np.cross(MODIOLAR_AXIS, first)
    tilt = np.radians(parameters.axis_tilt_deg)
    return Rotation.from_rotvec(tilt[0] * first + tilt[1] * second) * Rotation.from_rotvec(
        np.radians(parameters.roll_deg) * MODIOLAR_AXIS
    )


def _along(knots, angles, parameters: CochleaParameters, size: float, axis_origin, axis) -> Cochlea:
    length = np.r_[0.0, np.cumsum(np.linalg.norm(np.diff(knots, axis=0), axis=1))]
    samples = np.linspace(0, length[-1], int(np.ceil(length[-1] / SAMPLE_MM)) + 1)
    centres = CubicSpline(length, knots)(samples)
    hook_length = length[2]
    angle_knots = np.r_[angles[0] - np.radians(60) * (hook_length - length[:2]) / hook_length, angles]
    angle = PchipInterpolator(length, angle_knots)(samples)
    offset = centres - axis_origin
    outwards = unit(offset - (offset @ axis)[:, None] * axis)

    end = parameters.turns * TURN
    where = np.degrees(np.where(angle > 0, angle / end * np.radians(SECTION_DEG[-1]), angle))
    long, short, tilt = (
        PchipInterpolator(SECTION_DEG, table)(where) for table in (SECTION_LONG_MM, SECTION_SHORT_MM, SECTION_TILT_DEG)
    )
    taper = 1 + (parameters.apical_taper - 1) * np.clip(angle / end, 0, 1)
    width = size * parameters.scale * parameters.lumen_scale * taper
    width = width * (1 + 0.25 * _step(angle / TURN, parameters.partition_turns, 0.1))
    curve = Curve(centres, outwards, elliptical_profile(long * width, short * width, _section_tilt(tilt)))

    grows = _step(angle, np.radians(5), np.radians(8)) * (1 - _step(angle, end - np.radians(60), np.radians(20)))
    grows = grows * (1 - _step(angle / TURN, parameters.partition_turns, 0.05))
    reach = np.interp(angle, [0, end], [0.75, 0.45])  # the lamina narrows from base to apex
    return Cochlea(curve, angle, axis_origin, axis, -1 + reach * grows)


def _section_tilt(tilt_deg: np.ndarray) -> np.ndarray:
    # Curve counts from the reference (outwards) towards tangent × reference, which for a right-handed spiral points
    # base-wards: tangent = axis × outwards, so tangent × outwards = -axis.
    return -np.radians(tilt_deg)


def _step(values: np.ndarray, at: float, width: float) -> np.ndarray:
    return np.clip((values - at) / width + 0.5, 0, 1)


def _smooth_step(share: np.ndarray) -> np.ndarray:
    share = np.clip(share, 0, 1)
    return share * share * (3 - 2 * share)


def cochlear_tubes(cochlea: Cochlea) -> list[tuple[Tube, np.ndarray]]:
    """The cochlea cut into overlapping pieces of less than a turn, within which the nearest sample is unambiguous.

    Returns:
        Tubes and the numbers of their samples along the curve.
    """
    angle = cochlea.angles
    cuts = [-TURN, *np.arange(0.55, angle[-1] / TURN - 0.3, 0.6) * TURN, 2 * angle[-1]]
    overlap = np.radians(12)
    pieces = []
    for number, (low, high) in enumerate(pairwise(cuts)):
        numbers = np.flatnonzero((angle >= low - overlap) & (angle <= high + overlap))
        curve = cochlea.curve
        piece = Curve(curve.centres[numbers], curve.reference[numbers], curve.profile[numbers])
        ends = ("flat" if number == 0 else "open", "round" if number == len(cuts) - 2 else "open")
        pieces.append((Tube(piece, *ends), numbers))
    return pieces


def part_turns(distances: torch.Tensor, angles: torch.Tensor, partition_turns: float) -> torch.Tensor:
    """Distance to the cochlear lumen out of the distances to its pieces, with a bony septum between the turns.

    Args:
        distances: (pieces, n) mm.
        angles: (pieces, n) radians, spiral angle of the place on each piece that a point is nearest to.
        partition_turns: turns beyond which there is no septum.

    Returns:
        (n,) mm. Where two turns would come closer than SEPTUM_MM, each ends half of that before their border.
    """
    nearest, number = distances.min(0)
    angle = angles.gather(0, number[None])
    another_turn = (angles - angle).abs() > TURN / 2
    parted = torch.maximum(angles, angle) < partition_turns * TURN
    others = torch.where(another_turn & parted, distances, torch.full_like(distances, torch.inf)).amin(0)
    return torch.maximum(nearest, (nearest - others + SEPTUM_MM) / 2)


def lamina_distances(
    cochlea: Cochlea, thickness_mm: float, place: torch.Tensor, x: torch.Tensor, y: torch.Tensor
) -> torch.Tensor:
    """Signed distance (n,) to the osseous spiral lamina, without the wall that it springs from.

    Args:
        cochlea: the cochlea.
        thickness_mm: of the shelf.
        place: (n,) fractional number of the sample along the curve.
        x, y: (n,) section coordinates in mm, x outwards.
    """
    radius = cochlea.curve.profile[:, 0]
    table = torch.as_tensor(np.stack([cochlea.lamina_edge * radius * 1.3, radius], 1), dtype=x.dtype, device=x.device)
    lower = place.long().clamp(0, len(table) - 2)
    edge, _ = torch.lerp(table[lower], table[lower + 1], (place - lower)[:, None]).unbind(1)
    return torch.maximum(y.abs() - thickness_mm / 2, x - edge)
