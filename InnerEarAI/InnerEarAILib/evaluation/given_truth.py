"""Whether a labelled scan can judge a model: wrong coordinates of the truth must not become figures of the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from InnerEarAILib.training.labelled_scan import LabelledScan
from InnerEarAILib.training.manifest import Case, are_whole_numbers, on_one_grid, read_mistakes, truth_mistakes
from InnerEarAILib.volume import InputError, Volume

LEAST_SHOWN = 0.9
"""Share of a labyrinth that its scan must show; of one that a scan cuts off the labels can be cropped as well."""


def check_ear_of_data_set(case: Case, read: LabelledScan) -> None:
    """Refuses an ear that the trainer would refuse, whatever the model.

    Raises:
        InputError: one sentence with everything that is wrong.
    """
    _refuse(read_mistakes(case, read))


def check_given_ear(scan: Volume, labels: Volume, labyrinth: Volume, landmarks_lps: Mapping[str, np.ndarray]) -> None:
    """Refuses an ear whose labels may lie on a grid of their own and whose landmarks may be unknown.

    Args:
        scan: that shows it.
        labels: as they were read.
        labyrinth: the same, 1 labyrinth, 0 not.
        landmarks_lps: (3,) LPS mm by name; those that are known.

    Raises:
        InputError: one sentence with everything that is wrong.
    """
    wrong = [] if are_whole_numbers(labels.voxels) else ["its labels are not whole numbers."]
    _refuse([*wrong, *_place_mistakes(scan, labyrinth), *truth_mistakes(scan, labyrinth, landmarks_lps)])


def _place_mistakes(scan: Volume, labyrinth: Volume) -> list[str]:
    of_one_size = scan.voxels.shape == labyrinth.voxels.shape and np.allclose(
        scan.spacing_mm, labyrinth.spacing_mm, rtol=1e-3
    )
    if of_one_size and not on_one_grid(scan, labyrinth):
        beside_mm = np.linalg.norm(scan.grid.centre_lps - labyrinth.grid.centre_lps)
        return [
            "its labels have the voxels of its scan but another origin or other directions (their middle lies "
            f"{beside_mm:.1f} mm beside); give both files the same."
        ]
    shown = _share_shown(scan, labyrinth)
    if shown >= LEAST_SHOWN:
        return []
    return [
        f"its scan shows {100 * shown:.0f} % of its labyrinth; check origin and directions of scan and labels, or crop "
        "the labels to the scan if it cuts the ear off."
    ]


def _share_shown(scan: Volume, labyrinth: Volume) -> float:
    places_lps = labyrinth.grid.to_lps(np.argwhere(labyrinth.voxels)[:, ::-1])
    indices = scan.grid.to_indices(places_lps)
    limits = np.array(scan.voxels.shape[::-1]) - 0.5
    return float(((indices >= -0.5) & (indices <= limits)).all(1).mean())


def _refuse(mistakes: Sequence[str]) -> None:
    if mistakes:
        raise InputError(f"Not judged: {'; '.join(mistake.removesuffix('.') for mistake in mistakes)}.")
