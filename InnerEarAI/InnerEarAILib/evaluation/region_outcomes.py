"""Models judged on the regions of data sets, with the pictures that go with the figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from InnerEarAILib.contrast_matching import PAPER_CLUSTERS
from InnerEarAILib.evaluation.cases import CaseRecipe, obtained
from InnerEarAILib.evaluation.evaluate import Outcome, evaluate
from InnerEarAILib.evaluation.groups import by_group
from InnerEarAILib.evaluation.held_out import held_out
from InnerEarAILib.evaluation.model_names import run_folder
from InnerEarAILib.evaluation.regions import Contrast, RegionJudge, curves_of_cases
from InnerEarAILib.evaluation.surfaces import can_draw, embedded, surface_picture
from InnerEarAILib.model_card import ModelCard

CURVES_FILE = "curves.png"


@dataclass(frozen=True)
class RegionOptions:
    """How models are judged on regions.

    Attributes:
        device: "auto", "cpu", "cuda" or "cuda:N".
        views: 10 or 1; None: as many as the model was taught, see ModelCard.views_taught.
        contrast: see regions.RegionJudge.
        clusters: clusters of contrast that the scans of "clusters" are of.
        minutes: time budget of each model; None: none.
        pictures: whether surfaces are drawn.
    """

    device: str = "auto"
    views: int | None = None
    contrast: Contrast = "own"
    clusters: int = PAPER_CLUSTERS
    minutes: float | None = None
    pictures: bool = True


def judged_on_regions(
    card: ModelCard,
    recipes: Sequence[CaseRecipe],
    output: Path,
    options: RegionOptions = RegionOptions(),
    name: str = "",
    say: Callable[[str], None] = lambda line: None,
) -> Outcome:
    """A model's figures on labelled ears, without those that it was trained on.

    Args:
        card: of the model.
        recipes: the cases.
        output: folder of the evaluation; goes on with what is there.
        options: how.
        name: what the model is called here; its own name by default.
        say: told of every case in a line.

    Raises:
        InputError: if the folder cannot be written to, or the contrast not be matched.
        ModelError: if the model cannot be used.
    """
    name = name or card.name
    allowed = held_out(recipes, card, name, say)
    kept = allowed.recipes
    # Of all scans, so that each run of a method sees the same clusters, whatever it was trained on.
    curves = {}
    if options.contrast == "clusters" and kept:
        curves = curves_of_cases(recipes, card, None, options.clusters)
    views = options.views or card.views_taught
    judge = RegionJudge(card, options.device, views, options.contrast, curves)
    outcome = evaluate(replace(judge.judged(), name=name), kept, output, minutes=options.minutes, say=say)
    pictures = {**_surfaces(judge, kept, outcome), **training_curves(card)} if options.pictures else {}
    return replace(
        outcome, card=card, taught=allowed.taught, validated=allowed.validated, pictures=pictures, views=views
    )


def training_curves(card: ModelCard) -> dict[str, str]:
    """The curves of the run that a model lies in, as HTML; nothing where it lies in none."""
    path = run_folder(card) / CURVES_FILE
    return {"Training": embedded(path.read_bytes(), f"Training of {card.name}", 900)} if path.is_file() else {}


def _surfaces(judge: RegionJudge, recipes: Sequence[CaseRecipe], outcome: Outcome) -> dict[str, str]:
    """For each data set the ear whose Dice is nearest to its mean, as in the paper."""
    if not can_draw():
        return {}
    by_name = {recipe.name: recipe for recipe in recipes}
    drawn = {}
    for group, cases in by_group(outcome.figures):
        judged = [case for case in cases if case.ears and np.isfinite(case.ears[0].dice)]
        if not judged:
            continue
        mean = float(np.mean([case.ears[0].dice for case in judged]))
        chosen = min(judged, key=lambda case: abs(case.ears[0].dice - mean))
        case = obtained(by_name[chosen.name], None)
        found, _ = judge.found(case)
        caption = f"{outcome.model} on {chosen.name}: Dice {chosen.ears[0].dice:.3f}, mean of {group} {mean:.3f}"
        drawn[f"Surfaces, {group}"] = embedded(surface_picture(case, found), caption)
    return drawn
