"""Cross-validation: the runs of one configuration as one method, each ear judged by the runs that held it out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields, replace
from typing import TypeVar

from InnerEarAILib.evaluation.calibration import sum_of
from InnerEarAILib.evaluation.comparison import CALIBRATIONS, CaseFigures, EarFigures
from InnerEarAILib.evaluation.evaluate import Outcome
from InnerEarAILib.evaluation.held_out import VALIDATION_GROUP
from InnerEarAILib.evaluation.metrics import mean_of_all
from InnerEarAILib.evaluation.model_names import RUN_PARTS
from InnerEarAILib.model_card import ModelCard
from InnerEarAILib.training.export import PROTOCOL_KEY
from InnerEarAILib.volume import InputError

Run = TypeVar("Run")

ALIKE = 1.2
"""Runs of which one is longer than another by more than this factor are hardly one method; ours."""


def check_poolable(cards: Sequence[ModelCard]) -> None:
    """Refuses models of one name that are no runs of one configuration.

    Raises:
        InputError: one sentence.
    """
    first: dict[str, ModelCard] = {}
    for card in cards:
        other = first.setdefault(card.name, card)
        if _told(card) != _told(other):
            raise InputError(
                f"{other.directory} and {card.directory} are no runs of one configuration: their networks or trainings "
                "differ. Judge them without --pool, or pool others."
            )


def told_of_runs(cards: Sequence[ModelCard]) -> list[str]:
    """One sentence for each configuration that is to be pooled: how long its runs were trained, and whether alike."""
    groups = _runs_of_one([(card, card) for card in cards])
    return [f"{name}: {_iterations(runs)}." for (name, _), runs in groups.items() if len(runs) > 1]


def pooled(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """One outcome for each configuration, best and last weights apart; one of which there is one run stays as it is.

    Args:
        outcomes: on the same cases, with their cards.
    """
    runs = _runs_of_one([(outcome.card, outcome) for outcome in outcomes])
    names = [name for name, _ in runs]
    return [
        _joined(name if names.count(name) == 1 else f"{name}_{part}", of_one) if len(of_one) > 1 else of_one[0]
        for (name, part), of_one in runs.items()
    ]


def _runs_of_one(runs: Iterable[tuple[ModelCard, Run]]) -> dict[tuple[str, str], list[Run]]:
    """What belongs to runs of one configuration, by its name and the part of the runs, such as “best”."""
    groups: dict[tuple[str, str], list[Run]] = {}
    for card, run in runs:
        part = card.directory.parent.name
        groups.setdefault((card.name, part if part in RUN_PARTS else ""), []).append(run)
    return groups


def _iterations(cards: Sequence[ModelCard]) -> str:
    """How many iterations stand behind the weights of each run, as their versions end; a warning where they differ."""
    counts = [card.version.rpartition("-")[2] for card in cards]
    told = f"{len(cards)} runs of {', '.join(f'{int(n):,}' if n.isdigit() else '?' for n in counts)} iterations"
    known = [int(count) for count in counts if count.isdigit()]
    if not known or max(known) <= ALIKE * min(known):
        return told
    if cards[0].directory.parent.name == "best":
        return f"{told}, which differ much: best weights may come early, but see that every run was trained to its end"
    return f"{told}, which differ much: train the short ones to their end, or leave them out"


def _told(card: ModelCard) -> tuple:
    return card.method, card.network, card.spacing_mm, card.tile_voxels, card.figures.get(PROTOCOL_KEY)


def _joined(name: str, runs: Sequence[Outcome]) -> Outcome:
    cases: dict[tuple[str, str], list[CaseFigures]] = {}
    for run in runs:
        for case in run.figures:
            cases.setdefault((case.group, case.name), []).append(case)
    figures = tuple(_mean_case(of_one) for of_one in cases.values())
    remaining = tuple(dict.fromkeys(one for run in runs for one in run.remaining))
    failed = tuple(f"{run.model}, {sentence}" for run in runs for sentence in run.failed)
    first, lengths = runs[0], _iterations([run.card for run in runs])
    return Outcome(
        name,
        figures,
        remaining=remaining,
        failed=failed,
        card=replace(first.card, trained_on=f"{lengths}. The first: {first.card.trained_on}"),
        taught=_left_out_by_all(runs),
        validated=sum(case.group.endswith(VALIDATION_GROUP) for case in figures),
        pictures={f"{title}, {run.model}": picture for run in runs for title, picture in run.pictures.items()},
        views=first.views,
        runs=tuple(runs),
    )


def _left_out_by_all(runs: Sequence[Outcome]) -> int:
    """How many cases no run was judged on, nor will be."""
    first = runs[0]
    cases = first.taught + len(first.figures) + len(first.remaining) + len(first.failed)
    judged = {case.name for run in runs for case in run.figures}
    waiting = {name for run in runs for name in (*run.remaining, *(one.partition(":")[0] for one in run.failed))}
    return cases - len(judged | waiting)


def _mean_case(cases: Sequence[CaseFigures]) -> CaseFigures:
    """One case as several runs see it: the mean of every figure of each ear, the sum of what is counted."""
    return replace(
        cases[0],
        ears=tuple(_mean_ear(ears) for ears in zip(*(case.ears for case in cases), strict=True)),
        false_ears=sum(case.false_ears for case in cases),
        false_deviations=tuple(value for case in cases for value in case.false_deviations),
        **{kind: sum_of(getattr(case, kind) for case in cases) for kind in CALIBRATIONS},
        seconds=mean_of_all(case.seconds for case in cases),
    )


def _mean_ear(ears: Sequence[EarFigures]) -> EarFigures:
    numbers = [entry.name for entry in fields(EarFigures) if entry.type == "float"]
    means = {name: mean_of_all(getattr(ear, name) for ear in ears) for name in numbers}
    flags = tuple(dict.fromkeys(flag for ear in ears for flag in ear.flags))
    return replace(ears[0], found=all(ear.found for ear in ears), flags=flags, **means)
