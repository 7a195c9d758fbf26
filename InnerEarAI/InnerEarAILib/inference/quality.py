"""Is the result plausible? Volume, distances, whole canals, and the paper's out-of-distribution signal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
from scipy import ndimage

from InnerEarAILib.ear_result import LandmarkResult, Quality
from InnerEarAILib.inference.topology import CANALS, closed_canals, large_parts
from InnerEarAILib.volume import Grid, Volume, marked_indices

TYPICAL_DISTANCES_MM: Mapping[str, tuple[float, float]] = {
    "helicotrema–oval window": (6.72, 0.55),
    "helicotrema–round window": (7.06, 0.55),
    "oval window–round window": (2.93, 0.22),
}
"""Mean and SD over the 94 annotated ears of the data sets A, B, O, W and G of Stebani et al. 2023, computed from the
positions published in their repository cochlea-spatial-investigation."""

TYPICAL_VOLUME_MM3 = (187.7, 24.4)
"""Mean and SD of 71 labyrinth surfaces from patient CT (repository Modelling-the-Human-Semicircular-Canals)."""

UNUSUAL_DEVIATIONS = 3.0
"""A figure further than this many SDs from the mean is said to be unusual."""

IMPOSSIBLE_DEVIATIONS = 6.0
"""Landmarks further than this many SDs from their mean distance are not those of one inner ear; ours."""

LEAST_CONFIDENCE = 0.1
"""Landmarks below it do not tell that there is an ear; ours (two of three in a cavity of a drawn knee had 0.08)."""

WINDOWS = ("oval window", "round window")

CERTAIN_WINDOW = 0.5
"""A window of this confidence is beyond doubt, if no other landmark contradicts it; ours. In drawn ears without a
cochlea the oval window has 0.71 and more, in cavities of drawn knees every landmark less than 0.01."""

LEAST_CAVITY_MM3 = 115.0
"""Three SDs below the mean volume of real ears; common cavities are as large (drawn ones 195 to 300 mm³)."""

UNCERTAIN_LANDMARK = 0.25
"""A landmark whose confidence is lower is mentioned; without a helicotrema a window below CERTAIN_WINDOW is, too: of
eight round windows that were named in drawn ears without one seven are below it, of ten windows that such ears have
none."""

UNUSUALLY_UNSURE = "The network is unusually unsure"
"""So begins the flag that depends on the card's figure."""

SIDE_LANDMARKS = ("helicotrema", "oval window")
"""The side cannot be told without them; see inference.chirality."""


def landmark_distances(landmarks: tuple[LandmarkResult, ...]) -> dict[str, float]:
    """Distances in mm between the landmarks that were found, by "first–second" in the order of LANDMARK_NAMES."""
    found = [m for m in landmarks if m.position_lps is not None]
    return {
        f"{a.name}–{b.name}": float(np.linalg.norm(a.position_lps - b.position_lps)) for a, b in combinations(found, 2)
    }


def is_inner_ear(landmarks: tuple[LandmarkResult, ...], segmentation: Volume) -> bool:
    """Whether there are a helicotrema and a window as far apart as in an inner ear, or a whole canal and any such two
    landmarks, or a window beyond doubt beside a canal or in a cavity as large as an ear.

    A cavity in any bone may look like a labyrinth to a network; its landmarks then lie anywhere or nowhere, or two
    openings of it pass for windows, but it neither coils nor closes a loop. Beside a canal two landmarks count that are
    more than a guess (LEAST_CONFIDENCE); without one, which a coarse scan may hide, they have to be certain. Of a
    malformed ear, a common cavity above all, the oval window may be all that there is.

    Args:
        landmarks: the three landmarks.
        segmentation: 1 labyrinth, 0 not.
    """
    if any(pair.startswith("helicotrema") for pair in _pairs_of_an_ear(landmarks, UNCERTAIN_LANDMARK)):
        return True
    certain = any(m.confidence >= CERTAIN_WINDOW for m in landmarks if m.name in WINDOWS)
    certain = certain and not _contradict(landmarks)
    if certain and volume_mm3(segmentation) >= LEAST_CAVITY_MM3:
        return True
    return (certain or bool(_pairs_of_an_ear(landmarks, LEAST_CONFIDENCE))) and closed_canals(segmentation) > 0


