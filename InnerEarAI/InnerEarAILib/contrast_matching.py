"""Contrast matching: scans of foreign scanners and specimens get the intensities that a network was trained on.

Embalming, embedding and drying change what fluid, membranes and bone look like beside each other, which no gain and
offset mends. A histogram match does: the intensities are mapped by the one monotone curve that gives them the
distribution of the reference. Order is kept, so that what was darker stays darker.

Source:
    Stebani et al. 2023, "Data processing and augmentation": histogram and contrast matching beside clipping and
    rescaling, each done separately for the clusters of scans that have the same contrast. The exact scheme stands in
    the paper's supplement; the one here is ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage

from InnerEarAILib.preprocessing import CLIP_QUANTILES, QUANTILE_SAMPLE_VOXELS, SMALLEST_DEVIATION
from InnerEarAILib.volume import InputError

CONTRAST_KEY = "contrast_reference"
"""Under this key of a card's figures stand the quantiles of the labelled scans that a model was trained on."""

PAPER_CLUSTERS = 4
"""Clusters of contrast among the paper's three open data sets (Fig. 1)."""

_LEVELS = np.linspace(0, 1, 33)
"""Shares of the voxels, from the first clipping quantile to the last, between which the curve is straight: enough for
the peaks of air, fluid, tissue and bone, too few to copy the noise of one scan."""


@dataclass(frozen=True)
class ContrastReference:
    """The distribution of intensities that scans are matched to.

    Attributes:
        quantiles: of normalised intensities at equal steps from the darkest voxel to the brightest; rising.
    """

    quantiles: tuple[float, ...]

    def __post_init__(self) -> None:
        steps = np.diff(self.quantiles)
        if len(self.quantiles) != len(_LEVELS) or (steps < 0).any() or not steps.any():
            raise ValueError(f"a contrast reference has {len(_LEVELS)} quantiles that rise")

    @staticmethod
    def of(regions: Sequence[np.ndarray]) -> ContrastReference:
        """The mean distribution of regions round an ear, each (k, j, i), normalised, without NaN.

        Quantiles are averaged, not voxels pooled: a peak that lies elsewhere in each region stays one peak.
        """
        return ContrastReference(tuple(np.mean([np.quantile(region, _LEVELS) for region in regions], axis=0).tolist()))

    @staticmethod
    def of_figures(figures: Mapping[str, Any]) -> ContrastReference | None:
        """What a card's figures say of the scans that the model was trained on; None where they say nothing."""
        quantiles = figures.get(CONTRAST_KEY)
        return ContrastReference(tuple(quantiles)) if quantiles else None


# fmt: off
DRAWN_EARS = ContrastReference((
    -1.562, -1.519, -1.362, -1.148, -0.931, -0.812, -0.755, -0.718, -0.678, -0.641, -0.620,
    -0.602, -0.578, -0.547, -0.504, -0.459, -0.409, -0.333, -0.226, -0.093, 0.070, 0.248,
    0.429, 0.614, 0.806, 0.994, 1.173, 1.337, 1.485, 1.615, 1.726, 1.834, 1.937,
))
# fmt: on
"""Mean of 24 drawn temporal bones, fresh and diseased, in simulated multi-slice, cone-beam and flat-panel scans: cubes
of 22 to 30 mm round the ear, normalised. What the shipped models were trained on."""


@dataclass(frozen=True)
class ContrastCurve:
    """A rising curve from a scan's intensities to a network's; constant beyond its ends, which is the clipping.

    Attributes:
        knots: intensities, rising.
        heights: what they become, as many.
    """

    knots: np.ndarray
    heights: np.ndarray

    def applied(self, voxels: np.ndarray) -> np.ndarray:
        """The voxels (any shape) as the network shall see them, float32; NaN becomes the lowest value."""
        return np.interp(np.nan_to_num(voxels, nan=self.knots[0]), self.knots, self.heights).astype(np.float32)


def match_contrast(voxels: np.ndarray, reference: ContrastReference = DRAWN_EARS) -> np.ndarray:
    """Clipped at the 1st and 99th percentile, histogram of the reference, mean 0, standard deviation 1.

    In place of `preprocessing.normalise` for a scan of unusual contrast.

    Args:
        voxels: (k, j, i) of the region round an ear, any scaling; NaN outside the scan, which counts for nothing and
            becomes the lowest value.
        reference: what the network was trained on.

    Returns:
        float32, same shape.

    Raises:
        InputError: if every voxel is the same or there are none.
    """
    return match_cluster([voxels], reference)[0]


