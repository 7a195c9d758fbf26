"""What the route yields: one EarResult per ear, and the ScanResult that holds them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from InnerEarAILib.volume import Grid, Volume

Side = Literal["left", "right"]


@dataclass(frozen=True)
class LandmarkResult:
    """One landmark of one ear.

    Attributes:
        name: one of landmarks.LANDMARK_NAMES.
        position_lps: (3,) LPS mm; None where it was not found.
        confidence: 0 (do not trust) to 1.
        scatter_mm: median distance of the TTA views' own peaks from it; None with a single view.
    """

    name: str
    position_lps: np.ndarray | None
    confidence: float
    scatter_mm: float | None = None


@dataclass(frozen=True)
class Quality:
    """How far the result can be trusted.

    Attributes:
        volume_mm3: volume of the segmented labyrinth, on the fine grid whatever the output grid.
        distances_mm: distances between landmarks, keys such as "helicotrema–oval window"; only of found ones.
        mean_standard_deviation: standard deviation over the TTA views, mean over the voxels of the region round the
            ear (the paper's out-of-distribution signal), where what lies outside the scan counts as sure; None with a
            single view.
        flags: one sentence for each thing that is unusual; empty where nothing is.
        closed_canals: semicircular canals that are drawn without a gap, 0 to 3; None where nobody counted.
    """

    volume_mm3: float
    distances_mm: Mapping[str, float]
    mean_standard_deviation: float | None
    flags: tuple[str, ...] = ()
    closed_canals: int | None = None


@dataclass(frozen=True)
class EarResult:
    """The labyrinth of one ear.

    Attributes:
        side: told by chirality; where that is undecided by the place beside the other ear, or as the user asked.
        segmentation: uint8, 1 labyrinth, 0 not; on a fine lattice along the patient's axes that all ears share, or on a
            part of the scan's own grid.
        landmarks: in the order of LANDMARK_NAMES.
        uncertainty: float32, standard deviation of each voxel's label, 0 (sure) to 0.5 (a toss-up), in the region
            round the ear (inference.uncertainty); None where no labyrinth was asked of the network.
        view_deviation: float32, the part of it that the paper shows: standard deviation of the labyrinth's probability
            over the TTA views, 0 to 0.5, on the same grid; None with a single view.
        quality: plausibility figures and flags.
    """

    side: Side
    segmentation: Volume
    landmarks: tuple[LandmarkResult, ...]
    uncertainty: Volume | None
    view_deviation: Volume | None
    quality: Quality


@dataclass(frozen=True)
class ScanResult:
    """All ears of a scan, and how they came about.

    Attributes:
        name: the scan's name.
        grid: the scan's own grid.
        ears: at most one per side, right before left; empty where no inner ear was found.
        provenance: flat, JSON-able: model name, version, SHA-256, library version, preset, views, device, torch
            version, seconds per step ("seconds.reading" …).
        notes: sentences about what happened on the way (fallbacks, ignored regions).
    """

    name: str
    grid: Grid
    ears: tuple[EarResult, ...]
    provenance: Mapping[str, str | float | int | bool]
    notes: tuple[str, ...] = field(default=())
