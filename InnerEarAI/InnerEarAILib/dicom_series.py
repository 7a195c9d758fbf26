"""One CT volume out of a folder of DICOM slices: which series, in which order, and where in space.

The order comes from each slice's position along the normal of its plane, never from its file name or instance number.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from InnerEarAILib.dicom_files import Slice, UnreadableFile, slices_below
from InnerEarAILib.progress import Progress
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

CLEAR_MAJORITY = 2.0
"""A series is taken without asking where it has at least this many times the slices of every other; ours."""

MOST_LISTED = 8
"""How many series a sentence names; ours."""

STEP_TOLERANCE = 0.05
"""Share of the slice distance by which a slice may lie off its place (positions are rounded in files); ours."""

STEP_TOLERANCE_MM = 0.011
"""Never less than this: some scanners write positions with two decimals; ours."""

PLANE_TOLERANCE = 2e-4
"""Slices are of one orientation and pixel size where cosines differ by less, and edges by less than this share of
them: the far corner of a slice of 250 mm then moves by 0.05 mm; ours."""


@dataclass(frozen=True)
class _Series:
    """Slices of one series, one size and one orientation."""

    slices: tuple[Slice, ...]

    @property
    def uid(self) -> str:
        """What all slices of a series have in common; "" where files have none."""
        return self.slices[0].tags["series"]

    @property
    def modality(self) -> str:
        return self.slices[0].tags["modality"]

    @property
    def may_be_ct(self) -> bool:
        return self.modality not in MODALITIES_OTHER_THAN_CT

    @property
    def is_coloured(self) -> bool:
        return self.slices[0].tags["samples"] not in ("", "1")

    @property
    def number(self) -> int | None:
        """As files have it, "3", "003" or "+3"; None where they have none."""
        number = self.slices[0].number("number", -1)
        return None if number < 0 else number

    @property
    def count(self) -> int:
        """How many slices there are, those within multi-frame files among them."""
        return sum(max(1, one.number("frames", 1)) for one in self.slices)

    def described(self) -> str:
        """For a list of choices; no text that a person typed, since that may name the patient."""
        kernel = self.slices[0].tags["kernel"]
        number = "without a number" if self.number is None else self.number
        return f"series {number} ({_slices(self.count)}{f', kernel {kernel}' if kernel else ''})"


def read_dicom_folder(folder: Path, series_number: int | None = None, progress: Progress = Progress()) -> Volume:
    """The CT volume in a folder of DICOM files and the folders below it.

    Args:
        folder: its other files are left aside.
        series_number: DICOM series number to take; None takes the only series, or the one that has by far most slices.
        progress: told in notes how many slices of the series were left aside, and, where none was asked for, which
            other CT series.

    Returns:
        Rescaled values (Hounsfield units in CT); the third axis runs along the positions of the slices. The folder's
        name is the volume's.

    Raises:
        InputError: no DICOM slices, no CT, several series to choose from, missing or doubled slices, unequal slice
            distances, a tilted gantry, colour, inverted greys, multi-frame files, or files and pixels that cannot be
            read.
    """
    found, unreadable = slices_below(folder)
    there = _series_of(found)
    series = _chosen(there, folder.name, series_number)
    _check_files(series, unreadable, folder.name)
    odd, others = _left_aside(there, series)
    slices, affine = _ordered(series, folder.name, odd)
    if odd:
        progress.note(f"Left aside in the series: {_slices(odd)} of another size, plane or pixel spacing.")
    if others and series_number is None:
        taken = series.described()
        progress.note(f"{taken[0].upper()}{taken[1:]} was taken; left aside: {_listed(others)}.")
    rows, columns = int(slices[0].tags["rows"]), int(slices[0].tags["columns"])
    check_size((len(slices), rows, columns))
    check_spacing(np.linalg.norm(affine[:3, :3], axis=0))
    reader = sitk.ImageSeriesReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileNames([one.path for one in slices])
    if len({one.number_format() for one in slices}) > 1:
        # The reader would keep every slice in whole numbers of the first one's range.
        reader.SetOutputPixelType(sitk.sitkFloat32)
    try:
        voxels = sitk.GetArrayFromImage(reader.Execute())
    except RuntimeError as error:
        raise InputError(
            f"A slice of the DICOM folder {folder.name} cannot be read (truncated, or compressed in an unknown way); "
            "export the series again, uncompressed."
        ) from error
    return Volume(voxels, affine, folder.name)


def _series_of(slices: list[Slice]) -> list[_Series]:
    groups: dict[tuple[str, ...], list[dict[tuple[str, ...], Slice]]] = {}
    for one in slices:
        tags = one.tags
        planes = groups.setdefault((tags["series"], tags["rows"], tags["columns"]), [])
        plane = next((plane for plane in planes if _in_one_plane(one, next(iter(plane.values())))), None)
        if plane is None:
            planes.append(plane := {})
        # The same slice exported twice is one slice; without an identity of its own every file is one.
        identity = (tags["instance"], tags["position"]) if tags["instance"] else (one.path,)
        plane.setdefault(identity, one)
    return [_Series(tuple(plane.values())) for planes in groups.values() for plane in planes]


def _in_one_plane(one: Slice, other: Slice) -> bool:
    """Whether two slices are parallel and of one pixel size; computed tags differ in their last digits."""
    for tag, relative in (("orientation", False), ("spacing", True)):
        a, b = one.numbers(tag), other.numbers(tag)
        if len(a) != len(b) or (np.abs(a - b) > PLANE_TOLERANCE * (np.abs(b) if relative else 1)).any():
            return False
    return True


def _chosen(found: list[_Series], folder: str, series_number: int | None) -> _Series:
    if not found:
        raise InputError(
            f"There are no DICOM images in the folder {folder} that can be read; "
            "give the folder that holds the slices of one series."
        )
    ct = [series for series in found if series.may_be_ct]
    if not ct:
        modality = found[0].modality
        raise InputError(
            f"The DICOM images in the folder {folder} are {modality} ({MODALITIES_OTHER_THAN_CT[modality]}), not CT; "
            "inner ears are found in CT alone."
        )
    grey = [series for series in ct if not series.is_coloured]
    if not grey:
        raise InputError(f"The DICOM images in the folder {folder} are in colour; choose the CT series itself.")
    grey.sort(key=lambda series: series.count, reverse=True)
    wanted = [series for series in grey if series_number is None or series.number == series_number]
    if not wanted:
        raise InputError(
            f"There is no CT series {series_number} in the folder {folder}; choose one of these: {_listed(grey)}."
        )
    if len(wanted) > 1 and wanted[0].count < CLEAR_MAJORITY * wanted[1].count:
        distinct = len({series.number for series in wanted} - {None}) == len(wanted)
        advice = (
            "name one by its series number, or give a folder that holds only one"
            if distinct
            else "their numbers do not tell them apart, so move the one you want into a folder of its own"
        )
        raise InputError(f"The folder {folder} holds several CT series: {_listed(wanted)}; {advice}.")
    return wanted[0]


def _listed(series: list[_Series]) -> str:
    listed = ", ".join(one.described() for one in series[:MOST_LISTED])
    return listed if len(series) <= MOST_LISTED else f"{listed} and {len(series) - MOST_LISTED} more"


def _slices(count: int) -> str:
    return "1 slice" if count == 1 else f"{count} slices"


def _left_aside(there: list[_Series], taken: _Series) -> tuple[int, list[_Series]]:
    """How many slices of the series do not fit those that were taken, and the other series that may be CT."""
    others = [one for one in there if one is not taken and one.may_be_ct and not one.is_coloured]
    odd = sum(one.count for one in others if one.uid and one.uid == taken.uid)
    return odd, [one for one in others if not one.uid or one.uid != taken.uid]


def _check_files(series: _Series, unreadable: list[UnreadableFile], folder: str) -> None:
    """Refuses what would leave slices out at the ends, or make up pixels."""
    if any(one.tags["photometry"] == "MONOCHROME1" for one in series.slices):
        # GDCM inverts the stored values before it rescales them: air would be the brightest.
        raise InputError(
            f"The DICOM slices in the folder {folder} are stored with inverted greys (MONOCHROME1), which gives no "
            "Hounsfield units; export the series again as MONOCHROME2."
        )
    lost = sum(one.belongs_to(series.slices) for one in unreadable)
    lost += sum(not one.is_whole() for one in series.slices)
    if lost:
        raise InputError(
            f"{'A file' if lost == 1 else f'{lost} files'} of the DICOM series in the folder {folder} cannot be read "
            "whole (empty or cut off); copy or export the series again."
        )


def _ordered(series: _Series, folder: str, odd: int) -> tuple[list[Slice], np.ndarray]:
    """The slices along their normal, and the affine that places them; `odd` others of the series do not fit."""
    if any(one.number("frames", 1) > 1 for one in series.slices):
        raise InputError(
            f"The folder {folder} holds multi-frame DICOM (enhanced CT), which is not read here; "
            "load it in Slicer and save the volume as NRRD."
        )
    along_i, along_j, spacing, places = _placed(series, folder)
    normal = np.cross(along_i, along_j)
    order = np.argsort(places @ normal, kind="stable")
    places = places[order]
    step_mm = _slice_distance(places @ normal, folder, odd)
    _check_straight(places, normal, step_mm, folder)
    affine = np.eye(4)
    affine[:3, 0] = along_i * spacing[1]
    affine[:3, 1] = along_j * spacing[0]
    affine[:3, 2] = (places[-1] - places[0]) / (len(places) - 1)
    affine[:3, 3] = places[0]
    return [series.slices[n] for n in order], affine


def _placed(series: _Series, folder: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Unit vectors (3,) along i and j, pixel spacing (2,) as DICOM has it, and the slices' positions (n, 3) LPS mm."""
    first = series.slices[0]
    orientation, spacing = first.numbers("orientation"), first.numbers("spacing")
    positions = [one.numbers("position") for one in series.slices]
    if (
        any(len(numbers) != n for numbers, n in [(orientation, 6), (spacing, 2), *((one, 3) for one in positions)])
        or not np.isfinite(np.concatenate([orientation, *positions])).all()
        or not (lengths := np.linalg.norm(orientation.reshape(2, 3), axis=1)).all()
    ):
        raise InputError(
            f"The DICOM slices in the folder {folder} do not say where in space they lie; "
            "export the original series, not a screen capture or a scout view."
        )
    along_i, along_j = orientation.reshape(2, 3) / lengths[:, None]
    return along_i, along_j, spacing, np.array(positions)


