"""How near a result is to the truth: the metrics of both papers, their summaries, and the test between two methods.

Overlap and Hausdorff distances are SimpleITK's, ranks and tests SciPy's. A figure that does not exist (a distance to
nothing, a share of nothing) is NaN, and summaries pass NaN over.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from scipy import stats

NAN = float("nan")

BOOTSTRAP_SEED = 20_231_107


@dataclass(frozen=True)
class SegmentationMetrics:
    """Two labyrinth masks compared as in Table 3 of Stebani et al. 2023.

    Attributes:
        dice: 0 to 1.
        iou: intersection over union (Jaccard index), 0 to 1.
        volumetric_similarity: 1 − |difference| / sum of the volumes, 0 to 1.
        hausdorff_mm: largest distance from a voxel of one mask to the other mask; NaN where one is empty.
        average_hausdorff_mm: the same with the mean over all voxels in place of the maximum, mean of both directions.
            Taha and Hanbury 2015, whom both papers cite, take the larger direction, which is up to twice as much.
    """

    dice: float
    iou: float
    volumetric_similarity: float
    hausdorff_mm: float
    average_hausdorff_mm: float


@dataclass(frozen=True)
class VoxelMetrics:
    """Two masks compared voxel by voxel as in Table 1 of Hussain et al. 2021; each 0 to 1.

    Attributes:
        accuracy: share of all voxels that agree.
        precision: share of the found voxels that are true; NaN where none is found.
        recall: share of the true voxels that are found; NaN where there are none.
        specificity: share of the voxels outside that are left out; NaN where there are none.
        roc_area: area under the ROC curve of a mask, whose one point is joined to the corners: the mean of recall and
            specificity. Four of the paper's six rows agree with it to rounding, the two of ResU-Net to 0.006.
    """

    accuracy: float
    precision: float
    recall: float
    specificity: float

    @property
    def roc_area(self) -> float:
        return (self.recall + self.specificity) / 2


@dataclass(frozen=True)
class Summary:
    """A figure over a group of ears.

    Attributes:
        count: of the values that exist.
        mean, median: NaN where there are none.
        deviation: standard deviation of the sample (n − 1); NaN below two values.
    """

    count: int
    mean: float
    deviation: float
    median: float


@dataclass(frozen=True)
class PairedTest:
    """Wilcoxon's signed-rank test between two methods on the same ears.

    Attributes:
        pairs: for which both figures exist.
        p_value: two-sided; 1 where no pair differs.
    """

    pairs: int
    p_value: float


@dataclass(frozen=True)
class RankCorrelation:
    """Spearman's rank correlation of two figures of the same ears.

    Attributes:
        pairs: for which both figures exist.
        coefficient: -1 to 1; NaN of fewer than three pairs, or where one figure is the same throughout.
        p_value: two-sided; NaN with the coefficient.
    """

    pairs: int
    coefficient: float
    p_value: float


def segmentation_metrics(
    found: np.ndarray, truth: np.ndarray, spacing_mm: Iterable[float] = (1.0, 1.0, 1.0)
) -> SegmentationMetrics:
    """Overlap and distances of two masks on one grid.

    Args:
        found: (k, j, i) bool, the result.
        truth: (k, j, i) bool.
        spacing_mm: voxel edges along (i, j, k).

    Raises:
        ValueError: if the shapes differ.

    Source:
        Stebani et al. 2023, "Performance evaluation"; its exact definitions stand in its supplement, so that the
        average Hausdorff distance is ITK's (mean of the two directed averages over all voxels of a mask).
    """
    _check_shapes(found, truth)
    if not found.any() and not truth.any():
        return SegmentationMetrics(NAN, NAN, NAN, NAN, NAN)
    images = [_image(mask, spacing_mm) for mask in _shared_block(found, truth)]
    overlap = sitk.LabelOverlapMeasuresImageFilter()
    overlap.Execute(*images)
    # ITK's similarity is the signed 2 (a − b) / (a + b); the paper's is one minus the size of half of it.
    similarity = 1 - abs(overlap.GetVolumeSimilarity()) / 2
    if not found.any() or not truth.any():
        return SegmentationMetrics(0.0, 0.0, 0.0, NAN, NAN)
    distances = sitk.HausdorffDistanceImageFilter()
    distances.Execute(*images)
    return SegmentationMetrics(
        dice=overlap.GetDiceCoefficient(),
        iou=overlap.GetJaccardCoefficient(),
        volumetric_similarity=similarity,
        hausdorff_mm=distances.GetHausdorffDistance(),
        average_hausdorff_mm=distances.GetAverageHausdorffDistance(),
    )


def voxel_metrics(found: np.ndarray, truth: np.ndarray, compared: int | None = None) -> VoxelMetrics:
    """Shares of right and wrong voxels of two boolean masks of one shape.

    Args:
        found: bool, the result.
        truth: bool.
        compared: voxels that accuracy and specificity are shares of, where the masks hold more: each false voxel beyond
            takes the place of one that is rightly left out, as long as there are any. None: all of the masks.

    Raises:
        ValueError: if the shapes differ.

    Source:
        Hussain et al. 2021, Table 1.
    """
    _check_shapes(found, truth)
    both = int(np.count_nonzero(found & truth))
    false_positive = int(np.count_nonzero(found)) - both
    false_negative = int(np.count_nonzero(truth)) - both
    size = found.size if compared is None else compared
    neither = max(size - both - false_positive - false_negative, 0)
    return VoxelMetrics(
        accuracy=_share(both + neither, size),
        precision=_share(both, both + false_positive),
        recall=_share(both, both + false_negative),
        specificity=_share(neither, neither + false_positive),
    )


def landmark_errors_mm(
    found: Mapping[str, np.ndarray | None], truth: Mapping[str, np.ndarray | None]
) -> dict[str, float]:
    """Distance in mm between found and true positions (3,) by landmark name; NaN where either is missing."""
    errors = {}
    for name, position in truth.items():
        other = found.get(name)
        errors[name] = NAN if position is None or other is None else float(np.linalg.norm(other - position))
    return errors


def mean_of_all(values: Iterable[float]) -> float:
    """The mean of values that exist; NaN where there are none."""
    finite = [value for value in values if np.isfinite(value)]
    return float(np.mean(finite)) if finite else NAN


def summarise(values: Iterable[float | None]) -> Summary:
    """Mean, standard deviation and median of the values that exist."""
    finite = np.array([value for value in values if value is not None and np.isfinite(value)], float)
    if not len(finite):
        return Summary(0, NAN, NAN, NAN)
    deviation = float(finite.std(ddof=1)) if len(finite) > 1 else NAN
    return Summary(len(finite), float(finite.mean()), deviation, float(np.median(finite)))


def paired_test(first: Iterable[float], second: Iterable[float]) -> PairedTest:
    """Do two methods differ on the same ears? Pairs with a figure that does not exist are left out.

    Raises:
        ValueError: if there are not as many figures of the one as of the other.

    Source:
        Wilcoxon's signed-rank test, as in Hussain et al. 2021.
    """
    pairs = np.array(list(zip(first, second, strict=True)), float).reshape(-1, 2)
    pairs = pairs[np.isfinite(pairs).all(1)]
    if not len(pairs) or (pairs[:, 0] == pairs[:, 1]).all():
        return PairedTest(len(pairs), 1.0)
    outcome = stats.wilcoxon(pairs[:, 0], pairs[:, 1])
    return PairedTest(len(pairs), float(outcome.pvalue))


def holm_adjusted(p_values: Sequence[float]) -> list[float]:
    """p of several tests, raised so that of all those below a level none is there by chance with that probability.

    Source:
        Holm 1979, "A simple sequentially rejective multiple test procedure".
    """
    order = np.argsort(p_values)
    raised = np.maximum.accumulate(np.asarray(p_values, float)[order] * np.arange(len(order), 0, -1))
    adjusted = np.empty(len(order))
    adjusted[order] = np.minimum(raised, 1.0)
    return adjusted.tolist()


def mean_interval(values: Sequence[float]) -> tuple[float, float]:
    """The 95 % confidence interval of a mean by a percentile bootstrap, always the same for the same values.

    NaN and NaN of fewer than two values.
    """
    if len(values) < 2:
        return NAN, NAN
    drawn = stats.bootstrap(
        (np.asarray(values, float),), np.mean, method="percentile", random_state=np.random.default_rng(BOOTSTRAP_SEED)
    )
    return float(drawn.confidence_interval.low), float(drawn.confidence_interval.high)


def rank_correlation(first: Iterable[float], second: Iterable[float]) -> RankCorrelation:
    """Do two figures rise and fall together? Pairs with a figure that does not exist are left out.

    Raises:
        ValueError: if there are not as many of the one as of the other.
    """
    pairs = np.array(list(zip(first, second, strict=True)), float).reshape(-1, 2)
    pairs = pairs[np.isfinite(pairs).all(1)]
    if len(pairs) < 3 or (pairs == pairs[0]).all(0).any():
        return RankCorrelation(len(pairs), NAN, NAN)
    outcome = stats.spearmanr(pairs[:, 0], pairs[:, 1])
    return RankCorrelation(len(pairs), float(outcome.statistic), float(outcome.pvalue))


def _check_shapes(first: np.ndarray, second: np.ndarray) -> None:
    if first.shape != second.shape:
        raise ValueError(f"arrays of different shapes cannot be compared: {first.shape} and {second.shape}")


def _share(part: int, whole: int) -> float:
    return part / whole if whole else NAN


def _shared_block(found: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both masks cut to the box that holds them and one voxel round it: distances cost by the voxel."""
    either = found | truth
    marked = [np.flatnonzero(either.any(axis=others)) for others in ((1, 2), (0, 2), (0, 1))]
    block = tuple(slice(max(line[0] - 1, 0), line[-1] + 2) for line in marked)
    return found[block], truth[block]


def _image(mask: np.ndarray, spacing_mm: Iterable[float]) -> sitk.Image:
    image = sitk.GetImageFromArray(mask.astype(np.uint8))
    image.SetSpacing([float(edge) for edge in spacing_mm])
    return image
