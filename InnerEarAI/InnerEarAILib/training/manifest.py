"""A labelled data set in one small file, checked as a whole before anything is trained on it.

name = "Temporal bones of our clinic"     # for the model's card
labyrinth_labels = [1, 2, 3]              # optional; else every label but 0
spacing_mm = 0.099                        # optional for images: what their voxels should measure
axes = "ijk"                              # optional, of HDF5 arrays: "ijk" (left–right first, the default) or "kji"

[[case]]                                  # one ear each
name = "A01"
scan = "A01.nrrd"                         # paths as seen from the manifest
labels = "A01_labels.nrrd"
landmarks = "A01.mrk.json"
unmarked = ["round window"]               # optional: landmarks that nobody marked here
patient = "17"                            # optional: of one patient or one scan; never on both sides of a split

[[case]]
name = "A02"
hdf5 = "A02.hdf5"                         # scan, labels and landmarks in one; needs spacing_mm
"""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from InnerEarAILib.landmarks import LANDMARK_NAMES
from InnerEarAILib.phantom.given_anatomy import LANDMARK_MARGIN_MM, PLAUSIBLE_LABYRINTH_MM3
from InnerEarAILib.preprocessing import PAPER_VOXEL_MM
from InnerEarAILib.scan_files import read_volume
from InnerEarAILib.training.configuration import ConfigurationError
from InnerEarAILib.training.labelled_scan import HDF5_SUFFIXES, LabelledScan, read_hdf5, read_labelled_files
from InnerEarAILib.volume import InputError, Volume

SPACING_TOLERANCE = 0.02
"""Share by which voxels may differ from the manifest's spacing_mm."""

COARSEST = 3.0
"""A scan whose voxels are this many times as large as the model's cannot teach it anything."""

GRID_TOLERANCE_VOXELS = 0.05
"""How far a label map may lie beside its scan."""

LARGEST_LABYRINTH_MM = 30.0
"""Along any axis a labyrinth reaches over less than 20 mm; what reaches this far is not one ear."""

_RAS = np.array([-1.0, -1.0, 1.0])
"""From LPS to RAS, and back."""

_RAS_SIGNS = "; its signs look like RAS: say so in the file (its coordinate system), or convert it to LPS"

_TOP = ("name", "labyrinth_labels", "spacing_mm", "axes", "case")
_CASE = ("name", "scan", "labels", "landmarks", "unmarked", "patient", "hdf5")


class ManifestError(ConfigurationError):
    """What is wrong with a data set, everything at once.

    Attributes:
        mistakes: one sentence each.
    """

    def __init__(self, title: str, mistakes: Iterable[str]) -> None:
        self.mistakes = tuple(mistakes)
        super().__init__("\n".join((title, *(f"- {mistake}" for mistake in self.mistakes))))


@dataclass(frozen=True)
class Case:
    """One ear of a data set.

    Attributes:
        name: what it is called.
        files: scan, labels and, where any is marked, landmarks; or the one HDF5 file.
        unmarked: names of landmarks that nobody marked.
        labyrinth_labels: labels that are labyrinth; empty: all but 0.
        spacing_mm: what its voxels should measure; None: whatever they do.
        axes: order of the axes of HDF5 arrays.
        patient: whose ear it is; empty: nobody says.
    """

    name: str
    files: tuple[Path, ...]
    unmarked: tuple[str, ...] = ()
    labyrinth_labels: tuple[int, ...] = ()
    spacing_mm: float | None = None
    axes: str = "ijk"
    patient: str = ""

    @property
    def one_patient(self) -> str:
        """The same for all cases that must stay together: of one patient, or of one scan where nobody says whose."""
        return f"patient {self.patient}" if self.patient else f"scan {self.files[0].resolve()}"

    def read(self) -> LabelledScan:
        """The scan with its labels and landmarks.

        Raises:
            InputError: if a file cannot be read.
        """
        if len(self.files) == 1:
            return read_hdf5(self.files[0], self.spacing_mm, self.axes, _is_marked(self.unmarked))
        return read_labelled_files(*self.files)

    def read_scan(self) -> Volume:
        """The scan alone.

        Raises:
            InputError: if the file cannot be read.
        """
        return self.read().scan if len(self.files) == 1 else read_volume(self.files[0])

    def labyrinth(self, labels: np.ndarray) -> np.ndarray:
        """Which voxels are labyrinth, bool."""
        return np.isin(labels, self.labyrinth_labels) if self.labyrinth_labels else labels > 0


