"""A data set of drawn ears on disk, as the trainer takes it: for experiments without outside data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from InnerEarAILib.ear_result import LandmarkResult
from InnerEarAILib.evaluation.phantom_cases import PhantomRecipe, drawn_phantom, finest_useful_mm
from InnerEarAILib.evaluation.report import write_text
from InnerEarAILib.landmark_files import write_landmarks
from InnerEarAILib.phantom.scanner import ScannerKind
from InnerEarAILib.preprocessing import PAPER_VOXEL_MM, resample
from InnerEarAILib.scan_files import write_volume
from InnerEarAILib.volume import InputError

FIRST_NUMBER = 300_000
"""Seeds of drawn sets begin here, so that no shipped evaluation and no training of a shipped model has their ears."""

MANIFEST_FILE = "manifest.toml"


@dataclass(frozen=True)
class PhantomSet:
    """Which ears are drawn.

    Attributes:
        count: how many.
        model_spacing_mm: of the networks to be trained, which decides how finely scans are drawn.
        scanner: kind of scanner.
        first: number of the first seed, from FIRST_NUMBER; sets that shall differ are drawn from others.
    """

    count: int = 12
    model_spacing_mm: float = PAPER_VOXEL_MM
    scanner: ScannerKind = "flat_panel"
    first: int = 0


def draw_phantom_set(
    folder: Path, wanted: PhantomSet = PhantomSet(), say: Callable[[str], None] = lambda line: None
) -> Path:
    """Draws the scans that are not there yet, and writes the manifest.

    Args:
        folder: made if absent.
        wanted: the set.
        say: told of every scan.

    Returns:
        The manifest.

    Raises:
        InputError: if the folder cannot be written to.
    """
    lines = [f'name = "{wanted.count} drawn ears, {wanted.scanner.replace("_", "-")}"']
    for number in range(wanted.first, wanted.first + wanted.count):
        name = f"phantom_{number:03d}"
        files = {"scan": f"{name}.nrrd", "labels": f"{name}_labels.nrrd", "landmarks": f"{name}.mrk.json"}
        if not all((folder / file).is_file() for file in files.values()):
            say(f"Drawing {name}, {number - wanted.first + 1} of {wanted.count}")
            _draw(number, folder, files, wanted)
        lines += ["", "[[case]]", f'name = "{name}"', *(f'{key} = "{file}"' for key, file in files.items())]
    return write_text(folder / MANIFEST_FILE, "\n".join(lines) + "\n")


def _draw(number: int, folder: Path, files: dict[str, str], wanted: PhantomSet) -> None:
    finest_mm = finest_useful_mm(wanted.model_spacing_mm, wanted.scanner)
    recipe = PhantomRecipe(FIRST_NUMBER + number, "ear", wanted.scanner, finest_mm=finest_mm)
    case = drawn_phantom(recipe, files["scan"], "drawn")
    (ear,) = case.ears
    share = resample(ear.labyrinth.with_voxels(ear.labyrinth.voxels.astype(np.float32)), case.scan.grid, cubic=False)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_volume(folder / files["labels"], case.scan.with_voxels((share >= 0.5).astype(np.uint8)))
        marks = [LandmarkResult(name, place, 1.0) for name, place in ear.landmarks.items()]
        write_landmarks(folder / files["landmarks"], marks)
        write_volume(folder / files["scan"], case.scan)
    except OSError as error:
        raise InputError(f"The folder {folder} cannot be written to ({error.strerror}).") from error
