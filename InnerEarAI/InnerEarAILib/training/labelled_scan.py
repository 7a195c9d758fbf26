"""A scan with its labels and landmarks, from files: images of any kind that Slicer writes, or one HDF5 file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from InnerEarAILib.phantom.given_landmarks import by_landmark, read_landmarks
from InnerEarAILib.scan_files import read_labels, read_volume
from InnerEarAILib.volume import InputError, Volume

HDF5_SUFFIXES = (".h5", ".hdf5")

RAW, LABEL, LANDMARKS = "raw/raw-0", "label/label-0", "landmark"
"""Where the scan, the labels and the group of landmarks lie in an HDF5 file."""


@dataclass(frozen=True)
class LabelledScan:
    """A scan of one ear and what is known of it.

    Attributes:
        scan: the image.
        labels: label map on its own grid, which should be the scan's.
        landmarks_lps: (3,) LPS mm by name; those that are not marked are absent.
    """

    scan: Volume
    labels: Volume
    landmarks_lps: Mapping[str, np.ndarray]


def read_labelled_files(scan: Path, labels: Path, landmarks: Path | None = None) -> LabelledScan:
    """A labelled scan from three files, or from two where no landmark is marked.

    Raises:
        InputError: with one sentence on the first of them that cannot be read.
    """
    marks = {} if landmarks is None else read_landmarks(landmarks)
    return LabelledScan(read_volume(scan), read_labels(labels), marks)


def read_hdf5(path: Path, spacing_mm: float, axes: str = "ijk", marked: bool = True) -> LabelledScan:
    """A labelled scan from one HDF5 file in the layout of Stebani et al. 2023.

    The file holds arrays RAW and LABEL, and under LANDMARKS an empty data set for each landmark, whose attributes
    `label` and `ijk_position` are its name and its voxel, counted along the axes of the arrays. It knows no position
    in space, so that the first voxel lies at the origin.

    Args:
        path: the file.
        spacing_mm: isotropic voxel edge, which the file does not tell.
        axes: order of the array axes: "ijk" (left–right first) or "kji".
        marked: whether it has landmarks; if not, LANDMARKS is passed over.

    Raises:
        InputError: if it is no such file, or the HDF5 library is not installed.
    """
    try:
        import h5py
    except ImportError as error:
        raise InputError("Reading HDF5 files needs the package h5py; install it with: pip install h5py.") from error
    if not path.is_file():
        raise InputError(f"There is no file {path}; check the path.")
    try:
        with h5py.File(path) as file:
            for name in (RAW, LABEL, LANDMARKS) if marked else (RAW, LABEL):
                if name not in file:
                    raise InputError(f"{path.name} has no {name}; it must hold {RAW}, {LABEL} and {LANDMARKS}/….")
            raw, labels = file[RAW][()], file[LABEL][()]
            entries = file[LANDMARKS].values() if marked else ()
            marks = [(entry.attrs["label"], entry.attrs["ijk_position"]) for entry in entries]
    except InputError:
        raise
    except (OSError, LookupError, RuntimeError, ValueError, TypeError, AttributeError) as error:  # as HDF5 takes damage
        raise InputError(f"{path.name} cannot be read: it is damaged or its landmarks lack a name or voxel.") from error
    affine = np.diag([spacing_mm] * 3 + [1.0])
    if axes == "ijk":
        raw, labels = raw.T, labels.T
    else:
        marks = [(name, np.asarray(index)[::-1]) for name, index in marks]
    named = by_landmark(
        path, [(_text(name), np.asarray(index, float).reshape(-1) * spacing_mm) for name, index in marks]
    )
    return LabelledScan(Volume(raw, affine), Volume(labels, affine), named)


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
