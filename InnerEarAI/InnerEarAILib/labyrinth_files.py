"""The labyrinths of a scan as a Slicer segmentation file (.seg.nrrd), which any NRRD reader opens as a label map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from InnerEarAILib.ear_result import EarResult, Side
from InnerEarAILib.preprocessing import resample
from InnerEarAILib.scan_files import write_image
from InnerEarAILib.volume import Grid, Volume

LABELS: dict[Side, int] = {"right": 1, "left": 2}
"""Label values in the file."""

SEGMENT_NAMES: dict[Side, str] = {"right": "Right labyrinth", "left": "Left labyrinth"}
"""What a user reads in Slicer."""

SEGMENT_COLOURS: dict[Side, tuple[float, float, float]] = {"right": (0.20, 0.71, 0.75), "left": (0.96, 0.58, 0.25)}
"""Red, green and blue, 0 to 1: told apart at a glance, also by most colour-blind eyes."""

SEGMENT_MARGIN_VOXELS = 2
"""Empty voxels kept round a labyrinth, so that a surface drawn from the file closes."""

EDITABLE_MARGIN_MM = 8.0
"""So far round what was found Slicer's Segment Editor lets a user draw; a canal's arch is 7 mm wide at most."""

LATTICE_TOLERANCE_VOXELS = 0.01
"""Two grids closer than this to a common lattice count as lying on it."""

VOLUME_TAG = "InnerEarAI.volume_mm3"
"""Tag of a segment."""

_SIDE_CODES: dict[Side, str] = {"right": "SCT^24028007^Right", "left": "SCT^7771000^Left"}


@dataclass(frozen=True)
class Segment:
    """A segment of a segmentation file.

    Attributes:
        identifier: unlike that of every other segment of the file.
        name: what a user reads.
        colour: red, green and blue, 0 to 1.
        label: value of its voxels.
        layer: which of the overlapping label maps holds them.
        tags: terms and origin, by key.
    """

    identifier: str
    name: str
    colour: tuple[float, float, float]
    label: int
    layer: int = 0
    tags: Mapping[str, str] = field(default_factory=dict)


def segment_tags(ear: EarResult, model: str) -> dict[str, str]:
    """What Slicer and a DICOM segmentation need to know of a segment: SNOMED terms, how it came about, what to mind.

    Source:
        SNOMED CT: 123037004 Anatomical Structure, 22945000 Inner ear, 24028007 Right, 7771000 Left, as in Slicer's
        General Anatomy list.
    """
    return {
        "TerminologyEntry": terminology_entry(ear.side),
        "DICOM.SegmentAlgorithmType": "AUTOMATIC",
        "DICOM.SegmentAlgorithmName": f"InnerEarAI {model}".strip(),
        VOLUME_TAG: f"{ear.quality.volume_mm3:.2f}",
        "InnerEarAI.flags": " ".join(ear.quality.flags),
    }


def terminology_entry(side: Side) -> str:
    """The inner ear of a side in the terms of Slicer's General Anatomy list; see segment_tags."""
    return (
        "Segmentation category and type - 3D Slicer General Anatomy list"
        f"~SCT^123037004^Anatomical Structure~SCT^22945000^Inner ear~{_SIDE_CODES[side]}"
        "~Anatomic codes - DICOM master list~^^~^^"
    )


def joint_labels(ears: Sequence[EarResult]) -> Volume:
    """The ears of a scan as one label map: LABELS where a labyrinth is, 0 elsewhere.

    Args:
        ears: at least one.

    Returns:
        uint8 on the lattice of the first ear's segmentation, as small as its labyrinths allow; where that is
        left-handed, its last axis runs the other way, so that a surface drawn round the voxels is not inside out. An
        ear on another lattice is interpolated linearly onto this one and cut at one half.
    """
    masks = [_tight(ear.segmentation) for ear in ears]
    lattice = masks[0].grid
    corners = np.concatenate([lattice.to_indices(mask.grid.corners_lps()) for mask in masks])
    lower = np.rint(corners.min(0) + 0.5).astype(int)
    upper = np.rint(corners.max(0) + 0.5).astype(int)
    affine = lattice.affine_lps.copy()
    affine[:3, 3] = lattice.to_lps(lower)
    joint = Volume(np.zeros(tuple((upper - lower)[::-1].tolist()), np.uint8), affine)
    for ear, mask in zip(ears, masks, strict=True):
        start = _start_on(joint.grid, mask.grid)
        if start is None:
            here = _interpolated(mask, joint.grid)
            joint.voxels[here] = LABELS[ear.side]
        else:
            block = tuple(slice(first, first + n) for first, n in zip(start, mask.voxels.shape, strict=True))
            joint.voxels[block][mask.voxels > 0] = LABELS[ear.side]
    return _right_handed(joint)


def reference_geometry(labels: Volume) -> str:
    """The lattice on which Slicer's Segment Editor goes on drawing: that of the labels, EDITABLE_MARGIN_MM wider.

    Returns:
        The matrix from voxels to RAS, row by row, and the first and last index along i, j and k, as
        vtkSegmentationConverter::SerializeImageGeometry writes them.
    """
    affine_ras = np.diag([-1.0, -1.0, 1.0, 1.0]) @ labels.affine_lps
    margin = np.ceil(EDITABLE_MARGIN_MM / labels.spacing_mm).astype(int)
    last = np.array(labels.voxels.shape[::-1]) - 1 + margin
    extent = np.column_stack([-margin, last]).ravel()
    return "".join(f"{number};" for number in (*affine_ras.ravel().tolist(), *extent.tolist()))


