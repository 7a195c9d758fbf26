"""Cases of data sets that the trainer takes: one labelled ear each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np

from InnerEarAILib.ear_result import LandmarkResult
from InnerEarAILib.evaluation.cases import CaseRecipe, EvaluationCase, TrueEar, renamed_apart
from InnerEarAILib.evaluation.given_truth import check_ear_of_data_set
from InnerEarAILib.evaluation.suite import plain_name
from InnerEarAILib.inference.chirality import side_by_chirality
from InnerEarAILib.training.configuration import ConfigurationError
from InnerEarAILib.training.manifest import Case, Manifest, read_manifest
from InnerEarAILib.training.seen_scans import scan_sha256
from InnerEarAILib.volume import InputError


def is_data_set(path: Path) -> bool:
    """Whether a path is a data set of the trainer: a folder of HDF5 files or a manifest with cases of its kind."""
    if path.is_dir() or path.suffix.lower() == ".toml":
        return True
    try:
        return '"case"' in path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError):
        return False


def data_set_recipes(*paths: Path) -> list[CaseRecipe]:
    """The cases of data sets, each a group by its name; before names that several sets have goes that of the set.

    Names are told apart once they are written in plain letters, too.

    Raises:
        InputError: with all that is wrong with a description, or if two sets have the same name.
    """
    try:
        manifests = [read_manifest(path) for path in paths]
    except ConfigurationError as error:
        raise InputError(str(error)) from None
    titles = Counter(manifest.name for manifest in manifests)
    if shared := [title for title, count in titles.items() if count > 1]:
        raise InputError(f"Two data sets are called “{shared[0]}”; give them different names in their manifests.")
    names = Counter(case.name for manifest in manifests for case in manifest.cases)
    return renamed_apart(
        [
            case_recipe(
                case,
                manifest.name,
                manifest.name,
                case.name if names[case.name] == 1 else f"{manifest.name} {case.name}",
            )
            for manifest in manifests
            for case in manifest.cases
        ]
    )


def case_recipe(case: Case, data_set: str, group: str, name: str = "") -> CaseRecipe:
    """One labelled ear of a data set, read when its turn comes; `name` takes the place of its own."""

    def make(obtain: Callable[[CaseRecipe], EvaluationCase]) -> EvaluationCase:
        del obtain
        return labelled_ear(case, group)

    files = [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in case.files if path.exists()]
    described = {
        "name": case.name,
        "files": files,
        "labels": list(case.labyrinth_labels),
        "unmarked": list(case.unmarked),
        "axes": case.axes,
        "spacing_mm": case.spacing_mm,
    }
    return CaseRecipe(
        plain_name(name or case.name),
        group,
        make,
        described,
        listed=(data_set, case.name),
        sha256=cache(lambda: scan_sha256(case.read_scan())),
        patient=case.one_patient,
    )


def labelled_ear(case: Case, group: str) -> EvaluationCase:
    """A labelled ear of a data set as a case.

    The side is told by the landmarks, and left empty where these are not all there: it is not judged here.

    Raises:
        InputError: if a file cannot be read, or the trainer would refuse the ear.
    """
    read = case.read()
    check_ear_of_data_set(case, read)
    mask = case.labyrinth(read.labels.voxels)
    labyrinth = read.labels.with_voxels(mask.astype(np.uint8))
    marks = {name: place for name, place in read.landmarks_lps.items() if name not in case.unmarked}
    found = tuple(LandmarkResult(name, place, 1.0) for name, place in marks.items())
    side = side_by_chirality(found, labyrinth.grid.to_lps(np.argwhere(mask).mean(0)[::-1]))
    return EvaluationCase(plain_name(case.name), group, read.scan, (TrueEar(side or "", labyrinth, marks),))


def of_cases(manifest: Manifest, group: str) -> list[CaseRecipe]:
    """The cases of a data set as a group of another name, in its order; their names may be alike."""
    return [case_recipe(case, manifest.name, group) for case in manifest.cases]
