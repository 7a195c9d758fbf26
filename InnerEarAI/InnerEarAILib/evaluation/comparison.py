"""A result against the truth: every figure of one scan, on the truth's own fine lattice."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace

import numpy as np

from InnerEarAILib.ear_result import EarResult, ScanResult
from InnerEarAILib.evaluation.calibration import NO_VOXELS, Calibration, calibration_from, calibration_of, sum_of
from InnerEarAILib.evaluation.cases import EvaluationCase, TrueEar
from InnerEarAILib.evaluation.metrics import (
    NAN,
    SegmentationMetrics,
    landmark_errors_mm,
    mean_of_all,
    segmentation_metrics,
    voxel_metrics,
)
from InnerEarAILib.inference.quality import centre_of_mass
from InnerEarAILib.landmarks import LANDMARK_NAMES
from InnerEarAILib.preprocessing import resample
from InnerEarAILib.volume import Grid, Volume

FOUND_WITHIN_MM = 10.0
"""A found labyrinth whose centre lies farther from a true one's is another thing: labyrinths are about 20 mm long."""

COMPARED_MARGIN_MM = 1.0
"""Room round a labyrinth in which voxels are compared: what lies far off is background to any method."""

CALIBRATIONS = {"calibration": "uncertainty", "view_calibration": "view_deviation"}
"""Fields of CaseFigures, and the field of EarResult that each is of."""

VOXEL_SHARES = ("accuracy", "precision", "recall", "specificity", "roc_area")


@dataclass(frozen=True)
class EarFigures:
    """One true ear and what was found of it. Distances in mm; NaN where a figure does not exist.

    Attributes:
        side: the true side.
        found: whether a labyrinth was found there; the overlaps of one that was not are 0. A locator finds places
            alone: of its figures those of shape and landmarks are NaN.
        centre_mm: distance between the found and the true centre.
        side_right: whether the result names the true side; None where nothing was found, or no side is told.
        dice, iou, volumetric_similarity, hausdorff_mm, average_hausdorff_mm: see metrics.SegmentationMetrics.
        accuracy, precision, recall, specificity, roc_area: see metrics.VoxelMetrics. Accuracy and specificity are of
            the box round the true labyrinth, whatever was found; what was found beyond it counts as wrong.
        helicotrema_mm, oval_window_mm, round_window_mm: landmark errors.
        landmarks_mm: their mean.
        volume_mm3, true_volume_mm3: of the found and the true labyrinth.
        mean_standard_deviation: the out-of-distribution signal of the result.
        flags: sentences of the result about what is unusual.
        absent_landmarks: how many landmarks this ear does not have.
        invented_landmarks: how many of those the result gives a place.
    """

    side: str
    found: bool
    centre_mm: float
    side_right: bool | None
    dice: float
    iou: float
    volumetric_similarity: float
    hausdorff_mm: float
    average_hausdorff_mm: float
    accuracy: float
    precision: float
    recall: float
    specificity: float
    roc_area: float
    helicotrema_mm: float
    oval_window_mm: float
    round_window_mm: float
    landmarks_mm: float
    volume_mm3: float
    true_volume_mm3: float
    mean_standard_deviation: float
    flags: tuple[str, ...]
    absent_landmarks: int = 0
    invented_landmarks: int = 0


@dataclass(frozen=True)
class CaseFigures:
    """All figures of one scan.

    Attributes:
        name, group, original: of the case.
        patient: see cases.CaseRecipe.
        ears: one for each true ear.
        false_ears: labyrinths found where there is none.
        false_deviations: mean standard deviation of each of those.
        seconds: that the route took.
        calibration: wrong voxels by the stated uncertainty.
        view_calibration: the same by the standard deviation over the views alone.
        refusal: why the scan was refused; empty where it was not.
        deviation_without_ear: mean standard deviation of the network in the middle of a scan in which no ear was found,
            where there is none; NaN where it was not asked.
    """

    name: str
    group: str
    original: str
    ears: tuple[EarFigures, ...]
    false_ears: int
    false_deviations: tuple[float, ...]
    seconds: float
    calibration: Calibration = NO_VOXELS
    view_calibration: Calibration = NO_VOXELS
    refusal: str = ""
    deviation_without_ear: float = NAN
    patient: str = ""

    def to_dict(self) -> dict:
        """Plain values for JSON; NaN becomes None."""
        return _without_nan(asdict(self))

    @staticmethod
    def from_dict(values: dict) -> CaseFigures:
        """What `to_dict` gave.

        Raises:
            KeyError, TypeError: if it is something else.
        """
        ears = tuple(_ear_from(one) for one in values["ears"])
        deviations = tuple(NAN if value is None else value for value in values["false_deviations"])
        alone = values["deviation_without_ear"]
        told = {"ears": ears, "false_deviations": deviations}
        told |= {name: calibration_from(values[name]) for name in CALIBRATIONS}
        return CaseFigures(**{**values, **told, "deviation_without_ear": NAN if alone is None else alone})