def match_cluster(regions: Sequence[np.ndarray], reference: ContrastReference = DRAWN_EARS) -> list[np.ndarray]:
    """As `match_contrast`, for scans of the same contrast together: one clipping, one curve, one mean and deviation.

    A scan that shows more air than the others of its kind keeps looking so.

    Args:
        regions: as in `match_contrast`, of one scaling.
        reference: what the network was trained on.

    Returns:
        float32 arrays in the same order; mean 0 and standard deviation 1 hold for all of them together.

    Raises:
        InputError: if every voxel is the same or there are none.
    """
    curve = contrast_curve(regions, reference)
    return [curve.applied(region) for region in regions]


def contrast_curve(regions: Sequence[np.ndarray], reference: ContrastReference = DRAWN_EARS) -> ContrastCurve:
    """The curve that gives regions the reference's histogram, and then mean 0 and standard deviation 1.

    Args:
        regions: of scans of the same contrast and scaling, or even subsets of their voxels, NaN outside the scan.
        reference: what the network was trained on.

    Raises:
        InputError: if every voxel is the same or there are none.
    """
    known = _known_together(regions)
    if known.size == 0 or known.max() - known.min() <= SMALLEST_DEVIATION * np.abs(known).max():
        raise InputError("Every voxel of the scan has the same value there; choose a scan that shows tissue.")
    # Read as those of the reference are: of clipped intensities.
    known = np.clip(known, *np.quantile(known, CLIP_QUANTILES))
    found = np.quantile(known, _LEVELS)
    knots, place = np.unique(found, return_inverse=True)
    if knots[-1] - knots[0] <= SMALLEST_DEVIATION * np.abs(knots).max():
        raise InputError("Nearly every voxel of the scan has the same value there; choose a scan that shows tissue.")
    # Several quantiles of one intensity (air cut off at −1024) become the mean of what the reference has there.
    heights = np.bincount(place, weights=reference.quantiles) / np.bincount(place)
    mapped = np.interp(known, knots, heights)
    mean, deviation = float(mapped.mean()), float(mapped.std())
    return ContrastCurve(knots, (heights - mean) / deviation)


def contrast_clusters(regions: Sequence[np.ndarray], clusters: int = PAPER_CLUSTERS) -> np.ndarray:
    """Which scans have the same contrast: a cluster number from 0 for each region.

    Scans are compared by the quantiles of their intensities (mean difference, average linkage). They keep their
    scaling: scans that are scaled differently cannot share a curve.

    Args:
        regions: (k, j, i) round an ear, NaN outside the scan.
        clusters: how many clusters are looked for; fewer where there are fewer scans.
    """
    if len(regions) < 2:
        return np.zeros(len(regions), int)
    low, high = CLIP_QUANTILES
    profiles = np.stack([np.quantile(_known_together([region]), low + _LEVELS * (high - low)) for region in regions])
    tree = linkage(profiles, method="average", metric="cityblock")
    return fcluster(tree, min(clusters, len(regions)), criterion="maxclust") - 1


def cluster_curves(
    regions: Sequence[np.ndarray], clusters: int = PAPER_CLUSTERS, reference: ContrastReference = DRAWN_EARS
) -> list[ContrastCurve]:
    """The paper's processing of foreign data sets: scans are grouped by contrast, and each group is matched by itself.

    Args:
        regions: (k, j, i) round an ear, or even subsets of their voxels; of one scaling, NaN outside the scan.
        clusters: see `contrast_clusters`.
        reference: what the network was trained on.

    Returns:
        The curve of each region, in the same order: that of its group.

    Raises:
        InputError: if all voxels of a group are the same or there are none.
    """
    numbers = contrast_clusters(regions, clusters)
    curves = {
        number: contrast_curve([regions[i] for i in np.flatnonzero(numbers == number)], reference)
        for number in np.unique(numbers)
    }
    return [curves[number] for number in numbers]


def _known_together(regions: Sequence[np.ndarray]) -> np.ndarray:
    """An even subset of the voxels that the scans have, as many of each region in proportion to its size."""
    stride = max(1, sum(region.size for region in regions) // QUANTILE_SAMPLE_VOXELS)
    known = np.concatenate([region.reshape(-1)[::stride] for region in regions])
    return known[np.isfinite(known)]
