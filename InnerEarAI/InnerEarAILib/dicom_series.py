"""One CT volume out of a folder of DICOM slices: which series, in which order, and where in space.

The order comes from each slice's position along the normal of its plane, never from its file name or instance number.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from InnerEarAILib.scan_checks import LEAST_EXTENT_MM, check_size, check_spacing
from InnerEarAILib.volume import AXES_TOLERANCE, InputError, Volume

MODALITIES_OTHER_THAN_CT = {
    "MR": "magnetic resonance",
    "PT": "positron emission",
    "NM": "nuclear medicine",
    "US": "ultrasound",
    "SEG": "a segmentation",
    "RTSTRUCT": "contours",
    "RTDOSE": "a dose",
}
"""Named in a refusal. What is not here may be CT: flat-panel volumes also come as XA or OT."""

MOST_FILES = 20_000
"""A folder with more is an archive, not a scan; ours."""

CLEAR_MAJORITY = 2.0
"""A series is taken without asking where it has at least this many times the slices of every other; ours."""

MOST_LISTED = 8
"""How many series a sentence names; ours."""

STEP_TOLERANCE = 0.05
"""Share of the slice distance by which a slice may lie off its place (positions are rounded in files); ours."""

STEP_TOLERANCE_MM = 0.011
"""Never less than this: some scanners write positions with two decimals; ours."""

_TAGS = {
    "series": "0020|000e",
    "number": "0020|0011",
    "instance": "0008|0018",
    "modality": "0008|0060",
    "kernel": "0018|1210",
    "frames": "0028|0008",
    "samples": "0028|0002",
    "rows": "0028|0010",
    "columns": "0028|0011",
    "position": "0020|0032",
    "orientation": "0020|0037",
    "spacing": "0028|0030",
}


@dataclass(frozen=True)
class _Slice:
    path: str
    tags: dict[str, str]

    def numbers(self, tag: str) -> np.ndarray:
        """The numbers of a tag with several, empty where it is absent or unreadable."""
        try:
            return np.array([float(part) for part in self.tags[tag].split("\\") if part.strip()])
        except ValueError:
            return np.array([])


@dataclass(frozen=True)
class _Series:
    """Slices of one series, one size and one orientation."""

    slices: tuple[_Slice, ...]

    @property
    def modality(self) -> str:
        return self.slices[0].tags["modality"]

    @property
    def is_coloured(self) -> bool:
        return self.slices[0].tags["samples"] not in ("", "1")

    def described(self) -> str:
        """For a list of choices; no text that a person typed, since that may name the patient."""
        tags = self.slices[0].tags
        kernel = f", kernel {tags['kernel']}" if tags["kernel"] else ""
        slices = "1 slice" if len(self.slices) == 1 else f"{len(self.slices)} slices"
        return f"series {tags['number'] or 'without a number'} ({slices}{kernel})"


def read_dicom_folder(folder: Path, series_number: int | None = None) -> Volume:
    """The CT volume in a folder of DICOM files and the folders below it.

    Args:
        folder: its other files are left aside.
        series_number: DICOM series number to take; None takes the only series, or the one that has by far most slices.

    Returns:
        Rescaled values (Hounsfield units in CT); the third axis runs along the positions of the slices. The folder's
        name is the volume's.

    Raises:
        InputError: no DICOM slices, no CT, several series to choose from, missing or doubled slices, unequal slice
            distances, a tilted gantry, colour, multi-frame files, or pixels that cannot be read.
    """
    series = _chosen(_series_in(folder), folder.name, series_number)
    slices, affine = _ordered(series, folder.name)
    rows, columns = int(slices[0].tags["rows"]), int(slices[0].tags["columns"])
    check_size((len(slices), rows, columns))
    check_spacing(np.linalg.norm(affine[:3, :3], axis=0))
    reader = sitk.ImageSeriesReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileNames([one.path for one in slices])
    try:
        voxels = sitk.GetArrayFromImage(reader.Execute())
    except RuntimeError as error:
        raise InputError(
            f"A slice of the DICOM folder {folder.name} cannot be read (truncated, or compressed in an unknown way); "
            "export the series again, uncompressed."
        ) from error
    return Volume(voxels, affine, folder.name)


def is_dicom_file(path: Path) -> bool:
    """Whether a file has the DICOM preamble."""
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def _series_in(folder: Path) -> list[_Series]:
    groups: dict[tuple, dict[str, _Slice]] = {}
    for one in _slices_below(folder):
        tags = one.tags
        plane = tuple(np.round(one.numbers("orientation"), 3))
        spacing = tuple(np.round(one.numbers("spacing"), 5))
        key = (tags["series"], tags["rows"], tags["columns"], plane, spacing)
        # The same slice exported twice is one slice; without an identity of its own every file is one.
        groups.setdefault(key, {}).setdefault(tags["instance"] or one.path, one)
    return [_Series(tuple(group.values())) for group in groups.values()]


def _slices_below(folder: Path) -> Iterator[_Slice]:
    count = 0
    for directory, _, names in os.walk(folder):
        for name in names:
            count += 1
            if count > MOST_FILES:
                raise InputError(
                    f"The folder {folder.name} holds more than {MOST_FILES} files; "
                    "give the folder of a single DICOM series."
                )
            path = Path(directory, name)
            if name.upper() != "DICOMDIR" and is_dicom_file(path):
                one = _read_tags(str(path))
                if one is not None:
                    yield one


def _read_tags(path: str) -> _Slice | None:
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(path)
    try:
        reader.ReadImageInformation()
    except RuntimeError:
        return None  # no pixels: reports, presentation states; a lost slice shows as a gap
    return _Slice(
        path,
        {
            name: reader.GetMetaData(tag).strip(" \0") if reader.HasMetaDataKey(tag) else ""
            for name, tag in _TAGS.items()
        },
    )


def _chosen(found: list[_Series], folder: str, series_number: int | None) -> _Series:
    if not found:
        raise InputError(
            f"There are no DICOM images in the folder {folder}; give the folder that holds the slices of one series."
        )
    ct = [series for series in found if series.modality not in MODALITIES_OTHER_THAN_CT]
    if not ct:
        modality = found[0].modality
        raise InputError(
            f"The DICOM images in the folder {folder} are {modality} ({MODALITIES_OTHER_THAN_CT[modality]}), not CT; "
            "inner ears are found in CT alone."
        )
    grey = [series for series in ct if not series.is_coloured]
    if not grey:
        raise InputError(f"The DICOM images in the folder {folder} are in colour; choose the CT series itself.")
    grey.sort(key=lambda series: len(series.slices), reverse=True)
    wanted = [s for s in grey if series_number is None or s.slices[0].tags["number"] == str(series_number)]
    if not wanted:
        raise InputError(
            f"There is no CT series {series_number} in the folder {folder}; choose one of these: {_listed(grey)}."
        )
    if len(wanted) > 1 and len(wanted[0].slices) < CLEAR_MAJORITY * len(wanted[1].slices):
        raise InputError(
            f"The folder {folder} holds several CT series: {_listed(wanted)}; "
            "name one by its series number, or give a folder that holds only one."
        )
    return wanted[0]


def _listed(series: list[_Series]) -> str:
    listed = ", ".join(one.described() for one in series[:MOST_LISTED])
    return listed if len(series) <= MOST_LISTED else f"{listed} and {len(series) - MOST_LISTED} more"


def _ordered(series: _Series, folder: str) -> tuple[list[_Slice], np.ndarray]:
    """The slices along their normal, and the affine that places them."""
    first = series.slices[0]
    if any(one.tags["frames"] not in ("", "0", "1") for one in series.slices):
        raise InputError(
            f"The folder {folder} holds multi-frame DICOM (enhanced CT), which is not read here; "
            "load it in Slicer and save the volume as NRRD."
        )
    orientation, spacing = first.numbers("orientation"), first.numbers("spacing")
    positions = [one.numbers("position") for one in series.slices]
    if len(orientation) != 6 or len(spacing) != 2 or any(len(position) != 3 for position in positions):
        raise InputError(
            f"The DICOM slices in the folder {folder} do not say where in space they lie; "
            "export the original series, not a screen capture or a scout view."
        )
    along_i, along_j = orientation[:3], orientation[3:]
    normal = np.cross(along_i, along_j)
    places = np.array(positions)
    order = np.argsort(places @ normal, kind="stable")
    places = places[order]
    heights = places @ normal
    step_mm = _slice_distance(heights, folder)
    displacement = places[-1] - places[0]
    tilt = np.linalg.norm(displacement - normal * (heights[-1] - heights[0])) / (heights[-1] - heights[0])
    if tilt > AXES_TOLERANCE:
        raise InputError(
            f"The slices in the folder {folder} are shifted against each other (gantry tilt of "
            f"{np.degrees(np.arctan(tilt)):.1f}°); load it with Slicer's DICOM module, "
            "harden its acquisition transform (Data module, right click on the transform), and save it as NRRD."
        )
    affine = np.eye(4)
    affine[:3, 0] = along_i * spacing[1]
    affine[:3, 1] = along_j * spacing[0]
    affine[:3, 2] = normal * step_mm if len(places) == 1 else displacement / (len(places) - 1)
    affine[:3, 3] = places[0]
    return [series.slices[n] for n in order], affine


def _slice_distance(heights_mm: np.ndarray, folder: str) -> float:
    """Distance between neighbouring slices, after making sure that they are as many and as even as they should be."""
    if len(heights_mm) < 2:
        raise InputError(
            f"The folder {folder} holds a single DICOM slice; a scan needs all slices of a series, "
            f"at least {LEAST_EXTENT_MM:g} mm of them."
        )
    steps = np.diff(heights_mm)
    usual = float(np.median(steps))
    tolerance = max(STEP_TOLERANCE * usual, STEP_TOLERANCE_MM)
    if (steps < tolerance).any():
        raise InputError(
            f"Several DICOM slices in the folder {folder} lie at the same place (a time series, or two "
            "reconstructions in one); export a single volume."
        )
    lost = np.rint(steps / usual) - 1
    if lost.max() > 0:
        place = int(np.argmax(lost))
        raise InputError(
            f"Slices are missing in the folder {folder}: {int(lost.sum())} at least, the first gap after slice "
            f"{place + 1} of {len(heights_mm)}; export the whole series again."
        )
    even = np.linspace(heights_mm[0], heights_mm[-1], len(heights_mm))
    if np.abs(steps - usual).max() > 2 * tolerance or np.abs(heights_mm - even).max() > 2 * tolerance:
        raise InputError(
            f"The slices in the folder {folder} are unevenly spaced, {steps.min():.3g} to {steps.max():.3g} mm apart; "
            "choose a reconstruction with even spacing."
        )
    return usual
