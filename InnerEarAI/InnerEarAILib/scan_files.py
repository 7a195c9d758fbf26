"""Scans on disk: reading a file or a DICOM folder into a Volume, and writing one.

What ends here in one clear sentence is what only the file can tell: a missing, unknown or cut-off file, time series,
colour, a spacing that is not there. What holds for any scan is checked in scan_checks.
"""

from __future__ import annotations

import gzip
import os
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import SimpleITK as sitk

from InnerEarAILib.compressed_files import check_compressed_metaimage, check_compressed_nrrd, read_header
from InnerEarAILib.dicom_files import is_dicom_file
from InnerEarAILib.dicom_series import read_dicom_folder
from InnerEarAILib.file_names import check_name
from InnerEarAILib.nifti_header import check_nifti
from InnerEarAILib.progress import Progress
from InnerEarAILib.scan_checks import check_size
from InnerEarAILib.volume import InputError, Volume
from InnerEarAILib.whole_files import replacing

SCAN_SUFFIXES = (".nrrd", ".nhdr", ".nii", ".nii.gz", ".mha", ".mhd")
"""Files that can be read; a DICOM series is read from its folder."""

WRITTEN_SUFFIXES = (".nrrd", ".nii", ".nii.gz", ".mha")
"""Files that can be written: those that hold header and voxels in one."""

_HEADER_ENDS = {
    ".nrrd": re.compile(rb""),
    ".nhdr": re.compile(rb""),
    ".mha": re.compile(rb"(?i)ElementDataFile[ \t]*=.*"),
    ".mhd": re.compile(rb"(?i)ElementDataFile[ \t]*=.*"),
}
"""The last line of a header that is text."""

_PATIENT_SPACE = re.compile(rb"(?i)(right-anterior|left-anterior|left-posterior)-superior(-time)?|(RAS|LAS|LPS)T?")
"""NRRD spaces that are the patient's (definition of NRRD, section 5)."""

_OTHER_SPACE = re.compile(rb"(?i)(scanner-xyz|3D-(right|left)-handed)(-time)?")
"""The others that there are, a scanner's or nobody's."""

_MILLIMETRES = {b"mm", b"millimeter", b"millimeters", b"millimetre", b"millimetres", b"none", b"???", b""}
"""Units that a header may name; without one, lengths are in millimetres as everywhere in medicine."""

UNKNOWN_DIRECTION = "The file does not say how the scan lies: check the side of each ear."
"""Said of a file that is read as if its axes were the patient's."""


def read_volume(path: Path | str, series_number: int | None = None, progress: Progress = Progress()) -> Volume:
    """A scan from disk, at its true place.

    Args:
        path: a file with one of SCAN_SUFFIXES, or a folder of DICOM slices; a link is what it leads to, under its own
            name.
        series_number: which DICOM series to take from a folder with several.
        progress: told in notes what of a DICOM folder was left aside, and where a file does not say how the scan lies,
            or says it in two ways.

    Returns:
        The volume in the file's own order and handedness; its name is the stem of the file, or the folder's name.

    Raises:
        InputError: one sentence on what is wrong with the file and what to do.
    """
    return _read(path, series_number, progress, are_labels=False)


def read_labels(path: Path | str) -> Volume:
    """Labels from disk, such as a segmentation that Slicer saved.

    Args:
        path: as of read_volume; a segmentation (.seg.nrrd) counts if no two of its segments overlap.

    Returns:
        The label map, its voxels as they are in the file: 0 where there is nothing.

    Raises:
        InputError: as read_volume.
    """
    return _read(path, None, Progress(), are_labels=True)


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
    check_name(path)
    try:
        with replacing(path) as unfinished, quiet_libraries():
            sitk.WriteImage(image, str(unfinished), useCompression=True)
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


def _read(path: Path | str, series_number: int | None, progress: Progress, are_labels: bool) -> Volume:
    if path == "":
        raise InputError("The path of the scan is empty; give a file or a folder.")
    path = Path(path)
    check_name(path)
    if not os.path.exists(path):  # Path.exists raises where the name is too long for a file
        if os.path.islink(path):
            raise InputError(f"{path} is a link that leads nowhere; fetch the file that it stands for.")
        raise InputError(f"There is no file or folder {path}; check the path.")
    with quiet_libraries():
        if path.is_dir():
            return read_dicom_folder(Path(os.path.abspath(path)), series_number, progress)
        _check_kind(path)
        if series_number is not None:
            raise InputError(f"{path.name} is a file and has no series to choose from; leave the series number out.")
        try:
            return _read_file(path, progress, are_labels)
        except OSError as error:
            raise InputError(f"{path.name} cannot be opened ({error.strerror}).") from error


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


