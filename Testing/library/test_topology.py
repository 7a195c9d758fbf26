"""Loops of a shape are counted, and a canal with a gap is no loop."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from development_data import development_data
from InnerEarAILib.inference.topology import closed_canals, large_parts, loops
from InnerEarAILib.scan_files import read_volume
from InnerEarAILib.volume import Volume
from library.ball_with_canals import ball_with_canals, split


def block(*shape):
    return np.ones(shape, bool)


def frame():
    solid = block(3, 9, 9)
    solid[:, 3:6, 3:6] = False
    return solid


def shell():
    solid = block(7, 7, 7)
    solid[2:5, 2:5, 2:5] = False
    return solid


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        (np.zeros((4, 4, 4), bool), 0),
        (block(1, 1, 1), 0),
        (block(3, 4, 5), 0),
        (shell(), 0),
        (frame(), 1),
        (np.concatenate([frame(), frame()], axis=2), 2),
        (np.concatenate([frame(), np.zeros((3, 9, 2), bool), frame()], axis=2), 2),
        (np.eye(3, dtype=bool)[None], 0),
    ],
)
def test_loops_are_counted(mask, expected):
    assert loops(mask) == expected


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**27 - 1), st.permutations(range(3)), st.tuples(*[st.booleans()] * 3))
def test_loops_do_not_depend_on_how_the_array_is_turned(bits, order, flips):
    mask = np.array([bits >> n & 1 for n in range(27)], bool).reshape(3, 3, 3)
    turned = np.flip(mask.transpose(order), [axis for axis in range(3) if flips[axis]])
    assert loops(turned) == loops(mask)


def test_parts_side_by_side_do_not_stand_in_for_a_torn_canal():
    whole = ball_with_canals(torn=1)
    k, j, i = np.indices(whole.voxels.shape) * 0.175 + whole.affine_lps[2::-1, 3, None, None, None]
    # Two arms from the ball that end 0.5 mm apart.
    arms = (np.abs(k) < 0.6) & (np.abs(np.hypot(i + 5, j) - 2.2) < 0.6) & (np.abs(j) > 0.25)
    assert loops((whole.voxels > 0) | arms) == 2
    assert closed_canals(whole.with_voxels(((whole.voxels > 0) | arms).astype(np.uint8))) == 2


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 3), st.sampled_from((0.15, 0.175, 0.3)))
def test_a_torn_canal_is_not_counted(torn, spacing_mm):
    assert closed_canals(ball_with_canals(torn=torn, spacing_mm=spacing_mm)) == 3 - torn


def test_what_is_missing_is_not_counted():
    assert closed_canals(ball_with_canals(canals=2)) == 2
    assert closed_canals(ball_with_canals(canals=0)) == 0


def test_a_rough_surface_and_a_hair_crack_change_nothing():
    rough = ball_with_canals(canals=1)
    voxels = rough.voxels.copy()
    pits = np.random.default_rng(0).random(voxels.shape) < 0.05
    voxels[pits] = 0
    assert closed_canals(rough.with_voxels(voxels)) == 1
    assert closed_canals(ball_with_canals(canals=1, torn=1, gap_mm=0.3)) == 1


def test_an_empty_segmentation_has_none():
    assert closed_canals(Volume(np.zeros((5, 5, 5), np.uint8), np.eye(4))) == 0


def test_real_labyrinths_have_three():
    folder = development_data("head_ct")
    labels = read_volume(folder / "head_ct_right_ear_labels_refined.nrrd")
    assert closed_canals(labels.with_voxels((labels.voxels > 0).astype(np.uint8))) == 3


def test_large_parts_are_counted_and_specks_are_not():
    whole = ball_with_canals()
    assert large_parts(whole) == 1
    assert large_parts(split(whole)) == 2
    assert large_parts(ball_with_canals(torn=3)) == 1
    specks = whole.voxels.copy()
    specks[:2, :2, :2] = 1
    assert large_parts(whole.with_voxels(specks)) == 1
    assert large_parts(whole.with_voxels(np.zeros_like(whole.voxels))) == 0
