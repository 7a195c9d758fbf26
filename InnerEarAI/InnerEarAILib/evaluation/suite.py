"""The cases that every model is judged on without outside data: which, how many, in what order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from scipy.spatial.transform import Rotation

from InnerEarAILib.evaluation.cases import CaseRecipe, EvaluationCase, turned
from InnerEarAILib.evaluation.phantom_cases import PhantomRecipe, described, drawn_phantom, finest_useful_mm
from InnerEarAILib.model_card import Role
from InnerEarAILib.phantom.scanner import ScannerKind

NORMAL_GROUPS = ("multi-slice, fresh", "cone-beam, fresh", "flat-panel, fresh")
"""Normal ears of living patients: the first rows, and what the uncertainty of other groups is compared with."""

USUAL_PREFIX = "usual"
"""Of the groups of normal ears that say what deviation is usual; nothing else is reported of them."""

EARLESS_PREFIX = "no ear"
TURNED_PREFIX = "turned"

FIRST_REPORTED = 800
"""The first numbers of each group are for development: weights and thresholds are chosen on them, none is reported."""

FIRST_USUAL = 300
"""The numbers of the ears that say what is usual are among those of development."""

IMPLANTED = "implanted"
"""In place of a variant: a normal ear with the electrode of a cochlear implant."""

_USUAL_COUNTS = {NORMAL_GROUPS[0]: 16, NORMAL_GROUPS[1]: 12, NORMAL_GROUPS[2]: 12}

_EARS = (
    # scanner, state, variant, group, counts by plan
    ("multi_slice", "fresh", "normal", NORMAL_GROUPS[0], (2, 16, 2, 6)),
    ("cone_beam", "fresh", "normal", NORMAL_GROUPS[1], (0, 4, 0, 3)),
    ("flat_panel", "fresh", "normal", NORMAL_GROUPS[2], (1, 5, 0, 3)),
    ("flat_panel", "dry", "normal", "flat-panel, dry", (0, 2, 0, 1)),
    ("flat_panel", "embalmed", "normal", "flat-panel, embalmed", (0, 2, 0, 1)),
    ("flat_panel", "embedded", "normal", "flat-panel, embedded", (0, 2, 0, 1)),
    ("multi_slice", "fresh", "otosclerosis", "multi-slice, otosclerosis", (1, 2, 0, 1)),
    ("multi_slice", "fresh", "ossification", "multi-slice, ossification", (0, 8, 0, 1)),
    ("multi_slice", "fresh", "incomplete_partition", "multi-slice, incomplete partition", (0, 4, 0, 1)),
    ("thick_slice", "fresh", "normal", "thick-slice, fresh", (0, 4, 0, 1)),
    ("multi_slice", "fresh", "lateral_canal_dysplasia", "multi-slice, lateral canal dysplasia", (0, 3, 0, 1)),
    ("multi_slice", "fresh", "cochlear_hypoplasia", "multi-slice, cochlear hypoplasia", (0, 3, 0, 1)),
    ("multi_slice", "fresh", "incomplete_partition_1", "multi-slice, incomplete partition I", (0, 3, 0, 1)),
    ("multi_slice", "fresh", "common_cavity", "multi-slice, common cavity", (0, 3, 0, 1)),
    ("multi_slice", "fresh", "cochlear_aplasia", "multi-slice, cochlear aplasia", (0, 3, 0, 1)),
    ("multi_slice", "fresh", "labyrinthine_aplasia", f"{EARLESS_PREFIX}: labyrinthine aplasia", (0, 2, 0, 1)),
    ("multi_slice", "fresh", IMPLANTED, "multi-slice, implanted", (0, 4, 0, 1)),
)

_EARLESS = (("knee", (1, 3, 2, 8)), ("brain", (0, 2, 1, 6)), ("water", (0, 0, 0, 3)), ("air", (0, 1, 0, 1)))

_HEADS = (0, 2, 1, 4)

_TURNS = {
    "90° about x": Rotation.from_euler("x", 90, degrees=True),
    "90° about y": Rotation.from_euler("y", 90, degrees=True),
    "180° about z": Rotation.from_euler("z", 180, degrees=True),
    "40° oblique": Rotation.from_rotvec(np.radians(40) * np.array([1.0, 2.0, 2.0]) / 3),
}
"""Ways in which the first two multi-slice cases are turned: the patient lies otherwise, the voxels are the same."""

_TURNED_CASES = ((("40° oblique",), ()), (tuple(_TURNS), ("90° about y", "40° oblique")), (), ())

_PLANS = {("segmenter", True): 0, ("segmenter", False): 1, ("locator", True): 2, ("locator", False): 3}
"""Place of a plan's counts in the tables above, by role and whether the evaluation is to be quick."""


def suite(
    model_spacing_mm: float, role: Role = "segmenter", quick: bool = False, device: str = "cpu"
) -> tuple[CaseRecipe, ...]:
    """The cases of the shipped evaluation, in an order that lets every group have its first case early.

    Args:
        model_spacing_mm: of the model, which decides how finely scans are drawn.
        role: of the model; a locator is judged on more heads and scans without an ear.
        quick: six scans instead of about a hundred.
        device: where the drawing is done.
    """
    plan = _PLANS[role, quick]

    def group_of(count: int, group: str, first: PhantomRecipe) -> list[CaseRecipe]:
        first = replace(first, finest_mm=finest_useful_mm(model_spacing_mm, first.scanner))
        numbers = range(first.number, first.number + count)
        return [_recipe(replace(first, number=number), group, device) for number in numbers]

    groups = []
    # Numbers are given out for many more cases than are used, so that a larger suite keeps the cases of this one.
    for row, (scanner, state, variant, group, counts) in enumerate(_EARS):
        groups.append(group_of(counts[plan], group, _ear(1000 * row + FIRST_REPORTED, scanner, state, variant)))
    originals = list(zip(groups[0], _TURNED_CASES[plan], strict=False))
    groups += [[_turned_recipe(original, turn) for original, turns in originals if turn in turns] for turn in _TURNS]
    for row, (kind, counts) in enumerate(_EARLESS):
        first = PhantomRecipe(100_000 + 1000 * row + FIRST_REPORTED, "earless", "multi_slice", variant=kind)
        groups.append(group_of(counts[plan], f"{EARLESS_PREFIX}: {kind}", first))
    heads = PhantomRecipe(200_000 + FIRST_REPORTED, "head", "multi_slice")
    groups.append(group_of(_HEADS[plan], "whole heads", heads))
    if role == "segmenter" and not quick:
        for row, (scanner, state, variant, group, _) in enumerate(_EARS):
            first = _ear(1000 * row + FIRST_USUAL, scanner, state, variant)
            groups.append(group_of(_USUAL_COUNTS.get(group, 0), f"{USUAL_PREFIX}: {group}", first))
    return _interleaved(groups)


def case_name(group: str, number: int) -> str:
    """The name of a group's case, such as “multi-slice_fresh_0003”."""
    return f"{plain_name(group)}_{number:04d}"


def plain_name(words: str) -> str:
    """Words as a part of a file name: letters, digits and hyphens, joined by underscores."""
    kept = "".join(letter if (letter.isascii() and letter.isalnum()) or letter == "-" else " " for letter in words)
    return "_".join(kept.split())


def _ear(number: int, scanner: ScannerKind, state: str, variant: str) -> PhantomRecipe:
    if variant == IMPLANTED:
        return PhantomRecipe(number, "ear", scanner, state, electrode=True)
    return PhantomRecipe(number, "ear", scanner, state, variant)


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
