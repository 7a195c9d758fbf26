"""Wrong voxels by stated standard deviation: counts, sums, and what would be expected."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from InnerEarAILib.evaluation.calibration import (
    CALIBRATION_EDGES,
    NO_VOXELS,
    calibration_from,
    calibration_of,
    sum_of,
    wrong_share,
)
from InnerEarAILib.inference.uncertainty import label_deviation

SEEDS = st.integers(0, 2**32 - 1)


@given(SEEDS)
def test_an_honest_probability_is_wrong_as_often_as_its_deviation_lets_expect(seed):
    random = np.random.default_rng(seed)
    probability = random.random(40_000).astype(np.float32)
    truth = random.random(probability.size) < probability
    classes = calibration_of(label_deviation(probability), (probability >= 0.5) != truth)
    assert sum(label.voxels for label in classes) == probability.size
    for label in classes:
        assert abs(label.wrong - label.expected) <= 6 * np.sqrt(label.expected + 1)


@given(SEEDS)
def test_overconfidence_shows(seed):
    random = np.random.default_rng(seed)
    told = random.random(40_000).astype(np.float32)
    truth = random.random(told.size) < 0.5 + (told - 0.5) / 4
    classes = calibration_of(label_deviation(told), (told >= 0.5) != truth)
    assert all(label.wrong > 1.2 * label.expected for label in classes[:-1] if label.voxels > 1000)


@given(SEEDS, st.sampled_from((np.float16, np.float32, np.float64)))
def test_the_deviation_of_a_label_is_that_between_the_views_and_within_them(seed, dtype):
    views = np.random.default_rng(seed).random((10, 4, 5)).astype(dtype)
    mean = views.mean(0, dtype=np.float64).astype(dtype)
    deviation = label_deviation(mean)
    assert deviation.dtype == np.float32
    exact = views.astype(np.float64)
    total = exact.var(0) + (exact * (1 - exact)).mean(0)
    np.testing.assert_allclose(deviation, np.sqrt(total), atol=2e-3 if dtype is np.float16 else 1e-6)


@given(st.floats(0, 1))
def test_the_expected_share_is_that_of_the_less_likely_label(probability):
    deviation = np.sqrt(np.float64(probability) * (1 - probability))
    assert wrong_share(min(deviation, 0.5)) == pytest.approx(min(probability, 1 - probability), abs=1e-7)


def test_each_voxel_counts_in_its_class_and_none_where_nothing_is_stated():
    stated = np.array([[0.0, 0.005, 0.02, 0.12], [0.45, 0.5, 0.6, np.nan]], np.float32)
    wrong = np.array([[False, True, False, True], [True, True, False, True]])
    classes = calibration_of(stated, wrong)
    assert [label.voxels for label in classes] == [2, 1, 0, 1, 0, 0, 0, 3]
    assert [label.wrong for label in classes] == [1, 0, 0, 1, 0, 0, 0, 2]
    assert classes[-1].expected == pytest.approx((1 - np.sqrt(1 - 4 * 0.45**2)) / 2 + 0.5 + 0.5, abs=1e-3)
    assert len(classes) == len(CALIBRATION_EDGES) - 1


def test_the_classes_end_where_they_are_said_to():
    borders = np.array([0.01, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4])
    classes = calibration_of(np.concatenate([borders - 1e-4, borders + 1e-4]), np.zeros(14, bool))
    assert [label.voxels for label in classes] == [1, 2, 2, 2, 2, 2, 2, 1]
    assert (CALIBRATION_EDGES[0], CALIBRATION_EDGES[-1]) == (0.0, 0.5)


def test_sums_are_of_all_voxels():
    one = calibration_of(np.array([0.1, 0.3]), np.array([True, False]))
    other = calibration_of(np.array([0.3, 0.5]), np.array([True, True]))
    both = calibration_of(np.array([0.1, 0.3, 0.3, 0.5]), np.array([True, False, True, True]))
    for ours, theirs in zip(sum_of([one, other]), both, strict=True):
        assert ours[:2] == theirs[:2]
        assert ours.expected == pytest.approx(theirs.expected, abs=2e-3)
    assert sum_of([]) == NO_VOXELS


def test_what_is_no_calibration_is_refused():
    with pytest.raises((TypeError, ValueError)):
        calibration_from([(1, 2)])
