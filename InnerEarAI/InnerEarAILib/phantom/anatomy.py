"""What every anatomy of the phantom offers to the scanner: CT numbers and labels at any point, and its landmarks.

An anatomy lives in its own frame: millimetres, axes parallel to the patient's (LPS). A single ear is always a right ear
with the centre of its vestibule near the origin; the scanner poses, mirrors and samples it. A head has its ears at
their places, midsagittal plane x = 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch

from InnerEarAILib.ear_result import Side

NO_PART, COCHLEA, VESTIBULE, CANALS = range(4)
"""Values of the part label."""


@dataclass(frozen=True)
class Rendering:
    """An anatomy sampled at points.

    Attributes:
        hounsfield: (n,) float32, CT number of a voxel there: mean over its volume (partial volume at every interface).
        labyrinth: (n,) float32, share of the voxel that is labyrinth lumen, 0 to 1.
        part: (n,) uint8, NO_PART, COCHLEA, VESTIBULE or CANALS: the part that the voxel's centre is in.
    """

    hounsfield: torch.Tensor
    labyrinth: torch.Tensor
    part: torch.Tensor


@dataclass(frozen=True)
class PhantomEar:
    """One labyrinth of an anatomy: its side and its true landmarks.

    Attributes:
        side: anatomical side.
        landmarks: (3,) mm in the anatomy's frame by landmark name (landmarks.LANDMARK_NAMES).
        measures: exact figures by construction, such as "cochlear_duct_length_mm" and "a_value_mm"; empty where the
            anatomy was given from outside.
    """

    side: Side
    landmarks: Mapping[str, np.ndarray]
    measures: Mapping[str, float]


class Anatomy(Protocol):
    """A temporal bone, a head, or a given label map, ready to be scanned."""

    @property
    def ears(self) -> tuple[PhantomEar, ...]:
        """The labyrinths that it holds; none for a scan without an ear."""

    def render(self, points: torch.Tensor, edge_mm: float) -> Rendering:
        """Samples the anatomy.

        Args:
            points: (n, 3) float32 mm in the anatomy's frame, on the device that does the work.
            edge_mm: edge of the cubic voxel round each point, for partial volume.
        """


@runtime_checkable
class Labelling(Protocol):
    """An anatomy that can tell its truth without being painted, which is faster."""

    def label(self, points: torch.Tensor, edge_mm: float) -> tuple[torch.Tensor, torch.Tensor]:
        """`labyrinth` and `part` of the Rendering at the same arguments."""


def truth_at(anatomy: Anatomy, points: torch.Tensor, edge_mm: float) -> tuple[torch.Tensor, torch.Tensor]:
    """`labyrinth` and `part` of an anatomy at points; arguments as Anatomy.render."""
    if isinstance(anatomy, Labelling):
        return anatomy.label(points, edge_mm)
    drawn = anatomy.render(points, edge_mm)
    return drawn.labyrinth, drawn.part