def compare(case: EvaluationCase, result: ScanResult, seconds: float) -> CaseFigures:
    """The figures of a result.

    Args:
        case: the scan and its truth.
        result: what the route made of it.
        seconds: that it took.
    """
    left = list(result.ears)
    ears, calibrations = [], []
    for true_ear in case.ears:
        place, centre_mm = _nearest(true_ear, [centre_of_mass(ear.segmentation) for ear in left])
        found = None if place is None else left[place]
        left = [ear for ear in left if ear is not found]
        figures, of_ear = _compared(true_ear, found, centre_mm)
        ears.append(figures)
        calibrations.append(of_ear)
    deviations = [ear.quality.mean_standard_deviation for ear in left]
    return CaseFigures(
        name=case.name,
        group=case.group,
        original=case.original,
        ears=tuple(ears),
        false_ears=len(left),
        false_deviations=tuple(NAN if value is None else value for value in deviations),
        seconds=round(seconds, 2),
        **{name: sum_of(of_ear[name] for of_ear in calibrations) for name in CALIBRATIONS},
    )


def compare_ear(case: EvaluationCase, found: EarResult, draws_labyrinth: bool, seconds: float) -> CaseFigures:
    """The figures of a result that is known to be of the case's only ear, however far off.

    Args:
        case: the scan and its truth.
        found: the result; its mask may be empty.
        draws_labyrinth: whether the network can; if not, the figures of shape are NaN.
        seconds: that it took.
    """
    (true_ear,) = case.ears
    drawn = bool(found.segmentation.voxels.any())
    off = centre_of_mass(found.segmentation) - centre_of_mass(true_ear.labyrinth) if drawn else NAN
    figures, calibrations = _compared(true_ear, found, float(np.linalg.norm(off)))
    figures = replace(figures, found=drawn or not draws_labyrinth, side_right=None)
    if not draws_labyrinth:
        shape = (*SegmentationMetrics.__dataclass_fields__, *VOXEL_SHARES, "volume_mm3")
        figures = replace(figures, **dict.fromkeys(shape, NAN))
    return CaseFigures(case.name, case.group, case.original, (figures,), 0, (), round(seconds, 2), **calibrations)


def compare_places(case: EvaluationCase, centres_lps: Sequence[np.ndarray], seconds: float) -> CaseFigures:
    """The figures of a locator, which finds places alone.

    Args:
        case: the scan and its truth.
        centres_lps: (3,) LPS mm of every place where it sees a labyrinth.
        seconds: that it took.
    """
    left, ears = list(centres_lps), []
    for true_ear in case.ears:
        place, distance_mm = _nearest(true_ear, left)
        if place is not None:
            left.pop(place)
        nothing = {entry.name: NAN for entry in fields(EarFigures) if entry.type == "float"}
        told = {"side": true_ear.side, "found": place is not None, "side_right": None, "flags": ()}
        volume_mm3 = _true_volume_mm3(true_ear)
        ears.append(EarFigures(**{**nothing, **told, "centre_mm": distance_mm, "true_volume_mm3": volume_mm3}))
    deviations = (NAN,) * len(left)
    return CaseFigures(case.name, case.group, case.original, tuple(ears), len(left), deviations, round(seconds, 2))


def refused(case: EvaluationCase, sentence: str) -> CaseFigures:
    """The figures of a scan that the route refused: nothing was found."""
    ears = tuple(_compared(ear, None, NAN)[0] for ear in case.ears)
    return CaseFigures(case.name, case.group, case.original, ears, 0, (), 0.0, refusal=sentence)


def comparison_grid(true_ear: TrueEar, found: EarResult | None) -> Grid:
    """The truth's lattice, over the box of both labyrinths: what was found far off counts as wrong as well.

    Without a result, over the box of the true one alone.
    """
    lattice = true_ear.labyrinth.grid
    corners = [_marked_corners(true_ear.labyrinth)]
    if found is not None and found.segmentation.voxels.any():
        corners.append(_marked_corners(found.segmentation))
    indices = lattice.to_indices(np.concatenate(corners))
    margin = COMPARED_MARGIN_MM / lattice.spacing_mm
    first = np.floor(indices.min(0) - margin).astype(int)
    last = np.ceil(indices.max(0) + margin).astype(int)
    affine = lattice.affine_lps.copy()
    affine[:3, 3] = lattice.to_lps(first)
    return Grid(tuple(int(n) for n in (last - first + 1)[::-1]), affine)


