"""How sure is a voxel's label? Stated as a standard deviation."""

from __future__ import annotations

import numpy as np


def label_deviation(probability: np.ndarray) -> np.ndarray:
    """Standard deviation of the label, 1 labyrinth or 0 not, of voxels with this probability.

    By the law of total variance its square is the variance of the probability over the views, which says how far they
    contradict each other and is 0 for one view, plus the mean over the views of p (1 − p), which says how undecided
    each of them is. Alone, the first takes a voxel for sure that all views hold for half labyrinth, as on every
    surface; how both fare is measured in evaluation.calibration.

    Args:
        probability: of labyrinth, 0 to 1, mean over the views or that of one; any shape.

    Returns:
        float32, 0 (sure) to 0.5 (a toss-up), of the same shape.
    """
    return np.sqrt(probability * (1 - probability), dtype=np.float32)
