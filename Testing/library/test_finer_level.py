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


def normalised(size):
    """A smooth image of zero mean and unit variance, so that halving its grid changes it little."""
    noise = torch.randn(1, 1, 12, 12, 12, generator=torch.Generator().manual_seed(3))
    image = functional.interpolate(noise, (size,) * 3, mode="trilinear", align_corners=False)
    return (image - image.mean()) / image.std()


@pytest.mark.parametrize("heads", ["both", "segmentation", "heatmaps"])
def test_terminals_say_what_the_coarser_network_said(heads):
    trained = network(heads=heads)
    finer = network((6, *WIDTHS), heads=heads)
    begin_finer(finer, trained)
    image = normalised(64)
    with torch.no_grad():
        before = trained(functional.avg_pool3d(image, 2))
        after = finer(image)
    for old, terminals in (
        (before.segmentation, after.segmentation_terminals),
        (before.heatmaps, after.heatmap_terminals),
    ):
        if old is not None:
            assert torch.corrcoef(torch.stack((old.ravel(), terminals[0].ravel())))[0, 1] > 0.95


def test_finest_level_is_left_to_be_learnt():
    trained, finer = network(), network((4, *WIDTHS))
    begin_finer(finer, trained)
    output = finer(normalised(16))
    (output.segmentation.square().mean() + output.heatmaps.square().mean()).backward()
    level = finer.encoder.levels[0]
    for unit in level:
        assert (unit.convolution.weight.grad.flatten(1).norm(dim=1) > 0).all()


@pytest.mark.parametrize(
    "changes",
    [{"widths": (4, 6, 8, 12)}, {"widths": WIDTHS}, {"widths": (4, *WIDTHS), "activation": "relu"}],
)
def test_other_networks_are_refused(changes):
    trained, other = network(), network(**changes)
    assert not is_one_level_finer(other.config, trained.config)
    with pytest.raises(ValueError, match="finest level"):
        begin_finer(other, trained)
