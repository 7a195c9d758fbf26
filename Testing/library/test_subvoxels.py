"""Blocks of voxels as channels, and a network of fine voxels that begins with one of coarse voxels."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from InnerEarAILib.networks.dual_head_unet import DualHeadUNet, DualHeadUNetConfig
from InnerEarAILib.networks.subvoxels import (
    begin_with_subvoxels,
    blocks_to_channels,
    channels_to_blocks,
    computed_edge,
    differs_by_subvoxels,
)

WIDTHS = (4, 6, 8)


def network(**changes):
    torch.manual_seed(1)
    return DualHeadUNet(DualHeadUNetConfig(**{"widths": WIDTHS} | changes)).eval()


def random_volume(batch=1, channels=1, size=24):
    return torch.randn(batch, channels, *(size,) * 3, generator=torch.Generator().manual_seed(2))


@settings(deadline=None, max_examples=30)
@given(
    factor=st.integers(1, 3),
    channels=st.integers(1, 3),
    blocks=st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 4)),
)
def test_there_and_back_gives_the_same_volume(factor, channels, blocks):
    volume = torch.randn(2, channels, *(factor * count for count in blocks))
    folded = blocks_to_channels(volume, factor)
    assert tuple(folded.shape) == (2, channels * factor**3, *blocks)
    assert torch.equal(channels_to_blocks(folded, factor), volume)


def test_channels_of_a_voxel_are_the_voxels_of_its_block():
    volume = torch.arange(2 * 4 * 4 * 4).reshape(1, 2, 4, 4, 4)
    folded = blocks_to_channels(volume, 2)
    block = volume[0, 1, 2:4, 0:2, 2:4]
    assert folded[0, 8:, 1, 0, 1].tolist() == block.ravel().tolist()


@pytest.mark.parametrize("heads", ["both", "segmentation", "heatmaps"])
def test_finer_network_begins_by_saying_what_the_coarser_one_said(heads):
    trained, finer = network(heads=heads), network(heads=heads, subvoxel_factor=2)
    begin_with_subvoxels(finer, trained)
    image = random_volume()
    with torch.no_grad():
        said, says = trained(functional.avg_pool3d(image, 2)), finer(image)
    for before, after in ((said.segmentation, says.segmentation), (said.heatmaps, says.heatmaps)):
        assert (before is None) == (after is None)
        if before is not None:
            wanted = functional.interpolate(before, scale_factor=2, mode="nearest")
            torch.testing.assert_close(after, wanted, atol=1e-4, rtol=1e-4)


def test_voxels_of_a_block_can_be_told_apart_by_learning():
    trained, finer = network(), network(subvoxel_factor=2)
    begin_with_subvoxels(finer, trained)
    finer.train()
    output = finer(random_volume())
    (output.segmentation.square().mean() + output.heatmaps.square().mean()).backward()
    of_input = finer.encoder.levels[0][0].convolution.weight.grad
    assert (of_input.flatten(2).norm(dim=2) > 0).all()
    assert (of_input[:, 0] != of_input[:, 7]).any()
    for head in (finer.segmentation_head, finer.heatmap_head):
        assert (head.output.weight.grad.flatten(1).norm(dim=1) > 0).all()


def test_terminals_lie_below_the_blocks():
    output = network(subvoxel_factor=2).train()(random_volume())
    assert [terminal.shape[-1] for terminal in output.segmentation_terminals] == [6]
    assert [tuple(terminal.shape[1:]) for terminal in output.heatmap_terminals] == [(3, 6, 6, 6)]


def test_tiles_must_be_whole_blocks_at_every_level():
    finer = network(subvoxel_factor=2)
    assert finer.config.size_multiple == 8
    with pytest.raises(ValueError, match="multiples of 8"):
        finer(random_volume(size=20))


def test_tiles_count_as_large_as_they_are_computed():
    assert computed_edge(network(subvoxel_factor=2), 128) == 64
    assert computed_edge(network(), 128) == computed_edge(torch.nn.Identity(), 128) == 128


@pytest.mark.parametrize(
    "changes", [{}, {"subvoxel_factor": 2, "widths": (4, 6, 10)}, {"subvoxel_factor": 2, "activation": "relu"}]
)
def test_other_networks_are_refused(changes):
    trained, other = network(), network(**changes)
    assert not differs_by_subvoxels(other.config, trained.config)
    with pytest.raises(ValueError, match="size of their voxels"):
        begin_with_subvoxels(other, trained)


@pytest.mark.parametrize("factor", [0, -1, 1.5, True])
def test_a_block_has_whole_edges(factor):
    with pytest.raises(ValueError, match="subvoxel_factor must be a positive whole number"):
        DualHeadUNetConfig(subvoxel_factor=factor)
