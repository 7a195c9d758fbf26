"""Scans on disk: reading a file or a DICOM folder into a Volume, and writing one.

What ends here in one clear sentence is what only the file can tell: a missing, unknown or cut-off file, time series,
colour, a spacing that is not there. What holds for any scan is checked in scan_checks.
"""

from __future__ import annotations

import gzip
import os
import re
import struct
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from InnerEarAILib.dicom_files import is_dicom_file
from InnerEarAILib.dicom_series import read_dicom_folder
from InnerEarAILib.progress import Progress
from InnerEarAILib.scan_checks import check_size
from InnerEarAILib.volume import InputError, Volume

SCAN_SUFFIXES = (".nrrd", ".nhdr", ".nii", ".nii.gz", ".mha", ".mhd")
"""Files that can be read; a DICOM series is read from its folder."""

WRITTEN_SUFFIXES = (".nrrd", ".nii", ".nii.gz", ".mha")
"""Files that can be written: those that hold header and voxels in one."""

_HEADER_BYTES = 2**16
"""How much of a NRRD or MetaImage file is looked at for its header, which is text."""

_NIFTI_HEADER = {348: "<", 1543569408: ">"}
"""The first number of a NIfTI-1 file, read as little-endian, and the byte order that it reveals (NIfTI-1 standard)."""

_NIFTI_2_HEADER = (540, 469893120)
"""The first number of a NIfTI-2 file in either byte order."""

_PATIENT_SPACE = re.compile(rb"(?i)(right|left)-(anterior|posterior)-superior(-time)?|(RAS|LAS|LPS)T?")
"""NRRD spaces that are the patient's (definition of NRRD, section 5); the others are a scanner's or nobody's."""

UNKNOWN_DIRECTION = "The file does not say how the scan lies: check the side of each ear."
"""Said of a file that is read as if its axes were the patient's."""


def read_volume(path: Path | str, series_number: int | None = None, progress: Progress = Progress()) -> Volume:
    """A scan from disk, at its true place.

    Args:
        path: a file with one of SCAN_SUFFIXES, or a folder of DICOM slices; a link is what it leads to, under its own
            name.
        series_number: which DICOM series to take from a folder with several.
        progress: told in a note where the file does not say how the scan lies.

    Returns:
        The volume in the file's own order and handedness; its name is the stem of the file, or the folder's name.

    Raises:
        InputError: one sentence on what is wrong with the file and what to do.
    """
    path = Path(path)
    if not os.path.exists(path):  # Path.exists raises where the name is too long for a file
        raise InputError(f"There is no file or folder {path}; check the path.")
    with quiet_libraries():
        if path.is_dir():
            return read_dicom_folder(Path(os.path.abspath(path)), series_number)
        _check_kind(path)
        try:
            return _read_file(path, progress)
        except OSError as error:
            raise InputError(f"{path.name} cannot be opened ({error.strerror}).") from error


def write_volume(path: Path | str, volume: Volume) -> None:
    """Writes a volume, compressed; the file is whole or absent.

    Args:
        path: one of WRITTEN_SUFFIXES; the folder exists. An existing file is replaced.
        volume: any real dtype; bool becomes uint8.

    Raises:
        InputError: for another suffix, or where the file cannot be written.
    """
    path = Path(path)
    if scan_suffix(path) not in WRITTEN_SUFFIXES:
        raise InputError(f"{path.name} cannot be written; choose a name that ends in {_or(WRITTEN_SUFFIXES)}.")
    write_image(path, volume.to_sitk())


def write_image(path: Path, image: sitk.Image) -> None:
    """Writes a SimpleITK image with its header fields, compressed, under a temporary name that is then changed.

    Raises:
        InputError: if it cannot be written.
    """
    try:
        with tempfile.TemporaryDirectory(prefix=".writing-", dir=path.parent) as folder, quiet_libraries():
            unfinished = Path(folder, path.name)
            sitk.WriteImage(image, str(unfinished), useCompression=True)
            os.replace(unfinished, path)
    except (OSError, RuntimeError) as error:
        raise InputError(
            f"{path.name} cannot be written to {path.parent}; choose a folder that exists and has room."
        ) from error


