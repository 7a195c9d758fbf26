"""Two families of solids that the labyrinth is made of, as signed distances: tubes along a curve, and ellipsoids.

Distances are first order exact at the surface (unit gradient there, which partial volume needs) and only roughly metric
away from it. Negative inside.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

FAR_MM = 8.0
"""Distance reported where a solid was not evaluated because the point is far from it; a lower bound."""

_CHUNK = 65536
_NEAREST_AT_ONCE = {"cpu": 4096}
"""Points whose nearest sample is looked for in one piece: few enough that their distances stay in the cache."""


@dataclass(frozen=True)
class Curve:
    """A sampled space curve that carries a cross-section.

    Attributes:
        centres: (n, 3) mm, at most about 0.25 mm apart.
        reference: (n, 3) direction of the section's first axis; made perpendicular to the curve where it is used.
        profile: (n, 5) mean radius in mm, then the share of it that varies as cos 2φ, sin 2φ, cos 3φ, sin 3φ, with φ
            counted from the reference towards tangent × reference.
    """

    centres: np.ndarray
    reference: np.ndarray
    profile: np.ndarray

    def frames(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Tangents, first and second section axes, each (n, 3), orthonormal."""
        tangent = unit(np.gradient(self.centres, axis=0))
        first = unit(self.reference - (self.reference * tangent).sum(1, keepdims=True) * tangent)
        return tangent, first, np.cross(tangent, first)

    def wall(self, angle: float | np.ndarray) -> np.ndarray:
        """Points of the wall at the section angle φ (radians, scalar or (n,)), (n, 3) mm."""
        _, first, second = self.frames()
        angle = np.broadcast_to(np.asarray(angle, float), len(self.centres))
        radius = radius_at(self.profile, angle)
        return self.centres + radius[:, None] * (np.cos(angle)[:, None] * first + np.sin(angle)[:, None] * second)


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors of length 1 along the last axis."""
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def radius_at(profile: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Radius of a section at the angle φ: profile (n, 5), angle (n,) radians, result (n,) mm."""
    waves = np.stack([np.cos(2 * angle), np.sin(2 * angle), np.cos(3 * angle), np.sin(3 * angle)], 1)
    return profile[:, 0] * (1 + (profile[:, 1:] * waves).sum(1))


def elliptical_profile(long_mm: np.ndarray, short_mm: np.ndarray, tilt: np.ndarray) -> np.ndarray:
    """The profile (n, 5) nearest to an ellipse of the given semi-axes, the long one at the section angle `tilt`."""
    mean = (long_mm + short_mm) / 2
    share = (long_mm - short_mm) / (long_mm + short_mm)
    zero = np.zeros_like(mean)
    return np.stack([mean, share * np.cos(2 * tilt), share * np.sin(2 * tilt), zero, zero], 1)