def comparison_masks(true_ear: TrueEar, found: EarResult | None) -> tuple[Grid, np.ndarray, np.ndarray]:
    """The grid of `comparison_grid`, and on it what was found and the truth, both bool."""
    grid = comparison_grid(true_ear, found)
    truth = _mask_on(grid, true_ear.labyrinth)
    return grid, np.zeros_like(truth) if found is None else _mask_on(grid, found.segmentation), truth


def _nearest(true_ear: TrueEar, centres_lps: Sequence[np.ndarray]) -> tuple[int | None, float]:
    """Which place is nearest to the true ear's, and how far off; None and NaN where none is near enough."""
    centre = centre_of_mass(true_ear.labyrinth)
    near = [(float(np.linalg.norm(place - centre)), number) for number, place in enumerate(centres_lps)]
    near = [pair for pair in near if pair[0] <= FOUND_WITHIN_MM]
    return (min(near)[1], min(near)[0]) if near else (None, NAN)


def _true_volume_mm3(true_ear: TrueEar) -> float:
    return float(np.count_nonzero(true_ear.labyrinth.voxels) * true_ear.labyrinth.spacing_mm.prod())


def _compared(
    true_ear: TrueEar, found: EarResult | None, centre_mm: float
) -> tuple[EarFigures, dict[str, Calibration]]:
    grid, here, truth = comparison_masks(true_ear, found)
    overlap = segmentation_metrics(here, truth, grid.spacing_mm)
    # A box that grew with the errors would hold more that is right, and reward them.
    voxels = voxel_metrics(here, truth, math.prod(comparison_grid(true_ear, None).shape))
    positions = {} if found is None else {one.name: one.position_lps for one in found.landmarks}
    errors = landmark_errors_mm(positions, {name: true_ear.landmarks.get(name) for name in LANDMARK_NAMES})
    signal = None if found is None else found.quality.mean_standard_deviation
    figures = EarFigures(
        side=true_ear.side,
        found=found is not None,
        centre_mm=centre_mm,
        side_right=found.side == true_ear.side if found is not None and true_ear.side else None,
        **asdict(overlap),
        **{name: getattr(voxels, name) for name in VOXEL_SHARES},
        helicotrema_mm=errors["helicotrema"],
        oval_window_mm=errors["oval window"],
        round_window_mm=errors["round window"],
        landmarks_mm=mean_of_all(errors.values()),
        volume_mm3=0.0 if found is None else found.quality.volume_mm3,
        true_volume_mm3=_true_volume_mm3(true_ear),
        mean_standard_deviation=NAN if signal is None else signal,
        flags=() if found is None else tuple(found.quality.flags),
        absent_landmarks=len(true_ear.absent),
        invented_landmarks=sum(positions.get(name) is not None for name in true_ear.absent),
    )
    stated = {name: None if found is None else getattr(found, of) for name, of in CALIBRATIONS.items()}
    wrong = truth != here
    return figures, {
        name: NO_VOXELS if deviation is None else calibration_of(resample(deviation, grid), wrong)
        for name, deviation in stated.items()
    }


def _mask_on(grid: Grid, mask: Volume) -> np.ndarray:
    """The mask on another lattice; its surface is where cubic interpolation passes one half."""
    # NaN, where the mask has no voxels, is not ≥ 0.5 either.
    return resample(mask.with_voxels((mask.voxels > 0).astype(np.float32)), grid) >= 0.5


def _marked_corners(mask: Volume) -> np.ndarray:
    """The corners of the box of the marked voxels, (8, 3) LPS mm."""
    marked = np.argwhere(mask.voxels > 0)
    return mask.crop(marked.min(0), marked.max(0) + 1).grid.corners_lps()


def _ear_from(values: dict) -> EarFigures:
    numbers = {entry.name for entry in fields(EarFigures) if entry.type == "float"}
    told = {key: NAN if key in numbers and value is None else value for key, value in values.items()}
    return EarFigures(**{**told, "flags": tuple(values["flags"])})


def _without_nan(value):
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _without_nan(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(one) for one in value]
    return value
