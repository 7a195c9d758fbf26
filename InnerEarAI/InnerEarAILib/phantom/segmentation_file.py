"""The truth of a phantom as a Slicer segmentation: each labyrinth as a whole, and its parts where they are known."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from InnerEarAILib.ear_result import Side
from InnerEarAILib.labyrinth_files import (
    LABELS,
    SEGMENT_COLOURS,
    SEGMENT_NAMES,
    Segment,
    terminology_entry,
    write_segments,
)
from InnerEarAILib.phantom.anatomy import CANALS, COCHLEA, VESTIBULE
from InnerEarAILib.volume import Volume

PART_NAMES: Mapping[int, str] = {COCHLEA: "cochlea", VESTIBULE: "vestibule", CANALS: "semicircular canals"}
PART_COLOURS: Mapping[int, tuple[float, float, float]] = {
    COCHLEA: (0.84, 0.37, 0.30),
    VESTIBULE: (0.95, 0.78, 0.31),
    CANALS: (0.35, 0.52, 0.83),
}


def write_truth(path: Path, labels: Volume, parts: Volume, landmarks: Mapping[Side, Mapping[str, np.ndarray]]) -> None:
    """Writes labels and parts as one segmentation with overlapping segments.

    Args:
        path: ends in .seg.nrrd.
        labels: uint8, 1 where labyrinth is.
        parts: uint8 on the same grid: anatomy.COCHLEA, VESTIBULE, CANALS, or NO_PART where the part is not known.
        landmarks: (3,) LPS mm by name, by side of the ear; where there are two ears, a voxel belongs to the one whose
            landmarks are closer.

    Raises:
        InputError: if the file cannot be written.
    """
    wholes, named = np.zeros_like(labels.voxels), np.zeros_like(labels.voxels)
    segments: list[Segment] = []
    places = np.argwhere(labels.voxels)
    nearest = _nearest_ear(labels.grid.to_lps(places[:, ::-1].astype(float)), landmarks)
    for number, side in enumerate(landmarks):
        own = tuple(places[nearest == number].T)
        tags = {"TerminologyEntry": terminology_entry(side)}
        wholes[own] = LABELS[side]
        segments.append(Segment(side, SEGMENT_NAMES[side], SEGMENT_COLOURS[side], LABELS[side], 0, tags))
        present = parts.voxels[own]
        for part, name in PART_NAMES.items():
            if (present == part).any():
                label = number * len(PART_NAMES) + part
                named[tuple(index[present == part] for index in own)] = label
                title = f"{side.capitalize()} {name}"
                segments.append(Segment(f"{side} {name}", title, PART_COLOURS[part], label, 1, tags))
    layers = [labels.with_voxels(wholes), labels.with_voxels(named)]
    write_segments(path, layers if named.any() else layers[:1], segments)


def _nearest_ear(points_lps: np.ndarray, landmarks: Mapping[Side, Mapping[str, np.ndarray]]) -> np.ndarray:
    """(n,) number of the ear that each point (n, 3) belongs to."""
    if len(landmarks) < 2:
        return np.zeros(len(points_lps), int)
    centres = np.stack([np.mean(list(positions.values()), axis=0) for positions in landmarks.values()])
    return np.linalg.norm(points_lps[:, None] - centres, axis=2).argmin(1)