class Tube:
    """A solid round a curve.

    Args:
        curve: the centreline and its sections.
        start, end: how it closes: "flat" on the end's section plane, "round" by a half sphere, "open" where another
            tube goes on (no wall there; points beyond belong to that one).
    """

    def __init__(self, curve: Curve, start: str, end: str) -> None:
        tangent, first, second = curve.frames()
        slope = np.gradient(curve.profile[:, 0]) / np.linalg.norm(np.gradient(curve.centres, axis=0), axis=1)
        table = np.concatenate([curve.centres, first, second, curve.profile, slope[:, None]], 1)
        self._table = torch.as_tensor(table, dtype=torch.float32)
        self._ends = (start, end)
        self._first_tangent = torch.as_tensor(tangent[0], dtype=torch.float32)
        self._last_tangent = torch.as_tensor(tangent[-1], dtype=torch.float32)
        reach = curve.profile[:, 0].max() * 1.4
        self.low = curve.centres.min(0) - reach
        self.high = curve.centres.max(0) + reach

    def section_coordinates(self, points: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Where points lie in the section that they are nearest to.

        Args:
            points: (n, 3) mm.

        Returns:
            Sample number along the curve (n,) (fractional), the two section coordinates (n,) in mm, the signed distance
            beyond the nearer end (n,) in mm (negative between the ends), and the section's table row (n, 15).
        """
        table = self._table.to(points)
        centres = table[:, :3]
        at_once = _NEAREST_AT_ONCE.get(points.device.type, len(points))
        nearest = torch.cat([torch.cdist(piece, centres).argmin(1) for piece in points.split(max(at_once, 1))])
        best = None
        for lower in ((nearest - 1).clamp(min=0), nearest.clamp(max=len(table) - 2)):
            a, b = centres[lower], centres[lower + 1]
            along = b - a
            share = (((points - a) * along).sum(1) / (along * along).sum(1)).clamp(0, 1)
            gap = ((points - a - share[:, None] * along) ** 2).sum(1)
            if best is None:
                best = gap, lower, share
            else:
                closer = gap < best[0]
                best = (
                    torch.where(closer, gap, best[0]),
                    torch.where(closer, lower, best[1]),
                    torch.where(closer, share, best[2]),
                )
        _, lower, share = best
        row = torch.lerp(table[lower], table[lower + 1], share[:, None])
        offset = points - row[:, :3]
        x = (offset * row[:, 3:6]).sum(1)
        y = (offset * row[:, 6:9]).sum(1)
        place = lower + share
        before = -((points - centres[0]) @ self._first_tangent.to(points))
        after = (points - centres[-1]) @ self._last_tangent.to(points)
        beyond = torch.where(place < 1, before, torch.where(place > len(table) - 2, after, torch.full_like(x, -FAR_MM)))
        return place, x, y, beyond, row

    def distances(self, points: torch.Tensor) -> torch.Tensor:
        """Signed distances (n,) mm of points (n, 3)."""
        return self.evaluate(points)[0]

    def evaluate(self, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Signed distances, and the sample number and section coordinates of the points, each (n,)."""
        place, x, y, beyond, row = self.section_coordinates(points)
        start, end = self._ends
        at_start = place < len(self._table) / 2
        rounded = at_start if start == "round" else torch.zeros_like(at_start)
        rounded = rounded | (~at_start if end == "round" else torch.zeros_like(at_start))
        radial = torch.sqrt(x * x + y * y + 1e-8)
        cosine, sine = x / radial, y / radial
        cosine2, sine2 = cosine * cosine - sine * sine, 2 * cosine * sine
        cosine3, sine3 = cosine2 * cosine - sine2 * sine, sine2 * cosine + cosine2 * sine
        mean, c2, s2, c3, s3, slope = row[:, 9:15].unbind(1)
        radius = mean * (1 + c2 * cosine2 + s2 * sine2 + c3 * cosine3 + s3 * sine3)
        bend = mean * (2 * (s2 * cosine2 - c2 * sine2) + 3 * (s3 * cosine3 - c3 * sine3))
        past = beyond.clamp(min=0)
        reach = torch.where(rounded, torch.sqrt(radial**2 + past**2), radial)
        bend = bend / torch.maximum(radial, 0.6 * radius)
        distance = (reach - radius) / torch.sqrt(1 + bend**2 + slope**2)
        flat = (at_start & (start == "flat")) | (~at_start & (end == "flat"))
        distance = torch.where(flat, torch.maximum(distance, beyond), distance)
        open_end = (at_start & (start == "open")) | (~at_start & (end == "open"))
        return torch.where(open_end & (beyond > 0), distance.clamp(min=0) + beyond, distance), place, x, y


class Ellipsoid:
    """An ellipsoid of any orientation.

    Args:
        centre: (3,) mm.
        semi_axes: (3,) mm.
        axes: (3, 3) rows are the directions of the semi-axes; orthonormal.
    """

    def __init__(self, centre: np.ndarray, semi_axes: np.ndarray, axes: np.ndarray) -> None:
        self.centre, self.semi_axes, self.axes = np.asarray(centre), np.asarray(semi_axes), np.asarray(axes)
        half = np.sqrt(((self.axes * self.semi_axes[:, None]) ** 2).sum(0))
        self.low, self.high = self.centre - half, self.centre + half
        self._tensors = [torch.as_tensor(a, dtype=torch.float32) for a in (self.centre, self.semi_axes, self.axes)]

    def distances(self, points: torch.Tensor) -> torch.Tensor:
        """Signed distances (n,) mm of points (n, 3), first order exact at the surface."""
        centre, semi_axes, axes = (tensor.to(points) for tensor in self._tensors)
        scaled = ((points - centre) @ axes.T) / semi_axes
        level = scaled.norm(dim=1)
        slope = (scaled / semi_axes).norm(dim=1)
        return torch.where(level < 1e-3, -semi_axes.min(), level * (level - 1) / slope.clamp(min=1e-6))


def distances_near(solid: Tube | Ellipsoid, points: torch.Tensor, margin_mm: float) -> torch.Tensor:
    """Signed distances (n,) mm to one solid; outside its box grown by the margin only the distance to the box."""
    low, high = (torch.as_tensor(a, dtype=points.dtype, device=points.device) for a in (solid.low, solid.high))
    result = torch.maximum(low - points, points - high).amax(1)
    for chosen in (result < margin_mm).nonzero()[:, 0].split(_CHUNK):
        result[chosen] = solid.distances(points[chosen])
    return result


def smooth_minimum(first: torch.Tensor, second: torch.Tensor, blend_mm: float) -> torch.Tensor:
    """Minimum of two distance fields (n,), rounded where they differ by less than blend_mm (quadratic polynomial)."""
    overlap = (blend_mm - (first - second).abs()).clamp(min=0) / blend_mm
    return torch.minimum(first, second) - overlap * overlap * (blend_mm / 4)
