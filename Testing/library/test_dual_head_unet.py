"""The network against the paper's description, and every variation of it."""

import itertools

import pytest
import torch

from InnerEarAILib.networks import blocks
from InnerEarAILib.networks.blocks import ConvolutionUnit, InstanceNormalisation, mish_in_place, weighted_voxels
from InnerEarAILib.networks.dual_head_unet import DualHeadUNet, DualHeadUNetConfig
from InnerEarAILib.networks.methods import DUAL_HEAD_UNET, network_config

SMALL = (4, 6, 8)


@pytest.fixture(scope="module")
def full_width():
    with torch.device("meta"):
        return DualHeadUNet()


def small_network(**changes):
    torch.manual_seed(1)
    return DualHeadUNet(DualHeadUNetConfig(**{"widths": SMALL} | changes))


def random_tiles(count=1, size=16):
    return torch.randn(count, 1, size, size, size, generator=torch.Generator().manual_seed(2))


def test_full_width_has_the_25_45_million_parameters_that_are_stated(full_width):
    assert sum(parameter.numel() for parameter in full_width.parameters()) == 25_446_040


def test_steps_down_halve_a_tile_of_128_to_8_and_keep_the_number_of_maps(full_width):
    shapes = []
    hooks = [
        down.register_forward_hook(
            lambda layer, given, result: shapes.append((given[0].shape[1], tuple(result.shape[1:])))
        )
        for down in full_width.encoder.downs
    ]
    full_width(torch.empty(1, 1, 128, 128, 128, device="meta"))
    for hook in hooks:
        hook.remove()
    assert shapes == [(32, (32, 64, 64, 64)), (64, (64, 32, 32, 32)), (128, (128, 16, 16, 16)), (256, (256, 8, 8, 8))]


def test_steps_up_keep_the_number_of_maps(full_width):
    for head in (full_width.segmentation_head, full_width.heatmap_head):
        assert all(level.up.in_channels == level.up.out_channels for level in head.levels)
        assert [level.up.kernel_size for level in head.levels] == [(2, 2, 2)] * 4


def test_each_head_has_three_terminals_at_its_lower_levels_while_training(full_width):
    output = full_width.train()(torch.empty(2, 1, 128, 128, 128, device="meta"))
    assert [tuple(terminal.shape) for terminal in output.segmentation_terminals] == [
        (2, 1, size, size, size) for size in (64, 32, 16)
    ]
    assert [tuple(terminal.shape) for terminal in output.heatmap_terminals] == [
        (2, 3, size, size, size) for size in (64, 32, 16)
    ]
    assert tuple(output.segmentation.shape) == (2, 1, 128, 128, 128)
    assert tuple(output.heatmaps.shape) == (2, 3, 128, 128, 128)


def test_no_terminals_in_evaluation_or_without_deep_supervision():
    for network in (small_network().eval(), small_network(deep_supervision=False).train()):
        output = network(random_tiles())
        assert output.segmentation_terminals == () == output.heatmap_terminals


@pytest.mark.parametrize(
    ("gates", "gated"),
    [("both", (True, True)), ("segmentation", (True, False)), ("heatmaps", (False, True)), ("none", (False, False))],
)
def test_gates_sit_on_every_skip_of_the_chosen_heads(gates, gated):
    network = small_network(widths=(4, 4, 4, 4, 4), attention_gates=gates)
    for head, expected in zip((network.segmentation_head, network.heatmap_head), gated, strict=True):
        assert [level.gate is not None for level in head.levels] == [expected] * 4


def test_a_closed_gate_shuts_the_encoder_map_out():
    network = small_network().eval()
    gate = network.segmentation_head.levels[0].gate
    encoder_map, decoder_map = torch.randn(1, 4, 8, 8, 8), torch.randn(1, 4, 4, 4, 4)
    with torch.no_grad():
        assert 0 < gate(encoder_map, decoder_map).abs().sum() < encoder_map.abs().sum()
        gate.to_weight.bias.fill_(-1e4)
        assert gate(encoder_map, decoder_map).abs().sum() == 0


@pytest.mark.parametrize("head", ["segmentation_head", "heatmap_head"])
def test_outputs_are_linear_in_the_last_layer(head):
    network = small_network().eval()
    field = "segmentation" if head == "segmentation_head" else "heatmaps"
    with torch.no_grad():
        before = getattr(network(random_tiles()), field)
        last = getattr(network, head).output
        last.weight.mul_(-3)
        torch.testing.assert_close(getattr(network(random_tiles()), field), -3 * before)


