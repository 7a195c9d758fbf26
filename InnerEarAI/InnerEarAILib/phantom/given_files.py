"""A given ear from files: the anatomy of a surface or label map, its landmarks, tissues and side."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from InnerEarAILib.ear_result import LandmarkResult, Side
from InnerEarAILib.inference.chirality import side_by_chirality
from InnerEarAILib.phantom.anatomy import NO_PART, Anatomy
from InnerEarAILib.phantom.given_anatomy import TISSUE_KINDS, GivenTissue, anatomy_from_label_map
from InnerEarAILib.phantom.given_labyrinth import anatomy_from_labyrinth_labels, anatomy_from_mesh
from InnerEarAILib.phantom.given_landmarks import read_landmarks
from InnerEarAILib.phantom.given_surface import READERS, centre_of_volume, read_surface
from InnerEarAILib.scan_files import read_labels
from InnerEarAILib.volume import InputError, Volume

LABYRINTH_WORD = "labyrinth"
"""The label whose name contains this word is the labyrinth's."""


def given_anatomy(
    labyrinth: Path,
    landmarks: Path | None,
    tissues: Path | None,
    side: str,
    rng: np.random.Generator,
    host: Anatomy | None,
) -> tuple[Anatomy, Side]:
    """The anatomy in files.

    Args:
        labyrinth: surface (.ply, .stl, .vtk) or label map (any format that `read_labels` reads).
        landmarks: file of `read_landmarks`; None: the truth has no landmarks.
        tissues: for a label map of a whole temporal bone, file of `read_tissues`; None: it holds a labyrinth alone.
        side: "left", "right", or "random" where the landmarks tell it.
        rng: source of textures.
        host: temporal bone round a labyrinth that comes alone; None: a plain block of bone.

    Returns:
        The anatomy, as a right ear, and the side that the given ear has.

    Raises:
        InputError: one sentence on what is wrong with which file.
    """
    marks = {} if landmarks is None else read_landmarks(landmarks)
    if labyrinth.suffix.lower() in READERS:
        own_side = _side(side, marks, lambda: centre_of_volume(*read_surface(labyrinth)))
        return anatomy_from_mesh(labyrinth, marks, own_side, host), own_side
    labels = read_labels(labyrinth)
    if not np.array_equal(labels.voxels, np.round(labels.voxels)) or labels.voxels.min() < 0:
        raise InputError(f"{labyrinth.name} is no label map: its values are no whole numbers from 0 upwards.")
    if tissues is None:
        own_side = _side(side, marks, lambda: _centre(labels, labels.voxels > 0))
        return anatomy_from_labyrinth_labels(labels, marks, own_side, host), own_side
    described, parts = read_tissues(tissues)
    own_side = _side(side, marks, lambda: _centre(labels, np.isin(labels.voxels, list(parts))))
    return anatomy_from_label_map(labels, described, parts, marks, own_side, rng), own_side


def read_tissues(path: Path) -> tuple[dict[int, GivenTissue], dict[int, int]]:
    """What the labels of a temporal bone stand for, and which are the labyrinth's, with their part.

    Args:
        path: a JSON object; under each label's number an object with "name", "hounsfield" and "tissue" (one of
            TISSUE_KINDS), and for a labyrinth's label, which LABYRINTH_WORD in its name marks, optionally "part"
            (1 cochlea, 2 vestibule, 3 canals).

    Raises:
        InputError: if the file cannot be read, or no label is the labyrinth's.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        rows = {int(label): row for label, row in content.items() if label.isdigit()}
        tissues = {label: GivenTissue(float(row["hounsfield"]), row["tissue"]) for label, row in rows.items()}
        parts = {
            label: int(row.get("part", NO_PART))
            for label, row in rows.items()
            if LABYRINTH_WORD in row.get("name", "").lower() and tissues[label].kind == "fluid"
        }
    except OSError as error:
        raise InputError(f"{path.name} cannot be read ({error.strerror}).") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path.name} does not describe labels; under each label's number it needs name, hounsfield and tissue."
        ) from error
    if unknown := {tissue.kind for tissue in tissues.values()} - set(TISSUE_KINDS):
        raise InputError(f"{path.name} has the unknown tissues {sorted(unknown)}; choose of {', '.join(TISSUE_KINDS)}.")
    if not parts:
        raise InputError(f"{path.name} names no fluid label '{LABYRINTH_WORD}'; name the labyrinth's label so.")
    return tissues, parts


def _side(wanted: str, marks: Mapping[str, np.ndarray], centre) -> Side:
    if wanted in ("left", "right"):
        return wanted
    found = tuple(LandmarkResult(name, position, 1.0) for name, position in marks.items())
    if side := side_by_chirality(found, centre()):
        return side
    raise InputError("The side of the given ear is not known: say --side left or right, or give all three landmarks.")


def _centre(labels: Volume, mask: np.ndarray) -> np.ndarray:
    places = np.argwhere(mask)
    return labels.grid.to_lps(places.mean(0)[::-1]) if len(places) else labels.grid.centre_lps
