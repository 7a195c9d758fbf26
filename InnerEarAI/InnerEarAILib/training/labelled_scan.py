"""A scan with its labels and landmarks, from files: images of any kind that Slicer writes, or one HDF5 file."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from InnerEarAILib.phantom.given_landmarks import landmark_name, read_landmarks
from InnerEarAILib.scan_files import read_labels, read_volume
from InnerEarAILib.volume import InputError, Volume

HDF5_SUFFIXES = (".h5", ".hdf5")

RAW, LABEL, LANDMARKS = "raw/raw-0", "label/label-0", "landmark"
"""Where the scan, the labels and the group of landmarks lie in an HDF5 file."""

_RAS_WORDS = ("0", "RAS")
"""How a .fcsv file says that its positions are RAS; 1 or LPS otherwise."""


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
    marks = {} if landmarks is None else read_landmark_file(landmarks)
    return LabelledScan(read_volume(scan), read_labels(labels), marks)


def read_landmark_file(path: Path) -> dict[str, np.ndarray]:
    """Landmarks by name, (3,) LPS mm, from .mrk.json, .json or .fcsv.

    Raises:
        InputError: if the file cannot be read or holds none.
    """
    if not path.is_file():
        raise InputError(f"There is no file {path}; check the path.")
    return _read_fcsv(path) if path.suffix.lower() == ".fcsv" else read_landmarks(path)


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
    named = {landmark_name(_text(name)): np.asarray(index, float).reshape(-1) * spacing_mm for name, index in marks}
    named.pop(None, None)
    return LabelledScan(Volume(raw, affine), Volume(labels, affine), named)


def _read_fcsv(path: Path) -> dict[str, np.ndarray]:
    turn, columns, rows = np.ones(3), ["id", "x", "y", "z"], []
    try:
        for line in path.read_text(encoding="utf-8-sig").splitlines():
            key, _, value = line.lstrip("# ").partition("=")
            if line.startswith("#") and key.strip() == "CoordinateSystem":
                turn = np.array([-1, -1, 1]) if value.strip() in _RAS_WORDS else np.ones(3)
            elif line.startswith("#") and key.strip() == "columns":
                columns = [name.strip() for name in value.split(",")]
            elif line.strip() and not line.startswith("#"):
                rows.append(dict(zip(columns, next(csv.reader([line])), strict=False)))
        found = {landmark_name(row["label"]): turn * [float(row[axis]) for axis in "xyz"] for row in rows}
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{path.name} is no markups file that can be read; save it from Slicer again.") from error
    found.pop(None, None)
    if not found:
        raise InputError(f"{path.name} names none of the landmarks; its labels must be helicotrema, oval window, …")
    return found


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
