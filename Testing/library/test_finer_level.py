"""A network with a finer level begins with what the network without it has learnt."""

import pytest
import torch
from torch.nn import functional

from InnerEarAILib.networks.dual_head_unet import DualHeadUNet, DualHeadUNetConfig
from InnerEarAILib.networks.finer_level import begin_finer, is_one_level_finer

WIDTHS = (6, 8, 10)


def network(widths=WIDTHS, **changes):
    torch.manual_seed(len(widths))
    return DualHeadUNet(DualHeadUNetConfig(widths=widths, **changes))


def normalised(size, seed=3):
    """A smooth image of zero mean and unit variance, so that halving its grid changes it little."""
    noise = torch.randn(1, 1, 12, 12, 12, generator=torch.Generator().manual_seed(seed))
    image = functional.interpolate(noise, (size,) * 3, mode="trilinear", align_corners=False)
    return (image - image.mean()) / image.std()


class OnGPU(torch.Tensor):
    """Stands for a tensor on a GPU: what is made of it lies there too, and only `cpu` leads away."""

    def cpu(self):
        return self.as_subclass(torch.Tensor)

    @classmethod
    def __torch_function__(cls, function, types, arguments=(), named=None):
        if function is torch.linalg.lstsq and (named or {}).get("driver") != "gels":
            raise RuntimeError("torch.linalg.lstsq: `driver` other than `gels` is not supported on CUDA")
        return super().__torch_function__(function, types, arguments, named or {})


def alike(one, other):
    return [
        float(torch.corrcoef(torch.stack((a.ravel(), b.ravel())))[0, 1]) for a, b in zip(one[0], other[0], strict=True)
    ]


@pytest.mark.parametrize("heads", ["both", "segmentation", "heatmaps"])
def test_finer_network_begins_by_saying_what_the_coarser_one_said(heads):
    trained, finer = network(heads=heads), network((6, *WIDTHS), heads=heads)
    begin_finer(finer, trained, normalised(64))
    image = normalised(64, seed=4)
    with torch.no_grad():
        before, after = trained(functional.avg_pool3d(image, 2)), finer(image)
    for old, output, terminals in (
        (before.segmentation, after.segmentation, after.segmentation_terminals),
        (before.heatmaps, after.heatmaps, after.heatmap_terminals),
    ):
        if old is not None:
            assert min(alike(terminals[0], old)) > 0.95
            # What comes up is smoothed; the answers of random weights change from voxel to voxel.
            assert min(alike(functional.avg_pool3d(output, 4), functional.avg_pool3d(old, 2))) > 0.9


def test_a_finer_network_begins_on_a_gpu_as_on_the_cpu():
    trained, here, there = network(), network((6, *WIDTHS)), network((6, *WIDTHS))
    images = normalised(32)
    begin_finer(here, trained, images)
    begin_finer(there, trained, images.as_subclass(OnGPU))
    for one, other in zip(here.parameters(), there.parameters(), strict=True):
        torch.testing.assert_close(one, other)


def test_no_output_goes_without_the_map_that_it_needs():
    """Of few maps that are kept, each output finds its own, however quiet: a landmark must not get lost."""
    trained, finer = network(heads="heatmaps"), network((3, *WIDTHS), heads="heatmaps")
    with torch.no_grad():
        weight = trained.heatmap_head.output.weight
        weight.zero_()
        for output, (channel, loudness) in enumerate(((1, 50.0), (5, 0.01), (3, 50.0))):
            weight[output, channel] = loudness
    begin_finer(finer, trained, normalised(32))
    image = normalised(32, seed=4)
    with torch.no_grad():
        said = trained(functional.avg_pool3d(image, 2)).heatmaps
        assert min(alike(finer(image).heatmap_terminals[0], said)) > 0.9


def test_finest_level_is_left_to_be_learnt():
    trained, finer = network(), network((4, *WIDTHS))
    begin_finer(finer, trained, normalised(16))
    output = finer(normalised(16))
    (output.segmentation.square().mean() + output.heatmaps.square().mean()).backward()
    for unit in finer.encoder.levels[0]:
        assert (unit.convolution.weight.grad.flatten(1).norm(dim=1) > 0).all()


@pytest.mark.parametrize(
    "changes",
    [{"widths": (4, 6, 8, 12)}, {"widths": WIDTHS}, {"widths": (4, *WIDTHS), "activation": "relu"}],
)
def test_other_networks_are_refused(changes):
    trained, other = network(), network(**changes)
    assert not is_one_level_finer(other.config, trained.config)
    with pytest.raises(ValueError, match="finest level"):
        begin_finer(other, trained, normalised(16))
