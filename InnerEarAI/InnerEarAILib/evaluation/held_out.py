"""Which labelled scans may be a model's test: none that it was trained on; those that chose its weights say so."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from InnerEarAILib.evaluation.cases import CaseRecipe
from InnerEarAILib.model_card import ModelCard
from InnerEarAILib.training.seen_scans import ScanList, SeenScans
from InnerEarAILib.volume import InputError

VALIDATION_GROUP = "validation"
"""The group, or its end, of scans by which a model's best weights were chosen: data set A's rows in the paper."""


@dataclass(frozen=True)
class HeldOut:
    """Labelled scans as a model may be judged on them.

    Attributes:
        recipes: those that it was not trained on; those that it was validated on in groups that say so.
        taught: how many were left out, since it was trained on them.
        validated: how many it was validated on.
    """

    recipes: tuple[CaseRecipe, ...]
    taught: int
    validated: int


def held_out(recipes: Sequence[CaseRecipe], card: ModelCard, name: str, say: Callable[[str], None]) -> HeldOut:
    """The cases that a model was not trained on.

    A scan is known by what it shows, wherever it lies and whatever it is called. Its data set's name with its own tells
    it only where a card does not hold what its scans show, since names such as A01 are common.

    Args:
        recipes: labelled or drawn.
        card: of the model.
        name: what the model is called here.
        say: told what was left out.
    """
    seen = SeenScans.of_figures(card.figures)
    scans = [recipe for recipe in recipes if recipe.sha256 is not None]
    if others := [recipe.name for recipe in scans if _has_the_name_alone(seen, recipe)]:
        say(f"{name}: same name as a scan of its training, other voxels, so judged: {', '.join(others)}.")
    taught = {id(recipe) for recipe in scans if _stands_in(seen.taught, recipe)}
    validated = {id(recipe) for recipe in scans if id(recipe) not in taught and _stands_in(seen.validated, recipe)}
    if taught:
        say(f"{name}: {len(taught)} cases are left out, since it was trained on them.")
    if validated:
        say(f"{name}: {len(validated)} cases chose its weights in training; they stand under {VALIDATION_GROUP}.")
    kept = (_told_apart(one) if id(one) in validated else one for one in recipes if id(one) not in taught)
    return HeldOut(tuple(kept), len(taught), len(validated))


def _stands_in(scans: ScanList, recipe: CaseRecipe) -> bool:
    if not scans.sha256:
        return _is_listed(scans, recipe)
    try:
        return recipe.sha256() in scans.sha256
    except InputError:  # is said when its turn comes
        return False


def _has_the_name_alone(seen: SeenScans, recipe: CaseRecipe) -> bool:
    lists = (seen.taught, seen.validated)
    if not any(scans.sha256 and _is_listed(scans, recipe) for scans in lists):
        return False
    try:
        recipe.sha256()
    except InputError:  # whether its voxels are others, nobody knows
        return False
    return not any(_stands_in(scans, recipe) for scans in lists)


def _is_listed(scans: ScanList, recipe: CaseRecipe) -> bool:
    data_set, name = recipe.listed
    return name in scans.cases.get(data_set, ())


def _told_apart(recipe: CaseRecipe) -> CaseRecipe:
    if recipe.group == VALIDATION_GROUP:
        return recipe
    return replace(recipe, group=f"{recipe.group}, {VALIDATION_GROUP}")
