"""Which labelled scans a fold trains on, and which it holds out; a patient is never on both sides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

Split = Literal["redraw", "partition"]
"""How folds hold out: each draws anew, or each holds out another part, so that every case is held out exactly once."""


def redraw(patients: Sequence[str], fold: int, held_out: int, seed: int) -> tuple[list[int], list[int]]:
    """Numbers of the cases that a fold trains on, and of those that it holds out, drawn anew by each fold.

    Args:
        patients: whom each case is of.
        fold: 1, 2, 3, …
        held_out: cases to hold out; one more where the last patient drawn has two.
        seed: the same seed and fold give the same split.

    Raises:
        ValueError: if no case would be left to train on or to hold out.

    Source:
        Stebani et al. 2023, "Training": each fold draws 38 cases for training and 5 for validation anew.
    """
    groups = _groups(patients)
    chosen: list[int] = []
    for number in np.random.default_rng([seed, fold]).permutation(len(groups)):
        if len(chosen) < held_out:
            chosen += groups[number]
    if not 0 < len(chosen) < len(patients):
        raise ValueError(
            f"of {len(patients)} cases of {len(groups)} patients, {held_out} cannot be held out for validation and at "
            "least one be trained on; give scans of more patients, or fewer validation_cases"
        )
    return _sides(len(patients), chosen)


def partition(patients: Sequence[str], fold: int, folds: int, seed: int) -> tuple[list[int], list[int]]:
    """Numbers of the cases that a fold trains on, and of those that it holds out: one of `folds` parts.

    The parts are as equal as the patients let them be: 4, 4, 4 and 5 of 17 patients with one case each.

    Args:
        patients: whom each case is of.
        fold: 1 to `folds`.
        folds: how many parts there are.
        seed: the same seed gives the same parts.

    Raises:
        ValueError: if there are fewer patients than parts, or one part alone.

    Source:
        Hussain et al. 2021, "Training": fourfold cross-validation, all slices of a patient in the same fold.
    """
    groups = _groups(patients)
    if not 2 <= folds <= len(groups):
        raise ValueError(f"the cases of {len(groups)} patients cannot be parted into {folds} folds")
    shuffled = [groups[number] for number in np.random.default_rng(seed).permutation(len(groups))]
    parts: list[list[int]] = [[] for _ in range(folds)]
    # Patients with the most cases first: those with one then even the parts out.
    for group in sorted(shuffled, key=len, reverse=True):
        min(reversed(parts), key=len).extend(group)
    return _sides(len(patients), parts[fold - 1])


def on_both_sides(scans: Sequence[str], training: Sequence[int], held_out: Sequence[int]) -> list[list[int]]:
    """Numbers of the cases of each scan that is both trained on and held out.

    Args:
        scans: what tells the scan of each case from all others.
        training, held_out: numbers of cases.
    """
    shared = {scans[number] for number in training} & {scans[number] for number in held_out}
    groups = _groups(scans)
    return [group for group in groups if scans[group[0]] in shared]


def _groups(patients: Sequence[str]) -> list[list[int]]:
    """Numbers of the cases of each patient, patients in the order in which they first appear."""
    groups: dict[str, list[int]] = {}
    for number, patient in enumerate(patients):
        groups.setdefault(patient, []).append(number)
    return list(groups.values())


def _sides(count: int, held_out: Sequence[int]) -> tuple[list[int], list[int]]:
    return sorted(set(range(count)) - set(held_out)), sorted(held_out)
