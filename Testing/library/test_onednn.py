"""Convolutions by oneDNN give what PyTorch's own give, in any layout, and only where they are meant to."""

import copy

import pytest
import torch
from torch import nn

from InnerEarAILib.inference.execution_plan import ExecutionPlan
from InnerEarAILib.inference.onednn import OneDnnConvolution, convolve_by_onednn
from InnerEarAILib.inference.prepared_network import prepared_network
from InnerEarAILib.model_store import load_card, load_network

CPU = torch.device("cpu")
PLAN = ExecutionPlan(CPU, CPU, 1, "float32")


def by_onednn(network):
    return [type(layer) is OneDnnConvolution for layer in network.modules() if isinstance(layer, nn.Conv3d)]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d])
@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 3, "padding": 1},
        {"kernel_size": 2, "stride": 2, "bias": False},
        {"kernel_size": 1},
        {"kernel_size": 3, "padding": 2, "dilation": 2, "groups": 2},
    ],
)
@torch.no_grad()
def test_a_convolution_is_the_same_and_keeps_its_layout(options, layout):
    torch.manual_seed(0)
    plain = nn.Conv3d(6, 4, **options).to(memory_format=layout)
    fast = copy.deepcopy(plain)
    convolve_by_onednn(fast)
    assert type(fast) is OneDnnConvolution
    features = torch.randn(1, 6, 8, 10, 12).contiguous(memory_format=layout)
    seen = fast(features)
    torch.testing.assert_close(seen, plain(features), rtol=1e-5, atol=1e-5)
    assert seen.is_contiguous(memory_format=layout)


@pytest.mark.parametrize("name", ["clinical", "locator"])
@torch.no_grad()
def test_a_shipped_network_says_the_same(name):
    network = load_network(load_card(name)).eval()
    prepared = prepared_network(network, PLAN)
    assert all(by_onednn(prepared))
    assert not any(by_onednn(network))
    tile = torch.randn(1, 1, 32, 32, 32, generator=torch.Generator().manual_seed(0))
    seen, expected = prepared(tile.contiguous(memory_format=torch.channels_last_3d)), network(tile)
    torch.testing.assert_close(seen.segmentation.sigmoid(), expected.segmentation.sigmoid(), rtol=0, atol=1e-4)
    if expected.heatmaps is not None:
        torch.testing.assert_close(seen.heatmaps, expected.heatmaps, rtol=0, atol=1e-3)


@torch.no_grad()
def test_several_threads_give_what_one_gives():
    network = prepared_network(load_network(load_card("locator")), PLAN, heatmaps=False)
    tile = torch.randn(1, 1, 32, 32, 32).contiguous(memory_format=torch.channels_last_3d)
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            results.append(network(tile).segmentation)
    finally:
        torch.set_num_threads(threads)
    torch.testing.assert_close(*results, rtol=0, atol=1e-3)


def test_what_onednn_is_not_asked_for_stays_as_it_was(monkeypatch):
    layers = nn.Sequential(
        nn.Conv3d(1, 1, 3, padding="same"), nn.Conv3d(1, 1, 3, padding=1, padding_mode="reflect"), nn.Conv2d(1, 1, 3)
    )
    rounded = nn.Conv3d(1, 1, 3).bfloat16()
    kinds = [type(layer) for layer in layers]
    convolve_by_onednn(layers)
    convolve_by_onednn(rounded)
    assert [type(layer) for layer in layers] == kinds
    assert type(rounded) is nn.Conv3d
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    plain = nn.Conv3d(1, 1, 3)
    convolve_by_onednn(plain)
    assert type(plain) is nn.Conv3d
