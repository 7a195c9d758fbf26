"""What a model is judged on: a scan with its true ears on a fine grid, and where such cases come from."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from InnerEarAILib.ear_result import LandmarkResult, Side
from InnerEarAILib.evaluation.given_truth import check_given_ear
from InnerEarAILib.inference.chirality import side_by_chirality
from InnerEarAILib.phantom.given_landmarks import read_landmarks
from InnerEarAILib.scan_files import read_labels, read_volume
from InnerEarAILib.volume import InputError, Volume
from InnerEarAILib.whole_files import replacing

CASE_FORMAT = "InnerEarAI evaluation case 3"
"""The number rises with every change of the layout; a file of another layout is drawn again."""


@dataclass(frozen=True)
class TrueEar:
    """One labyrinth as it truly is.

    Attributes:
        side: anatomical side; empty where nobody knows it.
        labyrinth: uint8 on a fine grid of its own, 1 labyrinth, 0 not; everything beyond the grid is not labyrinth.
        landmarks: (3,) LPS mm by name; those that nobody knows are left out.
        absent: names of the landmarks that this ear does not have, as far as that is known.
    """

    side: Side | Literal[""]
    labyrinth: Volume
    landmarks: Mapping[str, np.ndarray]
    absent: tuple[str, ...] = ()


@dataclass(frozen=True)
class EvaluationCase:
    """A scan and everything that is true of it.

    Attributes:
        name: unique within an evaluation; can be a file name.
        group: the row of the tables that it belongs to, such as "multi-slice, fresh".
        scan: as a user would open it.
        ears: what is to be found; none for a scan without an ear.
        original: name of the case that this is a turned copy of; empty where it is none.
    """

    name: str
    group: str
    scan: Volume
    ears: tuple[TrueEar, ...]
    original: str = ""


@dataclass(frozen=True)
class CaseRecipe:
    """A case that is made when its turn comes, since scans are large and take time to draw.

    Attributes:
        name, group: of the case.
        make: makes the case; is given the function that makes or reads other cases, where one derives from another.
        described: JSON-able, all that the case depends on; a change of it makes earlier figures void.
        needs_locator: only a model with a locator can take it on: a whole head.
        drawn: worth keeping on disk once made.
        listed: name of the data set that lists it, and its own name there; empty: it stands in no list.
        sha256: reads a labelled scan and tells seen_scans.scan_sha256; None: a drawn one.
        patient: the same for all cases of its group that are of one patient; empty: no other case is. It stands in no
            file and no table.
    """

    name: str
    group: str
    make: Callable[[Callable[[CaseRecipe], EvaluationCase]], EvaluationCase]
    described: Mapping[str, Any] = field(default_factory=dict)
    needs_locator: bool = False
    drawn: bool = False
    listed: tuple[str, str] = ("", "")
    sha256: Callable[[], str] | None = None
    patient: str = ""


def obtained(recipe: CaseRecipe, folder: Path | None) -> EvaluationCase:
    """The case of a recipe, by its name: read where it was drawn before, else made, and kept if drawing took time.

    Args:
        recipe: what is wanted.
        folder: where drawn cases are kept; None keeps none.

    Raises:
        InputError: it cannot be made, or not be kept.
    """
    path = None if folder is None or not recipe.drawn else folder / f"{recipe.name}-{_key(recipe.described)}.npz"
    case = None if path is None else read_case(path)
    if case is None:
        case = recipe.make(lambda other: obtained(other, folder))
        if path is not None:
            try:
                write_case(path, case)
            except OSError as error:
                raise InputError(f"The folder {folder} cannot be written to ({error.strerror}).") from error
    return replace(case, name=recipe.name)


def renamed_apart(recipes: Sequence[CaseRecipe]) -> list[CaseRecipe]:
    """The recipes with names that are all different: a number is added where several have the same or none."""
    shared = Counter(recipe.name for recipe in recipes)
    taken = {name for name, count in shared.items() if name and count == 1}
    apart = []
    for recipe in recipes:
        name, number = recipe.name, 1
        if name not in taken or shared[name] > 1:
            stem = name or "case"
            while (name := f"{stem}_{number}") in taken:
                number += 1
            taken.add(name)
        apart.append(replace(recipe, name=name))
    return apart


def labelled_case(
    scan: Path, labels: Path, landmarks: Path | None, group: str = "", name: str = "", side: str = ""
) -> EvaluationCase:
    """A real scan that somebody labelled.

    Args:
        scan: any file or folder that `read_volume` takes.
        labels: label map of one labyrinth on any grid in the same space; every value above 0 is labyrinth. The truth is
            taken as fine as it is there.
        landmarks: file of `read_landmarks`; None: landmarks are not compared.
        group: for the tables; the scan's file name by default.
        name: of the case; the scan's file name by default.
        side: "left" or "right"; told by the landmarks by default; where these do not, it stays empty and is not judged.

    Raises:
        InputError: a file cannot be used, or the truth is wrong.
    """
    name = name or scan.name.split(".")[0]
    label_map = read_labels(labels)
    mask = label_map.voxels > 0
    if not mask.any():
        raise InputError(f"{labels.name} labels nothing: every value is 0.")
    marks = {} if landmarks is None else read_landmarks(landmarks)
    truth = label_map.with_voxels(mask.astype(np.uint8))
    shown = read_volume(scan)
    check_given_ear(shown, label_map, truth, marks)
    centre = truth.grid.to_lps(np.argwhere(mask).mean(0)[::-1])
    if not side:
        found = tuple(LandmarkResult(one, position, 1.0) for one, position in marks.items())
        side = side_by_chirality(found, centre) or ""
    return EvaluationCase(name, group or name, shown, (TrueEar(side, truth, marks),))


def turned(case: EvaluationCase, rotation: np.ndarray, name: str, group: str) -> EvaluationCase:
    """The same scan of the same patient lying in another way: nothing but positions changes, no voxel does.

    Args:
        case: the original.
        rotation: (3, 3) proper rotation, about the centre of the scan.
        name, group: of the copy.
    """
    centre = case.scan.grid.centre_lps
    turn = np.eye(4)
    turn[:3, :3] = rotation
    turn[:3, 3] = centre - rotation @ centre

    def moved(volume: Volume) -> Volume:
        return replace(volume, affine_lps=turn @ volume.affine_lps)

    ears = tuple(
        replace(
            ear,
            labyrinth=moved(ear.labyrinth),
            landmarks={one: turn[:3, :3] @ position + turn[:3, 3] for one, position in ear.landmarks.items()},
        )
        for ear in case.ears
    )
    return EvaluationCase(name, group, replace(moved(case.scan), name=name), ears, original=case.name)


def _key(described: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:10]


def write_case(path: Path, case: EvaluationCase) -> None:
    """Keeps a case as a compressed .npz, whole or absent.

    Raises:
        OSError: if it cannot be written.
    """
    arrays = {"scan": case.scan.voxels, "scan_affine": case.scan.affine_lps}
    for number, ear in enumerate(case.ears):
        arrays[f"labyrinth{number}"] = ear.labyrinth.voxels
        arrays[f"labyrinth{number}_affine"] = ear.labyrinth.affine_lps
    record = {
        "format": CASE_FORMAT,
        "name": case.name,
        "group": case.group,
        "original": case.original,
        "ears": [
            {
                "side": ear.side,
                "landmarks": {one: np.asarray(p, float).tolist() for one, p in ear.landmarks.items()},
                "absent": list(ear.absent),
            }
            for ear in case.ears
        ],
    }
    arrays["record"] = np.frombuffer(json.dumps(record).encode(), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as unfinished, open(unfinished, "wb") as file:
        np.savez_compressed(file, **arrays)


def read_case(path: Path) -> EvaluationCase | None:
    """The case that `write_case` wrote; None where there is none, or none that is whole and of this layout."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            record = json.loads(arrays["record"].tobytes())
            if record["format"] != CASE_FORMAT:
                return None
            ears = tuple(
                TrueEar(
                    ear["side"],
                    Volume(arrays[f"labyrinth{number}"], arrays[f"labyrinth{number}_affine"]),
                    {one: np.array(position) for one, position in ear["landmarks"].items()},
                    tuple(ear["absent"]),
                )
                for number, ear in enumerate(record["ears"])
            )
            scan = Volume(arrays["scan"], arrays["scan_affine"], record["name"])
            return EvaluationCase(record["name"], record["group"], scan, ears, record["original"])
    except (OSError, zipfile.BadZipFile, KeyError, ValueError, EOFError):
        return None