@dataclass(frozen=True)
class Manifest:
    """A data set.

    Attributes:
        name: for the card.
        cases: its ears.
    """

    name: str
    cases: tuple[Case, ...]


def read_manifest(path: Path) -> Manifest:
    """The data set that a TOML or JSON manifest describes, or the HDF5 files of a folder; no scan is opened yet.

    Raises:
        ManifestError: with all that is wrong with the description.
    """
    if path.is_dir():
        return _folder(path)
    table = _table(path)
    mistakes = _unknown(table, _TOP, "The manifest")
    rows = table.get("case", [])
    rows = rows if isinstance(rows, list) and all(isinstance(row, dict) for row in rows) else []
    if not rows:
        mistakes.append("The manifest lists no [[case]].")
    shared, wrong_of_all = _shared(table)
    mistakes += wrong_of_all
    cases, names = [], set()
    for number, row in enumerate(rows, start=1):
        name = str(row.get("name", "")) or f"number {number}"
        wrong = _case_mistakes(row, name, shared["spacing_mm"] is not None)
        if name in names:
            wrong.append(f"Case {name} is listed twice.")
        names.add(name)
        mistakes += wrong
        if not wrong:
            files = tuple(path.parent / row[key] for key in _files(row))
            unmarked, patient = tuple(row.get("unmarked", ())), row.get("patient", "").strip()
            cases.append(Case(name, files, unmarked, patient=patient, **shared))
    if mistakes:
        # The scans of cases that are well described are looked at all the same, so that one round of mending is enough.
        raise ManifestError(f"{path} cannot be used:", [*mistakes, *data_mistakes(cases)])
    return Manifest(str(table.get("name", path.stem)), tuple(cases))


def _folder(path: Path) -> Manifest:
    """HDF5 files without a manifest, which are those of Zenodo 10.5281/zenodo.8277159, the paper's own."""
    found = sorted(file for file in path.iterdir() if file.suffix.lower() in HDF5_SUFFIXES)
    if not found:
        raise ManifestError(f"{path} holds no data set:", ["it has no HDF5 files; write a manifest for others."])
    # Of the path from the root, since "." has no name.
    return Manifest(path.resolve().name, tuple(Case(file.stem, (file,), spacing_mm=PAPER_VOXEL_MM) for file in found))