def scan_suffix(path: Path) -> str:
    """The suffix of a scan file in small letters, ".nii.gz" in one; "" where it is none of SCAN_SUFFIXES."""
    name = path.name.lower()
    return next((suffix for suffix in sorted(SCAN_SUFFIXES, key=len, reverse=True) if name.endswith(suffix)), "")


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Keeps ITK, GDCM and MetaIO from writing to the process's standard error.

    They print warnings there that a user can do nothing about; what matters arrives as an exception. MetaIO does not
    ask ITK's switch, so the file descriptor itself is turned away.
    """
    warned = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        kept = os.dup(2)
    except OSError:  # a windowed process on Windows has no standard error
        kept = None
    try:
        if kept is not None:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, 2)
            os.close(nowhere)
        yield
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(warned)
        if kept is not None:
            os.dup2(kept, 2)
            os.close(kept)


def _check_kind(path: Path) -> None:
    if scan_suffix(path):
        if path.stat().st_size == 0:
            raise InputError(f"{path.name} is empty; copy or export it again.")
        return
    if is_dicom_file(path):
        raise InputError(f"{path.name} is a single DICOM file; give the folder that holds all slices of the series.")
    raise InputError(
        f"{path.name} is of no known format; give a {_or(SCAN_SUFFIXES)} file or a folder of DICOM slices."
    )


def _read_file(path: Path, progress: Progress) -> Volume:
    says_how_it_lies = _check_header(path)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
        sizes = _spatial_sizes(reader, path)
        check_size(sizes)
        image = reader.Execute()
    except RuntimeError as error:
        raise InputError(_sentence(path, str(error))) from error
    if image.GetDimension() > 3:
        image = image[(slice(None),) * 3 + (0,) * (image.GetDimension() - 3)]
    if not says_how_it_lies:
        progress.note(UNKNOWN_DIRECTION)
    return Volume.from_sitk(image, path.name[: -len(scan_suffix(path))])


def _spatial_sizes(reader: sitk.ImageFileReader, path: Path) -> tuple[int, ...]:
    sizes = reader.GetSize()
    if any(key.startswith("Segment0_") for key in reader.GetMetaDataKeys()):
        raise InputError(f"{path.name} is a segmentation, not a scan; choose the CT scan itself.")
    if reader.GetNumberOfComponents() != 1:
        raise InputError(
            f"{path.name} has {reader.GetNumberOfComponents()} values per voxel (colour, vectors or a time series); "
            "choose a CT volume with one."
        )
    if len(sizes) > 3 and max(sizes[3:]) > 1:
        raise InputError(
            f"{path.name} has {len(sizes)} dimensions ({' × '.join(map(str, sizes))}), a time series perhaps; "
            "save a single volume of it."
        )
    if len(sizes) < 3 or min(sizes[:3]) == 1:
        raise InputError(
            f"{path.name} is a flat image ({' × '.join(map(str, sizes))}); choose a volume of many slices."
        )
    return sizes[:3]


def _sentence(path: Path, reason: str) -> str:
    if "orthonormal" in reason:
        return (
            f"The axes of {path.name} are not perpendicular (a sheared or gantry-tilted scan); "
            "resample it onto a straight volume first (Slicer's module Resample Scalar/Vector/DWI Volume)."
        )
    if "spacing" in reason.lower() and ("zero" in reason.lower() or "negative" in reason.lower()):
        return f"{path.name} has a voxel spacing of zero or less; export it again with its true spacing."
    return f"{path.name} cannot be read: it is damaged, cut off or not what its name says; copy or export it again."


def _check_header(path: Path) -> bool:
    """Refuses what the readers would quietly mend: an absent spacing, another handedness, voxels that are not there.

    Returns:
        Whether the file says how the scan lies in the patient.
    """
    suffix = scan_suffix(path)
    if suffix in (".nii", ".nii.gz"):
        return _check_nifti(path, suffix)
    with path.open("rb") as file:
        text = file.read(_HEADER_BYTES)
    if suffix in (".nrrd", ".nhdr"):
        header = text.partition(b"\n\n")[0].replace(b"\r", b"")
        given = re.search(rb"(?m)^(space directions|spacings):", header)
        unclear = re.search(rb"(?m)^space directions:.*\bnone\b", header) and b"dimension: 3" in header
        says_how_it_lies = _check_space(path, header)
    else:
        header = text.partition(b"ElementDataFile")[0]
        given = re.search(rb"(?mi)^(ElementSpacing|ElementSize)\s*=", header)
        unclear = False
        says_how_it_lies = re.search(rb"(?mi)^(TransformMatrix|Rotation|Orientation)\s*=", header) is not None
    if text and (not given or unclear) and text.lstrip()[:4] in (b"NRRD", b"Obje", b"NDim"):
        raise InputError(f"{path.name} does not say how large its voxels are; export it again with its true spacing.")
    return says_how_it_lies


def _check_space(path: Path, header: bytes) -> bool:
    """Whether the axes of a NRRD file are the patient's; a space that may be mirrored is refused."""
    found = re.search(rb"(?mi)^space:[ \t]*(.*?)[ \t]*$", header)
    space = found[1] if found else b""
    if space.lower().startswith(b"3d-left-handed"):
        raise InputError(
            f"{path.name} is in the space 3D-left-handed, which may show a left ear as a right one; "
            "export it again in a space of the patient, such as left-posterior-superior."
        )
    return _PATIENT_SPACE.fullmatch(space) is not None


