"""Face, skull base and neck of the head, roughly: what a whole-head scan shows beside the ears.

Positions are mm in the frame of the head (midsagittal plane x = 0, vestibules at y = z = 0), drawn on one side
and alike on the other; proportions of an adult head, from anatomy books.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from InnerEarAILib.phantom.canvas import Body, Canvas
from InnerEarAILib.phantom.neighbours_shapes import Ellipsoid, Tube
from InnerEarAILib.phantom.texture import cell_lattice, sample_lattice
from InnerEarAILib.phantom.tissue import TissueParameters

CELL_PERIOD_MM = 34.0
"""Scale of the ethmoid cells."""

WALL_MM = 1.3
"""Bony walls of orbit and sinuses."""


@dataclass(frozen=True)
class Hollow:
    """A cavity with a bony wall, and what fills it: "air" or "fat"."""

    body: Ellipsoid
    wall: float
    filling: str


class Face:
    """The bodies of the face, skull base and neck.

    Args:
        size: of the head against the mean.
        sinus_radius: of the maxillary sinuses, mm.
    """

    def __init__(self, size: float, sinus_radius: float) -> None:
        self._marrow_bones = [
            _ball(size, (0, -24, -9), (16, 20, 12)),
            _tube(size, [(0, -10, -2), (0, 8, -30)], [9, 7]),
            _tube(size, [(13, 16, -33), (17, 26, -37)], [7, 7]),
            _tube(size, [(0, 16, -44), (0, 20, -130)], [9, 10]),
            _tube(size, [(21, 22, -44), (23, 25, -52)], [8, 8]),
            _tube(size, [(0, 54, -46), (16, 46, -46), (23, 28, -46)], [4, 3.5, 4]),
            _tube(size, [(54, -15, -46), (50, -30, -72), (25, -74, -76), (0, -82, -75)], [5, 7, 7, 8]),
            _tube(size, [(60, -10, -13), (66, -34, -17), (50, -62, -17), (38, -70, -14)], [3.5, 3, 5, 6]),
        ]
        self._hollows = [
            Hollow(_ball(size, (31, -66, 12), (20, 22, 18)), WALL_MM, "fat"),
            Hollow(
                _ball(1.0, (27 * size, -58 * size, -22 * size), tuple(sinus_radius * np.array([1.0, 1.2, 1.2]))),
                WALL_MM,
                "air",
            ),
            Hollow(_ball(size, (7, -58, -18), (6, 26, 19)), WALL_MM, "air"),
            Hollow(_ball(size, (7, -31, -9), (6, 10, 8)), 0.5, "air"),
        ]
        self._globe = _ball(size, (32, -72, 12), (12, 12, 12))
        self._ethmoid = _ball(size, (8, -60, 9), (8, 20, 9))
        self._teeth = [
            _tube(size, [(25, -46, height), (20, -62, height), (8, -74, height), (0, -77, height)], [4.5, 4, 3.2, 3.2])
            for height in (-46, -58)
        ]
        self._airway = [
            _ball(size, (0, -30, -36), (9, 8, 18)),
            _tube(size, [(0, -24, -52), (0, -18, -130)], [7, 8]),
        ]
        self._canal = _tube(size, [(0, 30, -22), (0, 36, -48), (0, 38, -130)], [16, 12, 10])
        self._cord = _tube(size, [(0, 30, -10), (0, 36, -48), (0, 38, -130)], [7, 6, 6])
        self._ear_shell = _ball(size, (74, 8, -2), (3.5, 14, 26))

    def paint(self, canvas: Canvas, tissue: TissueParameters, noise: Tensor) -> None:
        """Paints on a canvas whose points are (|x|, y, z) in the frame of the head; noise is (3, n) of SD 1."""
        bone = tissue.cortex + tissue.compact_variation * noise[0]
        marrow = 0.8 * tissue.trabecula + 0.6 * tissue.trabecular_variation * noise[1]
        canvas.paint_body(self._ear_shell, tissue.cartilage)
        for body in self._marrow_bones:
            canvas.paint_body(body, bone)
            _paint_within(canvas, body, 1.6, marrow)
        for hollow in self._hollows:
            _paint_within(canvas, hollow.body, -hollow.wall, bone)
            canvas.paint_body(hollow.body, getattr(tissue, hollow.filling))
        canvas.paint_body(self._globe, tissue.cerebrospinal)
        self._paint_septum(canvas, tissue)
        self._paint_ethmoid(canvas, tissue)
        for arch in self._teeth:
            self._paint_teeth(canvas, arch, tissue)
        for body in self._airway:
            canvas.paint_body(body, tissue.air)
        canvas.paint_body(self._canal, tissue.cerebrospinal)
        canvas.paint_body(self._cord, tissue.brain)

    def _paint_septum(self, canvas: Canvas, tissue: TissueParameters) -> None:
        nose = self._hollows[2].body
        index, distance = canvas.reached(nose, canvas.edge_mm)
        if len(index):
            plate = canvas.plate_coverage(canvas.points[index, 0] - 0.3, 0.9)
            canvas.paint(index, plate * canvas.coverage(distance), 0.35 * tissue.cortex)

    def _paint_ethmoid(self, canvas: Canvas, tissue: TissueParameters) -> None:
        index, distance = canvas.reached(self._ethmoid, canvas.edge_mm)
        if len(index):
            points = canvas.points[index]
            inside = canvas.coverage(distance)
            to_wall = sample_lattice(cell_lattice(3, points.device), points, CELL_PERIOD_MM)[0] * CELL_PERIOD_MM
            air = 1 - canvas.plate_coverage(to_wall, 0.35)
            canvas.paint(index, inside, 0.6 * tissue.cortex + air * (tissue.air - 0.6 * tissue.cortex))

    @staticmethod
    def _paint_teeth(canvas: Canvas, arch: Tube, tissue: TissueParameters) -> None:
        low, high = arch.box(canvas.edge_mm)
        taller = np.array([0.0, 0.0, 4.0])
        index = canvas.within((low - taller, high + taller))
        if len(index):
            points = canvas.points[index].clone()
            middle = float(arch.nodes[0, 2])
            points[:, 2] = middle + (points[:, 2] - middle) * 0.55
            gaps = 0.6 * torch.cos(points[:, 1] * 0.9 + points[:, 0] * 0.75).clamp_min(0) ** 8
            canvas.paint(index, canvas.coverage(arch.distance(points) + 2.5 * gaps), tissue.tooth)


def _paint_within(canvas: Canvas, body: Body, depth_mm: float, value: Tensor) -> None:
    """Paints what lies deeper than a depth in a body; a negative depth reaches beyond it."""
    index, distance = canvas.reached(body, canvas.edge_mm + max(0.0, -depth_mm))
    if len(index):
        canvas.paint(index, canvas.coverage(distance + depth_mm), value[index])


def _ball(size: float, centre: tuple[float, ...], radii: tuple[float, ...]) -> Ellipsoid:
    return Ellipsoid(size * np.array(centre, float), size * np.array(radii, float))


def _tube(size: float, nodes: list[tuple[float, float, float]], radii: list[float]) -> Tube:
    return Tube.of(size * np.array(nodes, float), size * np.array(radii, float)).smoothed(1 if len(nodes) > 2 else 0)