def _check_straight(places: np.ndarray, normal: np.ndarray, step_mm: float, folder: str) -> None:
    """Refuses slices, (n, 3) LPS mm in their order, that are not stacked along their normal."""
    heights = places @ normal
    displacement = places[-1] - places[0]
    tilt = np.linalg.norm(displacement - normal * (heights[-1] - heights[0])) / (heights[-1] - heights[0])
    if tilt > AXES_TOLERANCE:
        raise InputError(
            f"The slices in the folder {folder} are shifted against each other (gantry tilt of "
            f"{np.degrees(np.arctan(tilt)):.1f}°); load it with Slicer's DICOM module, "
            "harden its acquisition transform (Data module, right click on the transform), and save it as NRRD."
        )
    aside_mm = np.linalg.norm(places - np.linspace(places[0], places[-1], len(places)), axis=1)
    aside_mm = np.sqrt(np.maximum(aside_mm**2 - (heights - np.linspace(heights[0], heights[-1], len(heights))) ** 2, 0))
    if aside_mm.max() > 2 * max(STEP_TOLERANCE * step_mm, STEP_TOLERANCE_MM):
        raise InputError(
            f"Slices in the folder {folder} lie up to {aside_mm.max():.2g} mm aside of the others (put together from "
            "several series, perhaps); export one series as it was reconstructed."
        )


def _slice_distance(heights_mm: np.ndarray, folder: str, odd: int) -> float:
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
        if odd:
            raise InputError(
                f"The series in the folder {folder} has {_slices(odd)} of another size, plane or pixel spacing "
                f"than the others, and a gap after slice {place + 1} of {len(heights_mm)}; "
                "export it again, its slices alike."
            )
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
