"""Cases from files: labelled real scans, and real anatomies that the phantom's scanners scan."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, get_args

from InnerEarAILib.ear_result import Side
from InnerEarAILib.evaluation.cases import CaseRecipe, EvaluationCase, labelled_case
from InnerEarAILib.evaluation.phantom_cases import GivenRecipe, described, drawn_given, finest_useful_mm
from InnerEarAILib.evaluation.suite import plain_name
from InnerEarAILib.phantom.scanner import SCANNER_KINDS
from InnerEarAILib.scan_files import read_volume
from InnerEarAILib.training.seen_scans import scan_sha256
from InnerEarAILib.volume import InputError

FIRST_GIVEN_NUMBER = 500_000
"""Seeds of given anatomies begin here; every file and scanner has its own."""


def labelled_recipe(
    scan: Path, labels: Path, landmarks: Path | None, group: str = "", side: str = "", patient: str = ""
) -> CaseRecipe:
    """A labelled real scan.

    Args:
        scan, labels, landmarks: see cases.labelled_case.
        side: "left" or "right" in any case; by default the landmarks tell it.
        group: for the tables; "real scans" by default.
        patient: whose scan it is; by default cases of one scan are of one patient, and no others are.

    Raises:
        InputError: if a file is missing, or the side is none.
    """
    side = _side(side, scan)
    files = [file for file in (scan, labels, landmarks) if file is not None]
    _check_there(files)
    name, group = plain_name(scan.name.split(".")[0]), group or "real scans"

    def make(obtain: Callable[[CaseRecipe], EvaluationCase]) -> EvaluationCase:
        del obtain
        return labelled_case(scan, labels, landmarks, group, name, side)

    depends = {"files": [_fingerprint(file) for file in files], "side": side}
    whose = f"patient {patient}" if patient else f"scan {scan.resolve()}"
    return CaseRecipe(name, group, make, depends, sha256=cache(lambda: scan_sha256(read_volume(scan))), patient=whose)


def anatomy_recipes(
    files: tuple[Path, Path | None, Path | None],
    scanners: Sequence[str],
    model_spacing_mm: float,
    device: str = "cpu",
    group: str = "",
) -> list[CaseRecipe]:
    """A real anatomy in drawn scanners, one case a scanner.

    Args:
        files: labyrinth (surface or label map), its landmarks, and what a whole temporal bone's labels are.
        scanners: kinds.
        model_spacing_mm: decides how finely it is scanned.
        device: where it is drawn.
        group: for the tables, before the scanner; "real anatomy" by default.

    Raises:
        InputError: if a file is missing or a scanner unknown.
    """
    labyrinth, landmarks, tissues = files
    _check_there([file for file in files if file is not None])
    recipes = []
    for scanner in scanners:
        if scanner not in SCANNER_KINDS:
            raise InputError(f"There is no scanner '{scanner}'; choose one of {', '.join(SCANNER_KINDS)}.")
        finest_mm = finest_useful_mm(model_spacing_mm, scanner)
        recipe = GivenRecipe(_number(labyrinth, scanner), labyrinth, landmarks, tissues, scanner, finest_mm)
        name = f"{plain_name(labyrinth.stem)}_{plain_name(scanner.replace('_', '-'))}"
        recipes.append(_anatomy_recipe(recipe, name, f"{group or 'real anatomy'}, {scanner.replace('_', '-')}", device))
    return recipes


def read_case_list(path: Path, model_spacing_mm: float, device: str = "cpu") -> list[CaseRecipe]:
    """The cases that a JSON file lists, which is no data set of the trainer: an object with "cases" and "anatomies".

    Both are lists of objects. A case has "scan", "labels" and optionally "landmarks", "group", "side", "patient"; an
    anatomy has "labyrinth" and optionally "landmarks", "tissues", "group", "patient", "scanners" (multi_slice by
    default). Paths are relative to the file's folder.

    Raises:
        InputError: if the list or one of its files cannot be used.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))  # as programs on Windows save it
    except OSError as error:
        raise InputError(f"The manifest {path} cannot be read ({error.strerror}).") from error
    except ValueError as error:
        raise InputError(f"The manifest {path.name} is no JSON file ({error}).") from error
    if not isinstance(content, dict) or not (set(content) & {"cases", "anatomies"}):
        raise InputError(f"The manifest {path.name} lists neither cases nor anatomies.")

    def file(row: dict, key: str) -> Path | None:
        return path.parent / row[key] if row.get(key) else None

    recipes = []
    try:
        for row in content.get("cases", ()):
            scan, labels = path.parent / row["scan"], path.parent / row["labels"]
            told = [str(row.get(key) or "") for key in ("group", "side", "patient")]
            recipes.append(labelled_recipe(scan, labels, file(row, "landmarks"), *told))
        for row in content.get("anatomies", ()):
            files = (path.parent / row["labyrinth"], file(row, "landmarks"), file(row, "tissues"))
            scanners = row.get("scanners", ["multi_slice"])
            made = anatomy_recipes(files, scanners, model_spacing_mm, device, row.get("group", ""))
            whose = f"patient {row['patient']}" if row.get("patient") else ""
            recipes += [replace(recipe, patient=whose) for recipe in made]
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"The manifest {path.name} has an entry that cannot be read: {error}.") from error
    if not recipes:
        raise InputError(f"The manifest {path.name} lists no case.")
    return recipes


def _anatomy_recipe(recipe: GivenRecipe, name: str, group: str, device: str) -> CaseRecipe:
    def make(obtain: Callable[[CaseRecipe], EvaluationCase]) -> EvaluationCase:
        del obtain
        return drawn_given(recipe, name, group, device)

    files = (recipe.labyrinth, recipe.landmarks, recipe.tissues)
    depends: dict[str, Any] = {
        **described(recipe),
        "files": [_fingerprint(file) for file in files if file is not None],
    }
    return CaseRecipe(name, group, make, depends, drawn=True)


def _check_there(files: Sequence[Path]) -> None:
    for file in files:
        if not file.exists():
            raise InputError(f"There is no file {file}.")


def _side(told: str, scan: Path) -> str:
    side = told.strip().lower()
    if side and side not in get_args(Side):
        raise InputError(f"The side of {scan.name} is “{told}”; say left or right, or leave it out.")
    return side


def _fingerprint(path: Path) -> list[Any]:
    """What changes with a file; a folder's files stand for it."""
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    return [path.name, *([file.stat().st_size, file.stat().st_mtime_ns] for file in files)]


def _number(labyrinth: Path, scanner: str) -> int:
    digest = hashlib.sha256(f"{labyrinth.name} {scanner}".encode()).digest()
    return FIRST_GIVEN_NUMBER + int.from_bytes(digest[:3], "big")
