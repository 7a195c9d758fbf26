"""Contrast matching gives foreign scans the intensities of the reference and keeps their order; like goes with like."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from InnerEarAILib.contrast_matching import (
    DRAWN_EARS,
    ContrastReference,
    cluster_curves,
    contrast_clusters,
    match_cluster,
    match_contrast,
)
from InnerEarAILib.preprocessing import normalise
from InnerEarAILib.volume import InputError


def ear(seed, fluid=0.0, air=-1000.0, bone=1500.0, noise=60.0):
    """Air, fluid and bone in three layers, with noise."""
    rng = np.random.default_rng(seed)
    layers = np.repeat([air, fluid, bone], [6, 12, 12])[:, None, None]
    return (layers + rng.normal(0, noise, (30, 30, 30))).astype(np.float32)


def test_a_matched_scan_has_the_histogram_of_the_reference():
    # An exponential distribution against a normal one: no gain and offset does this.
    foreign = np.random.default_rng(0).exponential(1.0, (40, 40, 40))
    reference = np.clip(np.random.default_rng(1).normal(0, 1, 64_000), -2.33, 2.33)
    matched = match_contrast(foreign, ContrastReference.of([reference / reference.std()]))
    shares = [0.1, 0.25, 0.5, 0.75, 0.9]
    np.testing.assert_allclose(np.quantile(matched, shares), [-1.29, -0.68, 0, 0.68, 1.29], atol=0.05)


@settings(deadline=None, max_examples=30)
@given(st.floats(0.01, 50), st.floats(-1000, 1000), st.floats(0.4, 2.5))
def test_any_rising_change_of_the_intensities_is_undone(scale, offset, gamma):
    voxels = np.random.default_rng(2).uniform(0.05, 1, (14, 14, 14))
    np.testing.assert_allclose(match_contrast(offset + scale * voxels**gamma), match_contrast(voxels), atol=0.1)


def test_what_was_darker_stays_darker():
    voxels = ear(3)
    order = np.argsort(voxels, axis=None)
    assert (np.diff(match_contrast(voxels).ravel()[order]) >= 0).all()


def test_a_scan_of_the_references_own_contrast_is_left_as_normalisation_leaves_it():
    voxels = ear(4)
    np.testing.assert_allclose(
        match_contrast(voxels, ContrastReference.of([normalise(voxels)])), normalise(voxels), atol=0.03
    )


def test_output_is_as_that_of_normalise():
    voxels = np.concatenate([ear(5), np.full((4, 30, 30), np.nan, np.float32)])
    matched = match_contrast(voxels)
    assert matched.dtype == np.float32
    assert matched.shape == voxels.shape
    assert matched[:30].mean() == pytest.approx(0, abs=1e-3)
    assert matched[:30].std() == pytest.approx(1, abs=1e-3)
    np.testing.assert_allclose(matched[30:], matched.min())
    np.testing.assert_allclose(matched[:30], match_contrast(voxels[:30]), atol=1e-6)


def test_air_cut_off_at_one_value_stays_one_value():
    voxels = np.maximum(ear(6, noise=200.0), -1000)
    matched = match_contrast(voxels)
    assert np.unique(matched[voxels == -1000]).size == 1
    assert matched[voxels == -1000].max() < matched[voxels > -1000].min() + 1e-6


@pytest.mark.parametrize("voxels", [np.full((4, 4, 4), 7.0), np.full((4, 4, 4), np.nan)])
def test_a_constant_image_is_refused(voxels):
    with pytest.raises(InputError, match="same value"):
        match_contrast(voxels)


def test_an_image_of_one_value_and_a_speck_is_refused():
    voxels = np.zeros((30, 30, 30))
    voxels[0, 0, :3] = 1000
    with pytest.raises(InputError, match="Nearly every voxel"):
        match_contrast(voxels)


def test_scans_of_one_preparation_fall_into_one_cluster():
    fresh = [ear(seed) for seed in range(3)]
    embedded = [ear(seed, fluid=400.0, air=300.0) for seed in range(3, 6)]
    dry = [ear(seed, fluid=-900.0) for seed in range(6, 8)]
    clusters = contrast_clusters([*fresh, *embedded, *dry], 3)
    assert len(set(clusters[:3])) == len(set(clusters[3:6])) == len(set(clusters[6:])) == 1
    assert len(set(clusters)) == 3


def test_a_lone_scan_is_a_cluster():
    assert contrast_clusters([ear(1)]).tolist() == [0]
    np.testing.assert_array_equal(cluster_curves([ear(1)])[0].applied(ear(1)), match_contrast(ear(1)))


def test_each_cluster_is_matched_by_itself_and_as_a_whole():
    scans = [ear(0), ear(1, fluid=400.0, air=300.0), ear(2), ear(3, fluid=400.0, air=300.0)]
    matched = [curve.applied(scan) for curve, scan in zip(cluster_curves(scans, 2), scans, strict=True)]
    for first, second in ((0, 2), (1, 3)):
        together = match_cluster([scans[first], scans[second]])
        np.testing.assert_array_equal(matched[first], together[0])
        np.testing.assert_array_equal(matched[second], together[1])
        assert np.concatenate([m.ravel() for m in together]).std() == pytest.approx(1, abs=1e-3)


def test_within_a_cluster_a_scan_with_more_air_stays_the_darker():
    airy, full = ear(7), ear(8)
    airy[6:12] = -1000
    matched = match_cluster([airy, full])
    assert matched[0].mean() < matched[1].mean() - 0.05


def test_the_shipped_reference_is_a_normalised_distribution():
    quantiles = np.array(DRAWN_EARS.quantiles)
    middles = (quantiles[1:] + quantiles[:-1]) / 2
    assert middles.mean() == pytest.approx(0, abs=0.1)
    assert 0.8 < middles.std() < 1.1


@pytest.mark.parametrize("quantiles", [(0.0, 1.0), (0.0,) * 33, tuple(range(33, 0, -1))])
def test_a_reference_that_is_no_distribution_is_refused(quantiles):
    with pytest.raises(ValueError, match="rise"):
        ContrastReference(quantiles)