def _pairs_of_an_ear(landmarks: tuple[LandmarkResult, ...], least_confidence: float) -> list[str]:
    """The pairs of landmarks of at least this confidence that lie as far apart as those of one ear."""
    distances = _trusted_distances(landmarks, least_confidence)
    return [pair for pair, distance in distances.items() if is_possible(pair, distance)]


def _contradict(landmarks: tuple[LandmarkResult, ...]) -> bool:
    """Whether two landmarks that are more than a guess cannot be of one ear."""
    return not all(is_possible(*distance) for distance in _trusted_distances(landmarks, LEAST_CONFIDENCE).items())


def _trusted_distances(landmarks: tuple[LandmarkResult, ...], least_confidence: float) -> dict[str, float]:
    return landmark_distances(tuple(m for m in landmarks if m.confidence >= least_confidence))


def volume_mm3(segmentation: Volume) -> float:
    """Volume of the segmented voxels."""
    return float(np.count_nonzero(segmentation.voxels) * np.prod(segmentation.spacing_mm))


def centre_of_mass(segmentation: Volume) -> np.ndarray:
    """Centre of the segmented voxels, (3,) LPS mm; of the grid where there are none."""
    indices_kji = marked_indices(segmentation.voxels)
    if len(indices_kji) == 0:
        return segmentation.grid.centre_lps
    return segmentation.grid.to_lps(indices_kji.mean(0)[::-1])


def reaches_end(segmentation: Volume, grid: Grid, within_mm: float | np.ndarray) -> bool:
    """Whether the segmentation comes within a distance of an outer face of a grid, in any orientation.

    Args:
        segmentation: 1 labyrinth, 0 not.
        grid: of the scan, or of the region that was looked at.
        within_mm: the distance, or one for each axis (i, j, k) of the grid.
    """
    indices = grid.to_indices(segmentation.grid.to_lps(marked_indices(segmentation.voxels)[:, ::-1]))
    room = np.minimum(indices + 0.5, np.array(grid.shape[::-1]) - 0.5 - indices) * grid.spacing_mm
    return bool((room < within_mm).any())


def is_beside_unmeasured(segmentation: Volume, measured: Volume, within_mm: float) -> bool:
    """Whether the segmentation comes within a distance of what a scanner did not measure, as beyond a round field.

    Args:
        segmentation: 1 labyrinth, 0 not.
        measured: bool, on the grid that was looked at; what lies beyond that grid does not count.
        within_mm: the distance.
    """
    if measured.voxels.all():
        return False
    distance_mm = ndimage.distance_transform_edt(measured.voxels, sampling=measured.spacing_mm[::-1])
    places = segmentation.grid.to_lps(marked_indices(segmentation.voxels)[:, ::-1])
    nearest = np.rint(measured.grid.to_indices(places)[:, ::-1]).astype(int)
    nearest = nearest.clip(0, np.array(measured.voxels.shape) - 1)
    return bool((distance_mm[tuple(nearest.T)] < within_mm).any())


def beyond_scan(landmarks: tuple[LandmarkResult, ...], measured: Volume) -> tuple[str, ...]:
    """Names of the landmarks that lie where the scan has no values.

    Args:
        landmarks: any; those that were not found lie nowhere.
        measured: bool, on the grid that was looked at.
    """
    shape = np.array(measured.voxels.shape)
    names = []
    for landmark in landmarks:
        if landmark.position_lps is not None:
            place = np.rint(measured.grid.to_indices(landmark.position_lps)[::-1]).astype(int)
            if not measured.voxels[tuple(place.clip(0, shape - 1))]:
                names.append(landmark.name)
    return tuple(names)


def mean_standard_deviation(deviation: np.ndarray, known: np.ndarray, region_voxels: int) -> float:
    """The out-of-distribution signal of Stebani et al. 2023: standard deviation over the views, mean over a region.

    The paper's mean is over the whole volume, so that its figures do not compare with these. What lies outside the scan
    counts as sure, so that the mean is over as many voxels for every scan: in a small field of view more of what is
    seen is the ear's surface.

    Args:
        deviation: (k, j, i), 0 to 0.5; of the region, or of as much of it as was predicted.
        known: (k, j, i) bool, where the scan has values.
        region_voxels: edge length of the region (ModelCard.region_voxels).
    """
    return float(deviation.sum(where=known, dtype=np.float64)) / region_voxels**3


