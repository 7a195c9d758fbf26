"""Metrics of the evaluation: against cases computed by hand, against MONAI, and their laws."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from InnerEarAILib.evaluation.metrics import (
    holm_adjusted,
    landmark_errors_mm,
    mean_interval,
    mean_of_all,
    paired_test,
    rank_correlation,
    segmentation_metrics,
    summarise,
    voxel_metrics,
)

SHAPE = (12, 13, 14)


def box(lower, upper, shape=SHAPE):
    mask = np.zeros(shape, bool)
    mask[tuple(slice(a, b) for a, b in zip(lower, upper, strict=True))] = True
    return mask


def blobs(seed, shape=SHAPE):
    rng = np.random.default_rng(seed)
    return rng.random(shape) < 0.3, rng.random(shape) < 0.3


def test_a_box_shifted_by_half_has_the_overlap_of_the_rule():
    found, truth = box((2, 2, 2), (6, 6, 6)), box((2, 2, 4), (6, 6, 8))
    metrics = segmentation_metrics(found, truth)
    assert metrics.dice == pytest.approx(0.5)
    assert metrics.iou == pytest.approx(1 / 3)
    assert metrics.volumetric_similarity == pytest.approx(1.0)


def test_hausdorff_distances_of_a_longer_box_are_the_hand_computed_ones():
    # Along i with 0.5 mm voxels: the truth has 4 voxels, the result those and 2 more, 1 and 2 voxels off.
    found, truth = box((3, 3, 2), (4, 4, 8)), box((3, 3, 2), (4, 4, 6))
    metrics = segmentation_metrics(found, truth, (0.5, 1.0, 2.0))
    assert metrics.hausdorff_mm == pytest.approx(1.0)
    # From the result: (4 · 0 + 0.5 + 1.0) / 6; from the truth: 0; the mean of both.
    assert metrics.average_hausdorff_mm == pytest.approx((1.5 / 6 + 0.0) / 2, abs=1e-6)
    assert metrics.volumetric_similarity == pytest.approx(1 - 2 / 10)


def test_distances_respect_anisotropic_voxels():
    found, truth = box((3, 3, 3), (4, 4, 4)), box((6, 3, 3), (7, 4, 4))
    assert segmentation_metrics(found, truth, (0.1, 0.2, 0.7)).hausdorff_mm == pytest.approx(2.1)


@pytest.mark.parametrize("seed", range(5))
def test_distances_are_those_between_all_pairs_of_voxels_of_any_edges(seed):
    found, truth = blobs(seed, (5, 6, 7))
    spacing_mm = np.random.default_rng(seed).uniform(0.2, 2.0, 3)
    metrics = segmentation_metrics(found, truth, spacing_mm)
    apart = cdist(*(np.argwhere(mask)[:, ::-1] * spacing_mm for mask in (found, truth)))
    directed = [apart.min(1), apart.min(0)]
    assert metrics.hausdorff_mm == pytest.approx(max(one.max() for one in directed), abs=1e-6)
    means = [one.mean() for one in directed]
    assert metrics.average_hausdorff_mm == pytest.approx(sum(means) / 2, abs=1e-6)
    # Taha and Hanbury 2015 take the larger direction.
    assert max(means) / 2 <= metrics.average_hausdorff_mm <= max(means)


@pytest.mark.parametrize("seed", range(3))
def test_overlap_and_hausdorff_agree_with_monai(seed):
    torch = pytest.importorskip("torch")
    monai_metrics = pytest.importorskip("monai.metrics")
    found, truth = blobs(seed)
    first, second = (torch.from_numpy(mask[None, None].astype(np.float32)) for mask in (found, truth))
    metrics = segmentation_metrics(found, truth)
    assert metrics.dice == pytest.approx(float(monai_metrics.compute_dice(first, second)), abs=1e-6)
    assert metrics.iou == pytest.approx(float(monai_metrics.compute_iou(first, second)), abs=1e-6)
    distance = monai_metrics.compute_hausdorff_distance(first, second, include_background=True)
    assert metrics.hausdorff_mm == pytest.approx(float(distance), abs=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_voxel_metrics_and_area_agree_with_monai(seed):
    torch = pytest.importorskip("torch")
    monai_metrics = pytest.importorskip("monai.metrics")
    found, truth = blobs(seed)
    first, second = (torch.from_numpy(mask[None, None].astype(np.float32)) for mask in (found, truth))
    confusion = monai_metrics.get_confusion_matrix(first, second)
    ours = voxel_metrics(found, truth)
    for name in ("accuracy", "precision", "recall", "specificity"):
        theirs = monai_metrics.compute_confusion_matrix_metric(name, confusion)
        assert getattr(ours, name) == pytest.approx(float(theirs), abs=1e-6), name
    area = monai_metrics.compute_roc_auc(torch.from_numpy(found.ravel() * 1.0), torch.from_numpy(truth.ravel() * 1))
    assert ours.roc_area == pytest.approx(float(area), abs=1e-6)


def test_voxel_metrics_of_a_table_of_four_are_the_hand_computed_ones():
    truth = np.array([[[1, 1, 1, 0, 0, 0, 0, 0, 0, 0]]], bool)
    found = np.array([[[1, 1, 0, 1, 0, 0, 0, 0, 0, 0]]], bool)
    metrics = voxel_metrics(found, truth)
    assert metrics.accuracy == pytest.approx(0.8)
    assert metrics.precision == pytest.approx(2 / 3)
    assert metrics.recall == pytest.approx(2 / 3)
    assert metrics.specificity == pytest.approx(6 / 7)


def test_nothing_found_is_no_overlap_and_no_distance():
    nothing, truth = np.zeros(SHAPE, bool), box((1, 1, 1), (3, 3, 3))
    metrics = segmentation_metrics(nothing, truth)
    assert (metrics.dice, metrics.iou, metrics.volumetric_similarity) == (0.0, 0.0, 0.0)
    assert math.isnan(metrics.hausdorff_mm)
    shares = voxel_metrics(nothing, truth)
    assert (shares.recall, shares.specificity, shares.roc_area) == (0.0, 1.0, 0.5)
    assert segmentation_metrics(truth, nothing).dice == 0.0
    assert np.isnan(list(vars(segmentation_metrics(nothing, nothing)).values())).all()


def test_a_share_of_no_voxels_does_not_exist():
    nothing, everything = np.zeros(SHAPE, bool), np.ones(SHAPE, bool)
    found_nothing, nothing_true = voxel_metrics(nothing, everything), voxel_metrics(everything, nothing)
    assert math.isnan(found_nothing.precision)
    assert math.isnan(found_nothing.specificity)
    assert (found_nothing.accuracy, found_nothing.recall) == (0.0, 0.0)
    assert math.isnan(nothing_true.recall)
    assert (nothing_true.accuracy, nothing_true.precision, nothing_true.specificity) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("metrics", [segmentation_metrics, voxel_metrics])
def test_masks_of_different_shapes_are_refused(metrics):
    with pytest.raises(ValueError, match="different shapes"):
        metrics(np.zeros((2, 2, 2), bool), np.zeros((2, 2, 1), bool))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), shift=st.tuples(*[st.integers(0, 4)] * 3))
def test_metrics_are_symmetric_and_do_not_depend_on_the_place(seed, shift):
    rng = np.random.default_rng(seed)
    small = rng.random((2, 6, 7, 8)) < 0.3
    small[:, 3, 3, 3] = True
    pad = [(place, 5 - place) for place in shift]
    found, truth = (np.pad(mask, pad) for mask in small)
    here, there = segmentation_metrics(*small, (0.3, 0.4, 0.5)), segmentation_metrics(found, truth, (0.3, 0.4, 0.5))
    assert np.allclose(list(vars(here).values()), list(vars(there).values()))
    turned = segmentation_metrics(truth, found, (0.3, 0.4, 0.5))
    assert np.allclose(list(vars(there).values()), list(vars(turned).values()))
    assert here.average_hausdorff_mm <= here.hausdorff_mm
    assert here.iou == pytest.approx(here.dice / (2 - here.dice))


def test_landmark_errors_are_distances_and_a_missing_one_has_none():
    truth = {"helicotrema": np.array([7.0, -2.0, 5.0]), "oval window": np.ones(3), "round window": np.ones(3)}
    found = {"helicotrema": np.array([10.0, 2.0, 5.0]), "oval window": None}
    errors = landmark_errors_mm(found, truth)
    assert list(errors) == list(truth)
    assert math.isnan(landmark_errors_mm(truth, {"helicotrema": None})["helicotrema"])
    assert errors["helicotrema"] == pytest.approx(5.0)
    assert math.isnan(errors["oval window"])
    assert math.isnan(errors["round window"])
    assert mean_of_all(errors.values()) == pytest.approx(5.0)


def test_a_mean_of_all_is_of_those_that_exist():
    assert mean_of_all([1.0, float("nan"), 4.0]) == pytest.approx(2.5)
    assert math.isnan(mean_of_all([float("nan")]))


def test_summary_passes_over_what_does_not_exist():
    summary = summarise([1.0, 2.0, float("nan"), None, 6.0])
    assert (summary.count, summary.mean, summary.median) == (3, 3.0, 2.0)
    assert summary.deviation == pytest.approx(math.sqrt(7))
    assert summarise([]).count == 0


@pytest.mark.filterwarnings("error")
def test_what_a_few_ears_cannot_tell_is_left_out_without_a_warning():
    alone = summarise([1.0])
    assert (alone.count, alone.mean, alone.median) == (1, 1.0, 1.0)
    assert math.isnan(alone.deviation)
    assert (paired_test([], []).pairs, paired_test([], []).p_value) == (0, 1.0)
    assert paired_test([1.0, 2.0], [1.0, 2.0]).p_value == 1.0
    assert math.isnan(rank_correlation([1, 2], [1, 2]).coefficient)
    assert math.isnan(rank_correlation([1, 1, 1], [1, 2, 3]).coefficient)
    assert math.isnan(rank_correlation([1, 2, 3], [1, 1, 1]).p_value)


def test_paired_test_is_the_tabulated_one():
    # Differences 1 to 6, all of one sign: the smaller rank sum is 0 and p = 2 / 2⁶, exact.
    outcome = paired_test([2, 4, 6, 8, 10, 12], [1, 2, 3, 4, 5, 6])
    assert outcome.pairs == 6
    assert outcome.p_value == pytest.approx(2 / 64)
    # A pair that does not differ is passed over: 2 / 2⁶ as before.
    tied = paired_test([2, 4, 6, 8, 10, 12, 5], [1, 2, 3, 4, 5, 6, 5])
    assert (tied.pairs, tied.p_value) == (7, pytest.approx(2 / 64))
    assert paired_test([1.0, float("nan")], [2.0, 2.0]).pairs == 1


def test_voxels_beyond_those_compared_count_as_wrong_and_never_below_nothing():
    truth = np.zeros((1, 1, 20), bool)
    truth[..., :3] = True
    found = truth.copy()
    found[..., 15:17] = True
    metrics = voxel_metrics(found, truth, compared=10)
    assert metrics.accuracy == pytest.approx(8 / 10)
    assert metrics.specificity == pytest.approx(5 / 7)
    found[..., 3:] = True
    metrics = voxel_metrics(found, truth, compared=10)
    assert (metrics.accuracy, metrics.specificity) == (pytest.approx(3 / 10), 0.0)


def test_holms_adjustment_is_the_hand_computed_one():
    # In order 0.01, 0.02, 0.03, 0.04: times 4, 3, 2, 1, and no smaller than the one before.
    assert holm_adjusted([0.03, 0.01, 0.04, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm_adjusted([0.9, 0.8]) == [1.0, 1.0]
    assert holm_adjusted([]) == []


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holms_adjustment_raises_and_keeps_the_order(p_values):
    adjusted = holm_adjusted(p_values)
    assert all(raw <= raised <= 1 for raw, raised in zip(p_values, adjusted, strict=True))
    assert [adjusted[n] for n in np.argsort(p_values)] == sorted(adjusted)
    if p_values:
        assert min(adjusted) == min(1, len(p_values) * min(p_values))


def test_interval_of_a_mean_holds_it_and_is_always_the_same():
    values = np.random.default_rng(3).normal(2.0, 1.0, 100)
    low, high = mean_interval(values)
    assert (low, high) == mean_interval(values)
    assert low < values.mean() < high
    assert high - low == pytest.approx(2 * 1.96 * values.std(ddof=1) / 10, rel=0.1)
    assert mean_interval([0.5, 0.5]) == (0.5, 0.5)
    assert math.isnan(mean_interval([0.5])[0])


def test_rank_correlation_asks_for_order_alone():
    falling = rank_correlation([1e-4, 1e-3, 2e-3, 1e-2], [0.97, 0.95, 0.9, 0.2])
    assert (falling.pairs, falling.coefficient) == (4, pytest.approx(-1.0))
    three = rank_correlation([1, 2, 3], [1, 3, 2])
    assert three.coefficient == pytest.approx(0.5)
    # t = 0.5 √(1 / 0.75) with one degree of freedom, a Cauchy variable: p = 1 - 2 / π · atan t.
    assert three.p_value == pytest.approx(1 - 2 / math.pi * math.atan(0.5 / math.sqrt(0.75)))
    # Ranks 1 2 3 4 against 1 3 2 4: 1 - 6 · 2 / (4 · 15).
    assert rank_correlation([1, 2, 3, 4], [10, 30, 20, 40]).coefficient == pytest.approx(0.8)
    assert rank_correlation([1, 2, 3, float("nan")], [1, 2, 3, 0]).pairs == 3
