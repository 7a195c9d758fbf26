"""JSDNet and AutoCasNet: shapes, sizes and wiring as the papers describe them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from InnerEarAILib.networks.autocasnet import LEFT_OUT_LOGIT, AutoCasNet, AutoCasNetConfig, slices_along
from InnerEarAILib.networks.dual_head_unet import DualHeadUNet
from InnerEarAILib.networks.jsdnet import JSDNet, JSDNetConfig
from InnerEarAILib.networks.methods import METHODS, build_network, draws_labyrinth_and_landmarks, network_config
from InnerEarAILib.networks.plain_unet import PlainUNet, SqueezeExcitation

WIDTHS = (32, 64, 128, 256)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(3)


def count(module):
    return sum(weight.numel() for weight in module.parameters())


def convolution(before, after, taps):
    return taps * before * after + after


def unit(before, after, taps):
    """A convolution with its bias, and the scale and shift of the normalisation."""
    return convolution(before, after, taps) + 2 * after


def expected_weights(dimensions, channels_in, channels_out, shortcut=False, excitation=False):
    """Four levels, two units a block, transposed convolutions to the width of the level above, one output layer."""
    small, large = 2**dimensions, 3**dimensions

    def block(before, after, lowest=False):
        weights = unit(before, after, large) + unit(after, after, large)
        if shortcut and not lowest:
            weights += convolution(before, after, 1)
        if excitation and not lowest:
            weights += convolution(after, after // 8, 1) + convolution(after // 8, after, 1)
        return weights

    down = block(channels_in, 32) + block(32, 64) + block(64, 128) + block(128, 256, lowest=True)
    ups = [
        convolution(deep, width, small) + block(2 * width, width) for deep, width in ((256, 128), (128, 64), (64, 32))
    ]
    return down + sum(ups) + convolution(32, channels_out, 1)


@pytest.mark.parametrize("stage", [0, 1, 2])
@pytest.mark.parametrize(
    ("block", "extras"), [("plain", {}), ("residual", {"shortcut": True}), ("squeeze_excitation", {"excitation": True})]
)
def test_stage_of_the_cascade_has_the_weights_of_its_description(block, extras, stage):
    network = AutoCasNet(AutoCasNetConfig(block=block))
    assert count(network.stages[stage]) == expected_weights(2, 1 + stage, 1, **extras)


def test_plain_2d_network_of_the_paper_has_1_93_million_weights():
    assert count(AutoCasNet(AutoCasNetConfig(planes=("axial",)))) == 1_927_841


def test_jsdnet_is_two_networks_the_second_of_which_sees_nine_maps_more():
    network = JSDNet()
    assert count(network.displacement_network) == expected_weights(3, 1, 9)
    assert count(network.joint_network) == expected_weights(3, 10, 4)


def test_plain_unet_drops_at_the_bottleneck_alone():
    network = PlainUNet(2, 1, 1, (4, 8), dropout=0.2)
    drops = [module.p for module in network.modules() if isinstance(module, torch.nn.Dropout2d)]
    assert drops == [0.2]


def test_squeeze_and_excitation_weights_each_channel_alike_everywhere():
    features = torch.rand(2, 16, 6, 5) + 0.5
    ratio = SqueezeExcitation(2, 16)(features) / features
    assert torch.allclose(ratio, ratio[:, :, :1, :1].expand_as(ratio))
    assert ((ratio > 0) & (ratio < 1)).all()
    assert ratio[0, :, 0, 0].unique().numel() > 1


def test_jsdnet_gives_labyrinth_and_landmarks():
    network = JSDNet(JSDNetConfig(widths=(4, 6, 8))).eval()
    image = torch.randn(2, 1, 8, 12, 16)
    output = network(image)
    assert output.segmentation.shape == (2, 1, 8, 12, 16)
    assert output.heatmaps.shape == (2, 3, 8, 12, 16)
    assert network.displacements(image).shape == (2, 9, 8, 12, 16)
    assert output.segmentation_terminals == output.heatmap_terminals == ()


def test_jsdnet_begins_with_empty_maps():
    network, image = JSDNet(JSDNetConfig(widths=(4, 6))), torch.randn(1, 1, 8, 8, 8)
    output = network(image)
    assert not network.displacements(image).any()
    assert not output.segmentation.any()
    assert not output.heatmaps.any()


def test_joint_network_sees_the_image_and_the_displacement_maps():
    network = JSDNet(JSDNetConfig(widths=(4, 6))).eval()
    for part in (network.displacement_network, network.joint_network):
        part.output.reset_parameters()
    image = torch.randn(1, 1, 8, 8, 8)
    shown = torch.cat((image, network.displacements(image)), dim=1)
    assert shown[:, 1:].any()
    torch.testing.assert_close(network(image).segmentation, network.joint_network(shown)[:, :1])


def test_joint_loss_does_not_change_the_displacement_network():
    network = JSDNet(JSDNetConfig(widths=(4, 6)))
    network(torch.randn(1, 1, 8, 8, 8)).heatmaps.sum().backward()
    assert all(weight.grad is None for weight in network.displacement_network.parameters())
    assert all(weight.grad is not None for weight in network.joint_network.parameters())


class Threshold(torch.nn.Module):
    """Stands for a stage: draws where its last channel is bright, and remembers what it was shown."""

    def __init__(self):
        super().__init__()
        self.shown = []

    def forward(self, slices):
        self.shown.append(slices.clone())
        return slices[:, -1:] - 0.5


def cascade(planes=("coronal", "sagittal", "axial")):
    network = AutoCasNet(AutoCasNetConfig(planes=planes, widths=(4, 6)))
    network.stages = torch.nn.ModuleList(Threshold() for _ in planes)
    return network.eval()


def two_regions():
    image = torch.zeros(1, 1, 6, 8, 10)
    image[0, 0, 1:4, 2:5, 3:6] = 1  # 27 voxels
    image[0, 0, 5, 7, 8:10] = 1  # 2 voxels, apart
    return image


@pytest.mark.parametrize("planes", [("coronal", "sagittal", "axial"), ("axial", "coronal", "sagittal")])
def test_stages_look_along_their_axes_at_the_image_and_all_masks_before(planes):
    network, image = cascade(planes), two_regions()
    network(image)
    axes = {"axial": 0, "coronal": 1, "sagittal": 2}
    for stage, plane in enumerate(planes):
        shown = torch.cat(network.stages[stage].shown[:1])
        expected = slices_along(image[0], axes[plane])
        assert shown.shape == (len(expected), 1 + stage, *expected.shape[2:])
        assert torch.equal(shown[:, :1], expected)
    largest = two_regions()
    largest[0, 0, 5] = 0
    last = network.stages[-1].shown[-1]
    for channel in (1, 2):
        assert torch.equal(last[:, channel], slices_along(largest[0], axes[planes[-1]])[:, 0])


def test_result_is_the_largest_region_of_the_last_stage():
    network, image = cascade(("axial",)), two_regions()
    logits = network(image).segmentation
    assert (logits > 0).sum() == 27
    assert (logits[0, 0, 5, 7, 8:10] == LEFT_OUT_LOGIT).all()
    assert logits.shape == image.shape
    assert network(image).heatmaps is None


def test_cascade_runs_through_the_stages_that_were_trained():
    network = cascade()
    network.trained_stages.fill_(2)
    network(two_regions())
    assert [bool(stage.shown) for stage in network.stages] == [True, True, False]


def test_cascade_does_not_learn_from_what_it_only_looks_through():
    network = AutoCasNet(AutoCasNetConfig(widths=(4, 6))).train()
    before = network.stages[0].state_dict()["encoder.0.first.1.running_mean"].clone()
    masks = network.context(torch.randn(8, 8, 8), 2)
    assert masks.shape == (2, 8, 8, 8)
    assert set(masks.unique().tolist()) <= {0.0, 1.0}
    assert torch.equal(before, network.stages[0].state_dict()["encoder.0.first.1.running_mean"])
    assert network.stages[0].training


def test_slices_come_back_to_their_places():
    channels = torch.from_numpy(np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5))
    for axis in range(3):
        for number, part in enumerate(slices_along(channels, axis)):
            assert torch.equal(part, channels.select(1 + axis, number))


@pytest.mark.parametrize(
    ("method", "values", "words"),
    [
        ("autocasnet", {"planes": ["axial", "axial"]}, "different ones of"),
        ("autocasnet", {"planes": ["oblique"]}, "different ones of"),
        ("autocasnet", {"block": "dense"}, "block must be one of"),
        ("autocasnet", {"widths": [4]}, "at least two levels"),
        ("jsdnet", {"widths": [4]}, "at least two widths"),
        ("jsdnet", {"depth": 3}, "unknown network field depth"),
        ("vnet", {}, "there are dual_head_unet"),
    ],
)
def test_sizes_that_cannot_be_are_refused(method, values, words):
    with pytest.raises(ValueError, match=words):
        network_config(method, values)


@pytest.mark.parametrize("network", [JSDNet(JSDNetConfig((4, 6))), AutoCasNet(AutoCasNetConfig(widths=(4, 6)))])
@pytest.mark.parametrize("shape", [(8, 8, 8), (1, 2, 8, 8, 8), (1, 1, 8, 8, 7)])
def test_volumes_that_do_not_fit_are_refused(network, shape):
    with pytest.raises(ValueError, match="multiples of 2"):
        network(torch.zeros(shape))


def test_methods_are_built_by_name():
    for method in METHODS:
        assert build_network(method, network_config(method, {"widths": [4, 6]})).method == method
    assert isinstance(build_network("dual_head_unet", network_config("dual_head_unet", {})), DualHeadUNet)
    assert draws_labyrinth_and_landmarks("jsdnet", {})
    assert not draws_labyrinth_and_landmarks("autocasnet", {})
    assert not draws_labyrinth_and_landmarks("dual_head_unet", {"heads": "heatmaps"})