def assess(
    segmentation: Volume,
    landmarks: tuple[LandmarkResult, ...],
    mean_standard_deviation: float | None,
    reaches_end_of: str | None,
    usual_standard_deviation: float | None = None,
    beyond: Sequence[str] = (),
) -> Quality:
    """Plausibility of one ear, with a sentence for everything that is unusual but its side (inference.sides).

    Args:
        segmentation: 1 labyrinth, 0 not.
        landmarks: the three landmarks.
        mean_standard_deviation: over the region round the ear; None with a single view.
        reaches_end_of: what the labyrinth touches the end of, "scan" for one; None where it ends before.
        usual_standard_deviation: the largest mean standard deviation of normal ears with this model, from its card;
            None where nobody measured it.
        beyond: names of landmarks that lie beyond the scan.
    """
    volume = volume_mm3(segmentation)
    distances = landmark_distances(landmarks)
    flags = [f"The {m.name} was not found." for m in landmarks if m.position_lps is None]
    flags += _uncertain(landmarks)
    flags += [f"The {name} lies beyond the end of the scan: its place is a guess." for name in beyond]
    flags += _unusual("The volume of the labyrinth", volume, "mm³", *TYPICAL_VOLUME_MM3)
    canals = closed_canals(segmentation)
    if canals < CANALS:
        flags.append(
            f"Semicircular canals drawn without a gap: {canals} of {CANALS}. "
            "A thin canal may be missed, or the ear is malformed."
        )
    parts = large_parts(segmentation)
    if parts > 1:
        flags.append(
            f"The labyrinth is drawn in {parts} parts: bone or scar tissue may fill the lumen between them, "
            "or the scan hardly shows it."
        )
    for pair, distance in distances.items():
        flags += _unusual(f"The distance {pair}", distance, "mm", *TYPICAL_DISTANCES_MM[pair])
    if None not in (mean_standard_deviation, usual_standard_deviation) and (
        mean_standard_deviation > usual_standard_deviation
    ):
        flags.append(
            f"{UNUSUALLY_UNSURE} (mean standard deviation {mean_standard_deviation:.1e}, "
            f"normal ears up to {usual_standard_deviation:.1e}): "
            "the ear may be diseased or the scan unlike those it was trained on."
        )
    if reaches_end_of is not None:
        flags.append(f"The labyrinth reaches the end of the {reaches_end_of} and may be cut off.")
    return Quality(volume, distances, mean_standard_deviation, tuple(flags), canals)


def _uncertain(landmarks: tuple[LandmarkResult, ...]) -> list[str]:
    """A sentence for each uncertain point; a window without its cochlea has to be certain."""
    has_helicotrema = any(m.name == "helicotrema" and m.position_lps is not None for m in landmarks)
    flags = []
    for m in landmarks:
        if m.position_lps is None:
            continue
        if m.confidence < UNCERTAIN_LANDMARK:
            flags.append(f"The {m.name} is uncertain (confidence {m.confidence:.2f}).")
        elif m.name in WINDOWS and not has_helicotrema and m.confidence < CERTAIN_WINDOW:
            flags.append(
                f"The {m.name} is uncertain (confidence {m.confidence:.2f}): "
                "a labyrinth without a helicotrema may have none."
            )
    return flags


def _unusual(what: str, value: float, unit: str, mean: float, deviation: float) -> list[str]:
    if abs(value - mean) <= UNUSUAL_DEVIATIONS * deviation:
        return []
    return [f"{what} is unusual: {value:.1f} {unit} (real ears {mean:.1f} ± {deviation:.1f})."]


def is_possible(pair: str, distance_mm: float) -> bool:
    """Whether two landmarks of one inner ear can lie this far apart; `pair` as in TYPICAL_DISTANCES_MM."""
    mean, deviation = TYPICAL_DISTANCES_MM[pair]
    return abs(distance_mm - mean) <= IMPOSSIBLE_DEVIATIONS * deviation