def write_labyrinths(path: Path, ears: Sequence[EarResult], model: str = "") -> None:
    """Writes the labyrinths of all ears as one segmentation file.

    Args:
        path: ends in .seg.nrrd.
        ears: at least one.
        model: name of the model, for the tags.

    Raises:
        InputError: if the file cannot be written.
    """
    joint = joint_labels(ears)
    segments = [
        Segment(
            ear.side, SEGMENT_NAMES[ear.side], SEGMENT_COLOURS[ear.side], LABELS[ear.side], 0, segment_tags(ear, model)
        )
        for ear in ears
    ]
    write_segments(path, [joint], segments, reference_geometry(joint))


def write_segments(
    path: Path, layers: Sequence[Volume], segments: Sequence[Segment], geometry: str | None = None
) -> None:
    """Writes label maps as one segmentation file.

    Args:
        path: ends in .seg.nrrd.
        layers: label maps on one grid; segments of different layers may overlap. A single one is a label map for any
            reader, several are the components of its voxels.
        segments: at least one.
        geometry: see reference_geometry; None: what the layers cover.

    Raises:
        InputError: if the file cannot be written.
    """
    maps = [layer.to_sitk() for layer in layers]
    image = maps[0] if len(maps) == 1 else sitk.Compose(maps)
    fields = {
        "Segmentation_ContainedRepresentationNames": "Binary labelmap|",
        "Segmentation_MasterRepresentation": "Binary labelmap",
        "Segmentation_ReferenceImageExtentOffset": "0 0 0",
    }
    if geometry is not None:
        # Name, value and description; Slicer fills in the other parameters.
        fields["Segmentation_ConversionParameters"] = f"Reference image geometry|{geometry}|&"
    for number, segment in enumerate(segments):
        fields |= {
            f"Segment{number}_ID": segment.identifier,
            f"Segment{number}_Name": segment.name,
            f"Segment{number}_NameAutoGenerated": "0",
            f"Segment{number}_Color": " ".join(map(str, segment.colour)),
            f"Segment{number}_ColorAutoGenerated": "0",
            f"Segment{number}_LabelValue": str(segment.label),
            f"Segment{number}_Layer": str(segment.layer),
            f"Segment{number}_Extent": _extent(layers[segment.layer].voxels == segment.label),
            f"Segment{number}_Tags": "".join(f"{key}:{_one_line(value)}|" for key, value in segment.tags.items()),
        }
    for key, value in fields.items():
        image.SetMetaData(key, value)
    write_image(path, image)


def _tight(mask: Volume) -> Volume:
    marked = [np.flatnonzero(mask.voxels.any(axis=others)) for others in ((1, 2), (0, 2), (0, 1))]
    if len(marked[0]) == 0:
        return mask
    start = np.array([line[0] for line in marked]) - SEGMENT_MARGIN_VOXELS
    stop = np.array([line[-1] for line in marked]) + 1 + SEGMENT_MARGIN_VOXELS
    return mask.crop(start, stop)


def _right_handed(volume: Volume) -> Volume:
    """The same voxels at the same places, the last axis reversed where the axes are left-handed."""
    if np.linalg.det(volume.affine_lps[:3, :3]) > 0:
        return volume
    affine = volume.affine_lps.copy()
    affine[:3, 2] *= -1
    affine[:3, 3] = volume.grid.to_lps([0, 0, len(volume.voxels) - 1])
    return Volume(np.ascontiguousarray(volume.voxels[::-1]), affine, volume.name)


def _start_on(joint: Grid, grid: Grid) -> tuple[int, int, int] | None:
    """Index (k, j, i) of the grid's first voxel in the joint one; None where their lattices differ."""
    step = np.linalg.solve(joint.affine_lps[:3, :3], grid.affine_lps[:3, :3])
    start = joint.to_indices(grid.origin_lps)
    drift = np.abs(step - np.eye(3)).max() * max(grid.shape) + np.abs(start - np.rint(start)).max()
    return tuple(np.rint(start[::-1]).astype(int).tolist()) if drift < LATTICE_TOLERANCE_VOXELS else None


def _interpolated(mask: Volume, grid: Grid) -> np.ndarray:
    # NaN, where the mask has no voxels, is not ≥ 0.5 either.
    return resample(mask.with_voxels((mask.voxels > 0).astype(np.float32)), grid, cubic=False) >= 0.5


def _extent(mask: np.ndarray) -> str:
    marked = [np.flatnonzero(mask.any(axis=others)) for others in ((0, 1), (0, 2), (1, 2))]
    if len(marked[0]) == 0:
        return "0 -1 0 -1 0 -1"
    return " ".join(f"{line[0]} {line[-1]}" for line in marked)


def _one_line(text: str) -> str:
    """Without what ends a tag in the file."""
    return text.replace("|", "/").replace("\n", " ")
