"""A GPU's first pass is made in the background, and whatever goes wrong with it stays there."""

import numpy as np
import pytest
import torch

from InnerEarAILib.inference import warm_up as module
from InnerEarAILib.inference.warm_up import warm_up
from InnerEarAILib.model_store import load_card

CARD = load_card("locator")


@pytest.mark.parametrize("trouble", [None, torch.OutOfMemoryError("CUDA out of memory")])
def test_an_empty_tile_is_predicted_on_the_gpu_and_trouble_is_left_for_the_scan(monkeypatch, trouble):
    seen = []

    def predict(network, voxels, **options):
        seen.append((voxels.shape, np.abs(voxels).max(), str(options["device"]), options["agreeing_precisions"]))
        if trouble:
            raise trouble

    monkeypatch.setattr(module, "predict", predict)
    warm_up(torch.nn.Identity(), CARD, torch.device("cuda", 1)).join(10)
    assert seen == [((CARD.tile_voxels,) * 3, 0.0, "cuda:1", CARD.agreeing_precisions)]


def test_a_cpu_needs_none():
    assert warm_up(torch.nn.Identity(), CARD, torch.device("cpu")) is None