def _check_nifti(path: Path, suffix: str) -> bool:
    opened = gzip.open if suffix == ".nii.gz" else open
    try:
        with opened(path, "rb") as file:
            header = file.read(348)
            size = int.from_bytes(header[:4], "little")
            if size in _NIFTI_2_HEADER:
                raise InputError(f"{path.name} is NIfTI-2, which is not read here; save it as NIfTI-1 or NRRD.")
            order = _NIFTI_HEADER.get(size)
            if len(header) < 348 or order is None:
                return True  # no NIfTI: left to the reader, which refuses it
            dimensions = struct.unpack(f"{order}8h", header[40:56])
            bits = struct.unpack(f"{order}h", header[72:74])[0]
            edges = struct.unpack(f"{order}8f", header[76:108])[1:4]
            offset = struct.unpack(f"{order}f", header[108:112])[0]
            says_how_it_lies = _check_forms(path, header, order)
            voxels = int(np.prod([max(n, 1) for n in dimensions[1 : 1 + min(max(dimensions[0], 0), 7)]], dtype=object))
            if dimensions[0] >= 3 and not all(np.isfinite(edge) and edge > 0 for edge in edges):
                raise InputError(
                    f"{path.name} has a voxel spacing of zero or less; export it again with its true spacing."
                )
            check_size((voxels,))
            missing = int(offset) + voxels * bits // 8 - len(header)
            while header[344:] != b"ni1\0" and missing > 0:
                piece = file.read(min(missing, 2**24))
                if not piece:
                    raise EOFError
                missing -= len(piece)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(_sentence(path, "cut off")) from error
    return says_how_it_lies


def _check_forms(path: Path, header: bytes, order: str) -> bool:
    """Whether a NIfTI-1 header says how the scan lies, by its qform or sform; they must agree on what is left."""
    qform, sform = struct.unpack(f"{order}2h", header[252:256])
    if qform > 0 and sform > 0:
        # A rotation by quaternions; the first of the voxel's edges tells whether it is mirrored (NIfTI-1 standard).
        mirrored = struct.unpack(f"{order}f", header[76:80])[0] < 0
        rows = np.array(struct.unpack(f"{order}12f", header[280:328])).reshape(3, 4)
        determinant = np.linalg.det(rows[:, :3])
        if determinant != 0 and (determinant < 0) != mirrored:
            raise InputError(
                f"{path.name} says in two ways how the scan lies (qform and sform), of which one mirrors the other; "
                "export it again, so that left and right are certain."
            )
    return qform > 0 or sform > 0


def _or(suffixes: tuple[str, ...]) -> str:
    return ", ".join(suffixes[:-1]) + " or " + suffixes[-1]
