"""Judges a network on a region round each labelled ear, by its raw output; README.md says what is not as in the papers.

Every method is asked the same way, whether it draws labyrinth, landmarks or both; no ear is looked for, and nothing is
postprocessed but by the method itself. The region is the cube that the method was trained on, so that one that sees
more can also err farther away; a landmark is the mode of its heatmap between voxels.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from InnerEarAILib import __version__
from InnerEarAILib.contrast_matching import PAPER_CLUSTERS, ContrastCurve, cluster_curves, contrast_curve
from InnerEarAILib.ear_result import EarResult, LandmarkResult, Quality
from InnerEarAILib.evaluation.cases import CaseRecipe, EvaluationCase, obtained
from InnerEarAILib.evaluation.comparison import CaseFigures, compare_ear
from InnerEarAILib.evaluation.evaluate import Judged
from InnerEarAILib.evaluation.taught import contrast_reference
from InnerEarAILib.inference.device import choose_device
from InnerEarAILib.inference.postprocessing import fine_probability, labyrinth_mask
from InnerEarAILib.inference.predictor import Prediction, predict
from InnerEarAILib.inference.quality import mean_standard_deviation
from InnerEarAILib.inference.uncertainty import label_deviation
from InnerEarAILib.landmarks import LANDMARK_NAMES, decode_heatmap
from InnerEarAILib.model_card import ModelCard
from InnerEarAILib.model_store import load_network
from InnerEarAILib.preprocessing import normalise, resample, resample_measured
from InnerEarAILib.scan_checks import measured_scan
from InnerEarAILib.volume import Grid, InputError, Volume

Contrast = Literal["own", "matched", "clusters"]

NOTHING_SEEN = "The scan does not show the ear that is labelled in it; check its labels."

SEEN_VOXELS = 200_000
"""Voxels of each scan that a cluster's contrast is told by."""


@dataclass(frozen=True)
class RegionJudge:
    """A model on regions.

    Attributes:
        card: of any segmenter.
        device: "auto", "cpu", "cuda" or "cuda:N".
        views: 10 or 1.
        contrast: "own" (clipped and normalised), "matched" (each scan matched to the contrast of the model's training)
            or "clusters" (each cluster of scans matched together).
        curves: of "clusters", by name of the case.
    """

    card: ModelCard
    device: str = "auto"
    views: int = 1
    contrast: Contrast = "own"
    curves: Mapping[str, ContrastCurve] = field(default_factory=dict)

    def judged(self) -> Judged:
        """What `evaluate.evaluate` takes."""
        key = {
            "weights": self.card.weights_sha256,
            "views": self.views,
            "contrast": self.contrast,
            "curves": {name: curve.knots.tolist() for name, curve in sorted(self.curves.items())},
            "matched_to": [] if self.contrast == "own" else list(contrast_reference(self.card).quantiles),
            "judge": "region on the lattice",
            "library": __version__,
        }
        return Judged(self.card.name, self.figures, key, has_locator=False)

    def figures(self, case: EvaluationCase) -> CaseFigures:
        """All figures of a case.

        Raises:
            InputError: if its scan cannot be used, or shows nothing round the ear.
        """
        begin = time.monotonic()
        found, probability = self.found(case)
        return compare_ear(case, found, probability is not None, time.monotonic() - begin)

    def found(self, case: EvaluationCase) -> tuple[EarResult, Volume | None]:
        """What the network finds in the region round the case's ear, and the probability of labyrinth, if it has one.

        Raises:
            InputError: if the scan cannot be used, or shows nothing there.
        """
        grid = region_grid(case, self.card)
        values, known = resample_measured(measured_scan(case.scan), grid)
        device = choose_device(self.device)
        prediction = predict(
            load_network(self.card, device),
            self._prepared(case.name, values),
            tile=self.card.tile_voxels,
            overlap=self.card.overlap_voxels,
            views=self.views,
            device=device,
            agreeing_precisions=self.card.agreeing_precisions,
        )
        return _ear(prediction, grid, known)

    def _prepared(self, name: str, values: np.ndarray) -> np.ndarray:
        if self.contrast == "own":
            return normalise(values)
        if self.contrast == "clusters":
            if name not in self.curves:
                raise InputError(NOTHING_SEEN)
            return self.curves[name].applied(values)
        return contrast_curve([values], contrast_reference(self.card)).applied(values)


def region_grid(case: EvaluationCase, card: ModelCard) -> Grid:
    """The cube round a labelled labyrinth that a model is shown: that of its training, at least a tile.

    On the lattice that training prepares its scans on, so that those whose voxels lie on it, as of HDF5 files, are not
    resampled: half a voxel off, interpolation would take a third of the noise that the model was taught with.
    """
    true_ear = case.ears[0].labyrinth
    marked = np.argwhere(true_ear.voxels > 0)
    middle = true_ear.grid.to_lps((marked.min(0) + marked.max(0))[::-1] / 2)
    first = np.round(Grid.cube_round(middle, card.spacing_mm, card.region_voxels).origin_lps / card.spacing_mm)
    return Grid.axis_aligned((card.region_voxels,) * 3, card.spacing_mm, first * card.spacing_mm)


def curves_of_cases(
    recipes: Sequence[CaseRecipe], card: ModelCard, drawn: Path | None, clusters: int = PAPER_CLUSTERS
) -> dict[str, ContrastCurve]:
    """The contrast curve of each case: that of its cluster of scans, by name of the case.

    A scan that cannot be read, or shows nothing, is in no cluster and has no curve.

    Args:
        recipes: of all scans that clusters are looked for in.
        card: of the model.
        drawn: see cases.obtained.
        clusters: how many clusters of contrast there are.

    Raises:
        InputError: see taught.contrast_reference, or if a cluster has no contrast.
    """
    reference = contrast_reference(card)
    seen = {}
    for recipe in recipes:
        try:
            case = obtained(recipe, drawn)
            scan = measured_scan(case.scan).volume
        except InputError:  # is said when its turn comes
            continue
        values = resample(scan, region_grid(case, card)).reshape(-1)
        if np.isfinite(values).any():
            seen[recipe.name] = values[:: max(1, values.size // SEEN_VOXELS)]
    return dict(zip(seen, cluster_curves(list(seen.values()), clusters, reference), strict=True)) if seen else {}


def _ear(prediction: Prediction, grid: Grid, known: np.ndarray) -> tuple[EarResult, Volume | None]:
    probability = None
    mask = Volume(np.zeros(grid.shape, np.uint8), grid.affine_lps)
    if prediction.probability is not None:
        probability = Volume(np.where(known, prediction.probability, 0).astype(np.float32), grid.affine_lps)
        mask = labyrinth_mask(fine_probability(probability), largest_region=False)
    landmarks = ()
    if prediction.heatmaps is not None:
        places = (decode_heatmap(heatmap).index_kji[::-1] for heatmap in prediction.heatmaps)
        landmarks = tuple(
            LandmarkResult(name, grid.to_lps(place), 1.0) for name, place in zip(LANDMARK_NAMES, places, strict=True)
        )
    deviation = prediction.standard_deviation
    quality = Quality(
        volume_mm3=float(np.count_nonzero(mask.voxels) * mask.spacing_mm.prod()),
        distances_mm={},
        mean_standard_deviation=None
        if deviation is None
        else mean_standard_deviation(deviation, known, len(deviation)),
    )
    uncertainty = None if probability is None else probability.with_voxels(label_deviation(probability.voxels))
    view_deviation = None if deviation is None else Volume(deviation, grid.affine_lps)
    return EarResult("", mask, landmarks, uncertainty, view_deviation, quality), probability
