"""Augmentation keeps image, labyrinth and landmarks together, and changes what it is meant to change."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from InnerEarAILib.phantom.truth_lattice import FULL_SHARE
from InnerEarAILib.training.augmentation import AUGMENTATIONS, Augmentation, turned_points, turned_tile
from InnerEarAILib.training.manifest_dataset import PreparedCase

SHAPE = (40, 44, 48)
EDGE = 24


def blob(centre: np.ndarray, spread: float = 2.0) -> np.ndarray:
    places = np.stack(np.indices(SHAPE), -1)
    return np.exp(-0.5 * ((places - centre) ** 2).sum(-1) / spread**2)


def middle_of_mass(voxels: np.ndarray) -> np.ndarray:
    return (np.stack(np.indices(voxels.shape), -1) * voxels[..., None]).sum((0, 1, 2)) / voxels.sum()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(["alpha", "beta"]))
def test_image_labyrinth_and_landmarks_move_together_to_a_tenth_of_a_voxel(seed, protocol):
    rng = np.random.default_rng(seed)
    mark = np.array(SHAPE) / 2 + rng.uniform(-2, 2, 3)
    shape = blob(mark)
    landmarks = (mark + np.diag([0, 3, 3]))[None]
    case = PreparedCase(shape, np.round(FULL_SHARE * shape).astype(np.uint8), np.zeros((0, 3)), landmarks, 0.0)
    centre = np.round(mark + rng.uniform(-2, 2, 3)) + 0.5
    sample = case.tile(centre, AUGMENTATIONS[protocol].rotation(rng), EDGE)
    expected = sample.landmarks_kji[0, 0]
    assert np.abs(middle_of_mass(sample.image) - expected).max() < 0.1
    assert np.abs(middle_of_mass(sample.labyrinth) - expected).max() < 0.1
    # Neighbouring landmarks keep their distances and their handedness.
    along = sample.landmarks_kji[0, 1:] - expected
    assert np.linalg.norm(along, axis=1) == pytest.approx([3, 3])


@given(st.integers(0, 10**6))
def test_rotations_never_mirror(seed):
    rotation = AUGMENTATIONS["beta"].rotation(np.random.default_rng(seed))
    assert np.linalg.det(rotation) == pytest.approx(1)
    assert rotation @ rotation.T == pytest.approx(np.eye(3), abs=1e-9)


def rotations(augmentation: Augmentation, count: int = 300) -> list[np.ndarray]:
    rng = np.random.default_rng(5)
    return [augmentation.rotation(rng) for _ in range(count)]


def angle(rotation: np.ndarray) -> float:
    return float(np.degrees(np.arccos(np.clip((np.trace(rotation) - 1) / 2, -1, 1))))


@pytest.mark.parametrize(("name", "largest", "axes"), [("alpha", 30, 1), ("beta", 45, 3)])
def test_protocols_turn_as_far_and_about_as_many_axes_as_the_paper_says(name, largest, axes):
    protocol = AUGMENTATIONS[name]
    free = [angle(r) for r in rotations(Augmentation(free_degrees=protocol.free_degrees, free_share=1.0))]
    assert 0.9 * largest < max(free) <= largest
    quarter = rotations(Augmentation(turned_axes=protocol.turned_axes, turned_share=1.0))
    kinds = {tuple(np.round(r).astype(int).ravel()) for r in quarter}
    assert len(kinds) == 3 * axes
    fixed = [axis for axis in range(3) if all(abs(r[axis, axis] - 1) < 1e-9 for r in quarter)]
    assert fixed == ([0] if axes == 1 else [])


def test_tile_that_is_not_turned_is_the_block_itself():
    voxels = np.random.default_rng(1).normal(size=SHAPE).astype(np.float32)
    tile = turned_tile(voxels, np.array([20.5, 21.5, 22.5]), np.eye(3), 8, 0.0)
    assert tile == pytest.approx(voxels[17:25, 18:26, 19:27], abs=1e-5)


def test_tile_beyond_the_volume_has_the_outside_value():
    tile = turned_tile(np.ones(SHAPE, np.float32), np.array([0.5, 20.5, 20.5]), np.eye(3), 8, -3.0)
    assert tile[0] == pytest.approx(-3.0)
    assert tile[-1] == pytest.approx(1.0)


def test_point_in_the_middle_of_a_turned_tile_stays_in_the_middle():
    rotation = AUGMENTATIONS["beta"].rotation(np.random.default_rng(2))
    assert turned_points(np.array([5.0, 6, 7]), np.array([5.0, 6, 7]), rotation, 9) == pytest.approx([4, 4, 4])


def test_contrast_is_a_factor_within_its_bounds():
    image, rng = np.ones((4, 4, 4), np.float32), np.random.default_rng(3)
    contrast = Augmentation(contrast=0.25, contrast_share=1.0, noise_share=0.0)
    factors = [contrast.change_intensities(image, rng) for _ in range(200)]
    assert all(np.ptp(factor) == 0 for factor in factors)
    means = [factor.mean() for factor in factors]
    assert 0.75 <= min(means) < 0.8 < 1.2 < max(means) <= 1.25


def test_gaussian_noise_is_as_wide_in_dark_as_in_bright_and_poisson_noise_is_not():
    image = np.zeros((2, 40, 40), np.float32)
    image[1] = 4.0
    spread = {}
    for name, noise in (
        ("gaussian", Augmentation(gaussian_deviation=0.5)),
        ("poisson", Augmentation(poisson_counts=20)),
    ):
        rng = np.random.default_rng(4)
        changed = [noise.change_intensities(image, rng) for _ in range(80)]
        noisy = np.stack([one for one in changed if not np.array_equal(one, image)])
        assert len(noisy) > 10
        assert noisy.mean((0, 2, 3)) == pytest.approx([0, 4], abs=0.05)
        spread[name] = noisy.std((0, 2, 3))
    assert spread["gaussian"][0] == pytest.approx(spread["gaussian"][1], rel=0.1)
    assert spread["poisson"][0] < 0.01 < 0.1 < spread["poisson"][1]


def test_no_augmentation_changes_nothing():
    image, rng = np.random.default_rng(1).normal(size=(4, 4, 4)).astype(np.float32), np.random.default_rng(6)
    for _ in range(20):
        assert np.array_equal(AUGMENTATIONS["none"].change_intensities(image, rng), image)
        assert np.array_equal(AUGMENTATIONS["none"].rotation(rng), np.eye(3))