def test_a_unit_normalises_then_convolves_then_activates():
    unit = ConvolutionUnit(2, 3, "instance", "relu")
    order = []
    for name, layer in unit.named_children():
        layer.register_forward_hook(lambda *_, name=name: order.append(name))
    assert (unit(torch.randn(1, 2, 4, 4, 4)) >= 0).all()
    assert order == ["normalisation", "convolution", "activation"]


def test_brightness_of_the_tile_reaches_the_network():
    network = small_network().eval()
    with torch.no_grad():
        dark, bright = network(random_tiles()).segmentation, network(random_tiles() + 1).segmentation
    assert (dark - bright).abs().max() > 1e-3


def test_instance_normalisation_is_that_of_torch():
    ours, theirs = InstanceNormalisation(5), torch.nn.InstanceNorm3d(5, affine=True)
    with torch.no_grad():
        ours.weight.uniform_(0.5, 2)
        ours.bias.uniform_(-1, 1)
    theirs.load_state_dict(ours.state_dict())
    features = 3 * torch.randn(2, 5, 4, 6, 8) + 1
    torch.testing.assert_close(ours(features), theirs(features))
    with torch.no_grad():
        torch.testing.assert_close(ours(features), theirs(features))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_fast_mish_is_that_of_torch_in_any_layout_and_at_any_value(dtype):
    extremes = torch.tensor([-1e4, -120.0, -87.0, -20.0, -1e-3, 0.0, 1e-3, 20.0, 90.0, 1e4])
    features = torch.cat((extremes, 5 * torch.randn(2 * 6 * 8 * 9 * 10 - 10))).reshape(2, 6, 8, 9, 10).to(dtype)
    expected = torch.nn.functional.mish(features.float()).to(dtype)
    for layout in (torch.contiguous_format, torch.channels_last_3d):
        given = features.clone(memory_format=layout)
        assert mish_in_place(given) is given
        torch.testing.assert_close(given, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("layout", [torch.channels_last_3d, torch.contiguous_format])
@pytest.mark.parametrize("gradients", [True, False])
def test_weighted_voxels_are_the_plain_product(dtype, layout, gradients, monkeypatch):
    monkeypatch.setattr(blocks, "PIECE_VALUES", 64)  # several pieces, the last of them shorter
    features = torch.randn(2, 5, 4, 6, 7).to(dtype).contiguous(memory_format=layout)
    weight = torch.rand(2, 1, 4, 6, 7).to(dtype)
    with torch.set_grad_enabled(gradients):
        product = weighted_voxels(features, weight)
    assert torch.equal(product, features * weight)
    assert product.is_contiguous(memory_format=layout)


def test_a_map_of_one_voxel_is_normalised_to_nothing():
    features = torch.randn(2, 5, 1, 1, 1)
    assert InstanceNormalisation(5)(features).abs().max() < 1e-3
    with torch.no_grad():
        assert InstanceNormalisation(5)(features).abs().max() < 1e-3


@pytest.mark.parametrize("layout", [torch.channels_last_3d, torch.contiguous_format])
@pytest.mark.parametrize("gradients", [True, False])
def test_normalisation_keeps_the_layout(layout, gradients):
    features = torch.randn(2, 5, 4, 4, 4).contiguous(memory_format=layout)
    with torch.set_grad_enabled(gradients):
        assert InstanceNormalisation(5)(features).is_contiguous(memory_format=layout)


def test_weights_are_channels_last_and_stay_so_when_loaded():
    network = small_network()
    network.load_state_dict({name: tensor.contiguous() for name, tensor in network.state_dict().items()})
    for name, parameter in network.named_parameters():
        if parameter.ndim == 5:
            assert parameter.is_contiguous(memory_format=torch.channels_last_3d), name


@pytest.mark.parametrize(
    ("normalisation", "activation"),
    list(itertools.product(["instance", "batch"], ["mish", "leaky_relu", "relu", "prelu", "gelu", "silu"])),
)
def test_every_variation_learns(normalisation, activation):
    network = small_network(normalisation=normalisation, activation=activation)
    output = network(random_tiles(2, 8))
    sum(part.square().mean() for part in (*output[:2], *output[2], *output[3])).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


def test_heads_share_the_encoder_and_nothing_else():
    network = small_network()
    network(random_tiles()).segmentation.square().mean().backward()
    assert all(parameter.grad is None for parameter in network.heatmap_head.parameters())
    assert all(parameter.grad is not None for parameter in network.encoder.parameters())


@pytest.mark.parametrize(("heads", "missing"), [("segmentation", "heatmaps"), ("heatmaps", "segmentation")])
def test_a_single_task_network_has_one_head(heads, missing):
    output = small_network(heads=heads)(random_tiles())
    assert getattr(output, heads) is not None
    assert getattr(output, missing) is None
    assert small_network(heads=heads).config.heads == heads


@pytest.mark.parametrize("activation", ["mish", "leaky_relu", "relu", "prelu", "gelu", "silu"])
def test_inference_in_place_gives_what_training_sees_and_spares_the_input(activation):
    network = small_network(activation=activation).eval()
    tiles = random_tiles()
    kept = tiles.clone()
    expected = network(tiles)
    with torch.no_grad():
        output = network(tiles)
    torch.testing.assert_close(output.segmentation, expected.segmentation.detach(), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(output.heatmaps, expected.heatmaps.detach(), rtol=1e-3, atol=1e-4)
    assert torch.equal(tiles, kept)


def test_a_tile_is_judged_alone_whatever_else_is_in_its_batch():
    network = small_network().eval()
    tiles = random_tiles(3)
    with torch.no_grad():
        together, alone = network(tiles).heatmaps[1:2], network(tiles[1:2]).heatmaps
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_trains_under_bfloat16_autocast_on_the_cpu():
    network = small_network()
    with torch.autocast("cpu", torch.bfloat16):
        output = network(random_tiles(2))
    loss = sum(part.float().square().mean() for part in (*output[:2], *output[2], *output[3]))
    loss.backward()
    assert torch.isfinite(loss)
    assert all(torch.isfinite(parameter.grad).all() for parameter in network.parameters())


def test_can_be_exported_as_a_graph():
    network = small_network().eval()
    exported = torch.export.export(network, (random_tiles(),)).module()
    torch.testing.assert_close(exported(random_tiles()).heatmaps, network(random_tiles()).heatmaps)


def test_initial_weights_are_uniform_and_keep_the_variance():
    layer = small_network(widths=(16, 32)).encoder.levels[1][1].convolution.requires_grad_(False)
    bound = (6 / (32 * 27)) ** 0.5
    assert layer.weight.abs().max() <= bound
    assert layer.weight.std() == pytest.approx(bound / 3**0.5, rel=0.02)
    assert (layer.weight.abs() > 0.9 * bound).float().mean() == pytest.approx(0.1, abs=0.02)
    assert layer.bias.abs().max() == 0


@pytest.mark.parametrize("shape", [(1, 1, 16, 16, 18), (1, 2, 16, 16, 16), (1, 16, 16, 16)])
def test_a_tile_of_the_wrong_shape_is_refused(shape):
    with pytest.raises(ValueError, match=r"multiples of 4|expected"):
        small_network()(torch.zeros(shape))


def test_sizes_may_differ_and_need_only_be_multiples():
    output = small_network().eval()(torch.zeros(1, 1, 4, 8, 12))
    assert output.segmentation.shape == (1, 1, 4, 8, 12)


def test_configuration_survives_the_way_through_a_dictionary():
    config = DualHeadUNetConfig(widths=(4, 8), activation="gelu", heads="heatmaps", deep_supervision=False)
    assert network_config(DUAL_HEAD_UNET, config.to_dict()) == config
    assert network_config(DUAL_HEAD_UNET, {}) == DualHeadUNetConfig()


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"width": [4, 8]}, "unknown network field width; known are in_channels, widths"),
        ({"widths": [4]}, "at least two levels"),
        ({"widths": 32}, "list of feature map counts"),
        ({"widths": [4, 0]}, r"widths\[1\] must be a positive whole number"),
        ({"widths": [4, 8.5]}, r"widths\[1\]"),
        ({"landmark_channels": True}, "landmark_channels"),
        ({"activation": "tanh"}, "activation must be one of mish, leaky_relu"),
        ({"normalisation": "layer"}, "normalisation must be one of instance, batch"),
        ({"attention_gates": "all"}, "attention_gates must be one of both"),
        ({"deep_supervision": "yes"}, "deep_supervision must be true or false"),
    ],
)
def test_a_wrong_configuration_is_named(values, complaint):
    with pytest.raises(ValueError, match=complaint):
        network_config(DUAL_HEAD_UNET, values)


@pytest.mark.parametrize(("dtype", "bar"), [(torch.float32, 0.02), (torch.bfloat16, 0.1)])
@pytest.mark.parametrize("gradients", [True, False])
def test_map_far_from_zero_is_normalised_as_well(dtype, bar, gradients):
    """Kernels that take the square of the mean from the mean of the squares lose all digits here."""
    generator = torch.Generator().manual_seed(5)
    maps = (4 + 0.05 * torch.randn(1, 8, 48, 48, 48, generator=generator)).to(dtype)
    maps = maps.to(memory_format=torch.channels_last_3d)
    exact = torch.nn.functional.instance_norm(maps.double(), eps=1e-5)
    with torch.set_grad_enabled(gradients):
        normalised = InstanceNormalisation(8)(maps).detach()
    assert (normalised.double() - exact).abs().max() < bar
