"""The ten test-time views: proper rotations, all different, each exactly undone."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from InnerEarAILib.inference.augmentation import TTA_VIEWS, choose_views

VIEWS = pytest.mark.parametrize("view", TTA_VIEWS, ids=str)


def rotation_matrix(view):
    """How a view moves coordinates relative to the tile's centre, (3, 3)."""
    line = torch.arange(3.0) - 1
    coordinates = torch.stack(torch.meshgrid(line, line, line, indexing="ij"))
    moved = view.apply(coordinates)
    units = [(2, 1, 1), (1, 2, 1), (1, 1, 2)]
    return torch.stack([moved[(slice(None), *unit)] for unit in units], dim=1)


@settings(deadline=None)
@given(view=st.sampled_from(TTA_VIEWS), size=st.integers(1, 7), seed=st.integers(0, 2**31))
def test_inverse_restores_every_voxel_exactly(view, size, seed):
    tiles = torch.randn(2, 3, size, size, size, generator=torch.Generator().manual_seed(seed))
    assert torch.equal(view.invert(view.apply(tiles)), tiles)
    assert torch.equal(view.apply(view.invert(tiles)), tiles)


@VIEWS
def test_each_view_is_a_rotation_and_never_a_mirror(view):
    matrix = rotation_matrix(view)
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(3))
    assert torch.linalg.det(matrix) == pytest.approx(1.0)


@VIEWS
def test_each_view_turns_about_its_own_axis_by_its_own_angle(view):
    matrix = rotation_matrix(view)
    axis = torch.eye(3)[view.axis]
    torch.testing.assert_close(matrix @ axis, axis)
    cosine = {0: 1, 1: 0, 2: -1, 3: 0}[view.quarter_turns]
    assert matrix.trace() == pytest.approx(1 + 2 * cosine)


def test_there_are_ten_different_views_and_the_first_changes_nothing():
    tile = torch.randn(3, 3, 3)
    seen = [tuple(view.apply(tile).flatten().tolist()) for view in TTA_VIEWS]
    assert len(set(seen)) == 10
    assert torch.equal(TTA_VIEWS[0].apply(tile), tile)


def test_opposite_quarter_turns_undo_each_other():
    tile = torch.randn(4, 4, 4)
    views = {(view.axis, view.quarter_turns): view for view in TTA_VIEWS}
    for axis in range(3):
        turned = views[axis, 1].apply(tile)
        assert torch.equal(views[axis, 3].apply(turned), tile)
        assert torch.equal(views[axis, 1].apply(turned), views[axis, 2].apply(tile))


def test_batch_and_channels_turn_alike():
    tiles = torch.randn(2, 3, 4, 4, 4)
    for view in TTA_VIEWS:
        assert torch.equal(view.apply(tiles)[1, 2], view.apply(tiles[1, 2]))


@pytest.mark.parametrize("shape", [(1, 1, 4, 4, 5), (4, 5, 4), (4, 4, 5, 4), (5, 4, 4), (4, 4)])
def test_only_cubes_can_be_turned(shape):
    with pytest.raises(ValueError, match="cubic"):
        TTA_VIEWS[1].apply(torch.zeros(shape))


def test_views_are_ten_or_one():
    assert choose_views(10) == TTA_VIEWS
    assert choose_views(1) == TTA_VIEWS[:1]
    with pytest.raises(ValueError, match="1 or 10, got 4"):
        choose_views(4)
