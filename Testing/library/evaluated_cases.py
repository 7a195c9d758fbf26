"""Cases whose ears are ellipsoids, and routes that answer as a test wants."""

import numpy as np

from InnerEarAILib.evaluation.cases import (
    CaseRecipe,
    EvaluationCase,
    TrueEar,
)
from InnerEarAILib.evaluation.evaluate import judged_route
from library.scans import affine, noisy_scan, painted_ear, scan_result

CENTRE = np.array([-38.0, 4.0, 7.0])
ELLIPSOID_MM3 = 4 / 3 * np.pi * 3 * 4 * 5


def beside(*shift):
    return CENTRE + np.array(shift)


def true_ear(centre=CENTRE, side="right"):
    ear = painted_ear(side, centre, 0.2)
    return TrueEar(side, ear.segmentation, {one.name: one.position_lps for one in ear.landmarks})


def case(name="scan_1", group="multi-slice, fresh", ears=None, **changes):
    found = (true_ear(),) if ears is None else ears
    return EvaluationCase(name, group, noisy_scan(affine(origin=CENTRE - 7), name=name), found, **changes)


def recipe(name="scan_1", group="multi-slice, fresh", ears=None, **changes):
    return CaseRecipe(name, group, lambda obtain: case(name, group, ears), {"name": name}, **changes)


def judged(answer=lambda scan: scan_result([painted_ear("right", CENTRE)]), **key):
    return judged_route("clinical", answer, key)