def _read_file(path: Path, progress: Progress, are_labels: bool) -> Volume:
    suffix = scan_suffix(path)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    forms = None
    try:
        if suffix in (".nii", ".nii.gz"):
            forms = check_nifti(path, is_compressed=suffix == ".nii.gz")
            says_how_it_lies = forms is None or forms.say_how_it_lies
        else:
            says_how_it_lies = _check_header(path, suffix)
        reader.ReadImageInformation()
        _check_segments(reader, path, are_labels)
        sizes = _spatial_sizes(reader, path)
        check_size(sizes[::-1])
        _check_checksum(path, suffix)
        image = reader.Execute()
    except (RuntimeError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(_sentence(path, str(error))) from error
    if image.GetDimension() > 3:
        image = image[(slice(None),) * 3 + (0,) * (image.GetDimension() - 3)]
    if not says_how_it_lies:
        progress.note(UNKNOWN_DIRECTION)
    volume = Volume.from_sitk(image, path.name[: -len(suffix)])
    if forms is not None and (note := forms.note_of_use(volume.grid)):
        progress.note(note)
    return volume


def _check_segments(reader: sitk.ImageFileReader, path: Path, are_labels: bool) -> None:
    if not any(key.startswith("Segment0_") for key in reader.GetMetaDataKeys()):
        return
    if not are_labels:
        raise InputError(f"{path.name} is a segmentation, not a scan; choose the CT scan itself.")
    if reader.GetNumberOfComponents() != 1:
        raise InputError(
            f"{path.name} holds segments that overlap, in {reader.GetNumberOfComponents()} layers; export the "
            "labyrinth alone as a label map (Slicer's module Segmentations, Export to files or to labelmap)."
        )


def _spatial_sizes(reader: sitk.ImageFileReader, path: Path) -> tuple[int, ...]:
    sizes = reader.GetSize()
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


def _check_header(path: Path, suffix: str) -> bool:
    """Refuses what the readers of NRRD and MetaImage would quietly mend: an absent spacing, another handedness.

    Returns:
        Whether the file says how the scan lies in the patient.

    Raises:
        InputError: what the header says cannot be used.
    """
    header, _ = read_header(path, _HEADER_ENDS[suffix])
    if suffix in (".nrrd", ".nhdr"):
        if re.search(rb"(?mi)^encoding:[ \t]*(bzip2|bz2)\b", header):
            raise InputError(f"{path.name} is compressed by bzip2, which is not read here; save it compressed by gzip.")
        given = re.search(rb"(?m)^(space directions|spacings):", header)
        unclear = re.search(rb"(?m)^space directions:.*\bnone\b", header) and b"dimension: 3" in header
        unclear = unclear or re.search(rb"(?mi)^(space directions|spacings):.*\bnan\b", header)
        units = re.search(rb"(?mi)^(?:space )?units:[ \t]*(.*)$", header)
        says_how_it_lies = _check_space(path, header)
    else:
        given = re.search(rb"(?mi)^(ElementSpacing|ElementSize)\s*=", header)
        unclear = False
        units = re.search(rb"(?mi)^DistanceUnits\s*=[ \t]*(.*)$", header)
        says_how_it_lies = re.search(rb"(?mi)^(TransformMatrix|Rotation|Orientation)\s*=", header) is not None
    if header and (not given or unclear) and header.lstrip()[:4] in (b"NRRD", b"Obje", b"NDim"):
        raise InputError(f"{path.name} does not say how large its voxels are; export it again with its true spacing.")
    if units and (other := set(re.findall(rb"[^\s\"?]+", units[1].lower())) - _MILLIMETRES):
        raise InputError(
            f"{path.name} gives its lengths in {min(other).decode('utf-8', 'replace')}, which is not read here; "
            "export it again in millimetres."
        )
    return says_how_it_lies


def _check_checksum(path: Path, suffix: str) -> None:
    """Refuses compressed voxels that are not those that were written.

    Raises:
        EOFError, zlib.error: they are not.
    """
    if suffix in _HEADER_ENDS:
        check = check_compressed_nrrd if suffix in (".nrrd", ".nhdr") else check_compressed_metaimage
        check(path, *read_header(path, _HEADER_ENDS[suffix]))


def _check_space(path: Path, header: bytes) -> bool:
    """Whether the axes of a NRRD file are the patient's; a space that may be mirrored is refused."""
    found = re.search(rb"(?mi)^space:[ \t]*(.*?)[ \t]*$", header)
    space = found[1] if found else b""
    if space.lower().startswith(b"3d-left-handed"):
        raise InputError(
            f"{path.name} is in the space 3D-left-handed, which may show a left ear as a right one; "
            "export it again in a space of the patient, such as left-posterior-superior."
        )
    if not space:
        return False
    if not (_PATIENT_SPACE.fullmatch(space) or _OTHER_SPACE.fullmatch(space)):
        raise InputError(
            f"{path.name} is in the space “{space.decode('utf-8', 'replace')}”, which NRRD does not know; "
            "export it again in a space of the patient, such as left-posterior-superior."
        )
    return _PATIENT_SPACE.fullmatch(space) is not None


def _or(suffixes: tuple[str, ...]) -> str:
    return ", ".join(suffixes[:-1]) + " or " + suffixes[-1]