def _table(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8-sig")  # programs of Windows begin a file with its mark
        table = json.loads(text) if path.suffix.lower() == ".json" else tomllib.loads(text)
        if not isinstance(table, dict):
            raise ValueError("it is no table")
    except (OSError, ValueError) as error:
        raise ManifestError(f"{path} cannot be read:", [f"{error}."]) from None
    return table


def _shared(table: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """What a manifest says of all its cases, as `Case` takes it, and one sentence for everything wrong with it."""
    mistakes = []
    spacing, axes = table.get("spacing_mm"), table.get("axes", "ijk")
    if spacing is not None and not (isinstance(spacing, int | float) and spacing > 0):
        mistakes.append(f"The manifest's spacing_mm must be a positive number, not {spacing!r}.")
    if axes not in ("ijk", "kji"):
        mistakes.append(f'The manifest\'s axes must be "ijk" or "kji", not {axes!r}.')
    labels = table.get("labyrinth_labels", [])
    if not (isinstance(labels, list) and all(isinstance(n, int) and n > 0 for n in labels)):
        mistakes.append(f"The manifest's labyrinth_labels must be a list of whole numbers above 0, not {labels!r}.")
        labels = []
    return {"labyrinth_labels": tuple(labels), "spacing_mm": spacing, "axes": axes}, mistakes


def check_cases(cases: Iterable[Case], model_spacing_mm: float) -> None:
    """Opens all cases and says everything that is wrong with them.

    Raises:
        ManifestError: if anything is.
    """
    if mistakes := data_mistakes(cases, model_spacing_mm):
        raise ManifestError("The data set cannot be trained on:", mistakes)


def data_mistakes(cases: Iterable[Case], model_spacing_mm: float | None = None) -> list[str]:
    """One sentence for everything that is wrong with the files of the cases."""
    return [mistake for case in cases for mistake in case_mistakes(case, model_spacing_mm)]


def case_mistakes(case: Case, model_spacing_mm: float | None = None) -> list[str]:
    """One sentence for everything that is wrong with the files of a case."""
    try:
        read = case.read()
    except InputError as error:
        return [f"Case {case.name}: {error}"]
    return [f"Case {case.name}: {mistake}" for mistake in read_mistakes(case, read, model_spacing_mm)]


def read_mistakes(case: Case, read: LabelledScan, model_spacing_mm: float | None = None) -> list[str]:
    """One clause for everything that is wrong with what was read of a case.

    Args:
        case: what is said of it.
        read: what its files hold.
        model_spacing_mm: of the model that is to be trained on it; None: there is none.
    """
    scan, labels = read.scan, read.labels
    wrong = []
    spacing = scan.spacing_mm
    told = " × ".join(f"{edge:.3f}" for edge in spacing)
    if case.spacing_mm and np.abs(spacing / case.spacing_mm - 1).max() > SPACING_TOLERANCE:
        wrong.append(f"its voxels measure {told} mm, not {case.spacing_mm:g} mm as the manifest says.")
    if model_spacing_mm and spacing.max() > COARSEST * model_spacing_mm:
        wrong.append(f"its voxels of {told} mm are too coarse for a model of {model_spacing_mm:g} mm.")
    if not on_one_grid(scan, labels):
        wrong.append("its labels are not on the grid of its scan; export them again with the scan as reference volume.")
    if not np.isfinite(scan.voxels).all():
        wrong.append("its scan has voxels that are not numbers.")
    elif scan.voxels.min() == scan.voxels.max():
        wrong.append("every voxel of its scan has the same value.")
    if not are_whole_numbers(labels.voxels):
        return [*wrong, "its labels are not whole numbers."]
    wrong += [
        f"its {name} is not marked; mark it, or list it under unmarked."
        for name in LANDMARK_NAMES
        if name not in case.unmarked and name not in read.landmarks_lps
    ]
    marks = {name: place for name, place in read.landmarks_lps.items() if name not in case.unmarked}
    return wrong + truth_mistakes(scan, labels.with_voxels(case.labyrinth(labels.voxels)), marks)


def truth_mistakes(scan: Volume, labyrinth: Volume, landmarks_lps: Mapping[str, np.ndarray]) -> list[str]:
    """One clause for everything that is wrong with the truth of one ear, whoever trains on it or is judged by it.

    Args:
        scan: that shows the ear.
        labyrinth: bool or 0 and 1, on any grid.
        landmarks_lps: (3,) LPS mm by name; those that are marked.
    """
    places = np.argwhere(labyrinth.voxels)
    if not len(places):
        return ["no voxel of its labels is labyrinth.", *_landmark_mistakes(scan, landmarks_lps, places)]
    places_lps = labyrinth.grid.to_lps(places[:, ::-1])
    return _size_mistakes(places_lps, labyrinth.spacing_mm) + _landmark_mistakes(scan, landmarks_lps, places_lps)


def on_one_grid(scan: Volume, labels: Volume) -> bool:
    """Whether the voxels of a label map are those of a scan."""
    if labels.voxels.shape != scan.voxels.shape:
        return False
    beside_mm = np.abs(labels.grid.corners_lps() - scan.grid.corners_lps()).max()
    return bool(beside_mm <= GRID_TOLERANCE_VOXELS * scan.spacing_mm.min())


def are_whole_numbers(labels: np.ndarray) -> bool:
    """Whether an array can be a label map's."""
    return not np.issubdtype(labels.dtype, np.floating) or np.array_equal(labels, np.round(labels))


def _size_mistakes(labyrinth_lps: np.ndarray, spacing_mm: np.ndarray) -> list[str]:
    reach_mm = float(np.ptp(labyrinth_lps, axis=0).max())
    volume_mm3 = len(labyrinth_lps) * float(np.prod(spacing_mm))
    least, most = PLAUSIBLE_LABYRINTH_MM3
    if reach_mm <= LARGEST_LABYRINTH_MM and least <= volume_mm3 <= most:
        return []
    return [
        f"its labyrinth has {volume_mm3:.0f} mm³ and reaches over {reach_mm:.0f} mm, one ear {least:g} to {most:g} mm³ "
        f"and at most {LARGEST_LABYRINTH_MM:g} mm; if both ears lie in one label map, give each a case with labels of "
        f"its own; if its voxels do not measure {float(np.max(spacing_mm)):.3f} mm, correct the spacing (that of HDF5 "
        "files is a manifest's spacing_mm)."
    ]


def _landmark_mistakes(scan: Volume, landmarks_lps: Mapping[str, np.ndarray], labyrinth_lps: np.ndarray) -> list[str]:
    wrong = []
    limits = np.array(scan.voxels.shape[::-1]) - 0.5
    for name in LANDMARK_NAMES:
        if name not in landmarks_lps:
            continue
        position = landmarks_lps[name]
        index = scan.grid.to_indices(position)
        distance_mm = _distance_mm(position, labyrinth_lps)
        looks = _RAS_SIGNS if _distance_mm(position * _RAS, labyrinth_lps) <= LANDMARK_MARGIN_MM else ""
        if (index < -0.5).any() or (index > limits).any():
            wrong.append(f"its {name} lies outside the scan{looks}.")
        elif len(labyrinth_lps) and distance_mm > LANDMARK_MARGIN_MM:
            wrong.append(f"its {name} lies {distance_mm:.1f} mm from the labyrinth{looks}.")
    return wrong


def _distance_mm(position: np.ndarray, labyrinth_lps: np.ndarray) -> float:
    """From a position to the nearest voxel; infinite where there is none."""
    return float(np.sqrt(((labyrinth_lps - position) ** 2).sum(1).min())) if len(labyrinth_lps) else math.inf


def _case_mistakes(row: Mapping[str, Any], name: str, has_spacing: bool) -> list[str]:
    wrong = _unknown(row, _CASE, f"Case {name}")
    if not row.get("name"):
        wrong.append(f"Case {name} has no name.")
    wrong += [f"Case {name} has no entry {key}." for key in _files(row) if not isinstance(row.get(key), str)]
    if "hdf5" in row and not has_spacing:
        wrong.append(f"Case {name} is an HDF5 file, which does not tell its voxel size: give the manifest spacing_mm.")
    if not isinstance(row.get("patient", ""), str):
        wrong.append(f"Case {name} has the patient {row['patient']!r}, which must be a text.")
    unmarked = row.get("unmarked", [])
    for landmark in unmarked if isinstance(unmarked, list) else [unmarked]:
        if landmark not in LANDMARK_NAMES:
            wrong.append(f"Case {name} lists {landmark!r} as unmarked; landmarks are {', '.join(LANDMARK_NAMES)}.")
    return wrong


def _files(row: Mapping[str, Any]) -> tuple[str, ...]:
    """The entries of a case that name its files; without any landmark that is marked it has no file of them."""
    if "hdf5" in row:
        return ("hdf5",)
    return ("scan", "labels", "landmarks") if _is_marked(row.get("unmarked", ())) else ("scan", "labels")


def _is_marked(unmarked: Any) -> bool:
    """Whether any landmark is left."""
    return not (isinstance(unmarked, list | tuple) and all(name in unmarked for name in LANDMARK_NAMES))


def _unknown(table: Mapping[str, Any], known: Iterable[str], where: str) -> list[str]:
    unknown = sorted(set(table) - set(known))
    return [f"{where} has the unknown entry {name}; known are {', '.join(known)}." for name in unknown]
