"""The cases that every model is judged on without outside data: which, how many, in what order."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.spatial.transform import Rotation

from InnerEarAILib.evaluation.cases import CaseRecipe, EvaluationCase, turned
from InnerEarAILib.evaluation.phantom_cases import PhantomRecipe, described, drawn_phantom, finest_useful_mm

NORMAL_GROUPS = ("multi-slice, fresh", "cone-beam, fresh", "flat-panel, fresh")
"""Normal ears of living patients: the first rows, and what "usual" means for the uncertainty."""

EARLESS_PREFIX = "no ear"
TURNED_PREFIX = "turned"

_SCANNERS = {"multi_slice": "multi-slice", "cone_beam": "cone-beam", "flat_panel": "flat-panel"}

_EARS = (
    # scanner, state, variant, group, quick, full
    ("multi_slice", "fresh", "normal", NORMAL_GROUPS[0], 2, 6),
    ("cone_beam", "fresh", "normal", NORMAL_GROUPS[1], 0, 4),
    ("flat_panel", "fresh", "normal", NORMAL_GROUPS[2], 1, 5),
    ("flat_panel", "dry", "normal", "flat-panel, dry", 0, 2),
    ("flat_panel", "embalmed", "normal", "flat-panel, embalmed", 0, 2),
    ("flat_panel", "embedded", "normal", "flat-panel, embedded", 0, 2),
    ("multi_slice", "fresh", "otosclerosis", "multi-slice, otosclerosis", 1, 2),
    ("multi_slice", "fresh", "ossification", "multi-slice, ossification", 0, 2),
    ("multi_slice", "fresh", "incomplete_partition", "multi-slice, incomplete partition", 0, 2),
)

_EARLESS = (("knee", 1, 3), ("brain", 0, 2), ("air", 0, 1))

_HEADS = (0, 2)

_TURNS = {
    "90° about x": Rotation.from_euler("x", 90, degrees=True),
    "90° about y": Rotation.from_euler("y", 90, degrees=True),
    "180° about z": Rotation.from_euler("z", 180, degrees=True),
    "40° oblique": Rotation.from_rotvec(np.radians(40) * np.array([1.0, 2.0, 2.0]) / 3),
}
"""Ways in which the first two multi-slice cases are turned: the patient lies otherwise, the voxels are the same."""

_TURNED_CASES = {"quick": (("40° oblique",), ()), "full": (tuple(_TURNS), ("90° about y", "40° oblique"))}


def suite(model_spacing_mm: float, quick: bool = False, device: str = "cpu") -> tuple[CaseRecipe, ...]:
    """The cases of the shipped evaluation, in an order that lets every group have its first case early.

    Args:
        model_spacing_mm: of the model, which decides how finely scans are drawn.
        quick: six scans instead of about forty.
        device: where the drawing is done.
    """
    finest_mm = finest_useful_mm(model_spacing_mm)
    column = 0 if quick else 1
    groups: list[list[CaseRecipe]] = []
    first_number = 0
    for scanner, state, variant, group, *counts in _EARS:
        groups.append(
            [
                _recipe(PhantomRecipe(first_number + n, "ear", scanner, state, variant, finest_mm), group, device)
                for n in range(counts[column])
            ]
        )
        # Numbers are given out for many more ears than are used, so that a larger suite keeps the cases of this one.
        first_number += 1000
    originals = groups[0]
    for turns, original in zip(_TURNED_CASES["quick" if quick else "full"], originals, strict=False):
        groups.append([_turned_recipe(original, turn) for turn in turns])
    for kind, *counts in _EARLESS:
        groups.append(
            [
                _recipe(
                    PhantomRecipe(first_number + n, "earless", "multi_slice", variant=kind, finest_mm=finest_mm),
                    f"{EARLESS_PREFIX}: {kind}",
                    device,
                )
                for n in range(counts[column])
            ]
        )
        first_number += 1000
    groups.append(
        [
            _recipe(PhantomRecipe(first_number + n, "head", "multi_slice", finest_mm=0.25), "whole heads", device)
            for n in range(_HEADS[column])
        ]
    )
    return _interleaved(groups)


def case_name(group: str, number: int) -> str:
    """The name of a group's case, such as “multi-slice_fresh_0003”."""
    return f"{plain_name(group)}_{number:04d}"


def plain_name(words: str) -> str:
    """Words as a part of a file name: letters, digits and hyphens, joined by underscores."""
    kept = "".join(letter if (letter.isascii() and letter.isalnum()) or letter == "-" else " " for letter in words)
    return "_".join(kept.split())


def _recipe(recipe: PhantomRecipe, group: str, device: str) -> CaseRecipe:
    name = case_name(group, recipe.number)

    def make(obtain: Callable[[CaseRecipe], EvaluationCase]) -> EvaluationCase:
        del obtain
        return drawn_phantom(recipe, name, group, device)

    return CaseRecipe(name, group, make, described(recipe), needs_locator=recipe.kind == "head", drawn=True)


def _turned_recipe(original: CaseRecipe, turn: str) -> CaseRecipe:
    group = f"{TURNED_PREFIX} {turn}"
    name = f"{original.name}_{plain_name(turn)}"

    def make(obtain: Callable[[CaseRecipe], EvaluationCase]) -> EvaluationCase:
        return turned(obtain(original), _TURNS[turn].as_matrix(), name, group)

    return CaseRecipe(name, group, make, {**original.described, "turned": turn})


def _interleaved(groups: list[list[CaseRecipe]]) -> tuple[CaseRecipe, ...]:
    """The first of every group, then the second of every group, and so on."""
    longest = max(map(len, groups), default=0)
    return tuple(group[place] for place in range(longest) for group in groups if place < len(group))
