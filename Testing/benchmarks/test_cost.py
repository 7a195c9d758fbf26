"""What a scan costs: in proportion to its tiles, less than by MONAI's inferer, whatever the size of its voxels."""

import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from InnerEarAILib.benchmark.contenders import LOOP, MONAI, OURS, contenders
from InnerEarAILib.benchmark.measurement import alternating
from InnerEarAILib.inference.device import choose_precision
from InnerEarAILib.inference.execution_plan import ExecutionPlan
from InnerEarAILib.inference.locator import locate_ears
from InnerEarAILib.inference.predictor import predict
from InnerEarAILib.inference.prepared_network import prepared_network
from InnerEarAILib.model_store import load_card, load_network
from InnerEarAILib.progress import Progress
from InnerEarAILib.volume import Grid, Volume

CARD = load_card("clinical")
CPU = torch.device("cpu")


def noise(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


@pytest.mark.slow
def test_seconds_are_in_proportion_to_tiles():
    network, tile, stride = load_network(CARD), CARD.tile_voxels, CARD.tile_voxels - CARD.overlap_voxels

    def predicted(tiles):
        voxels = noise(tile, tile, tile + (tiles - 1) * stride)
        return lambda: predict(network, voxels, tile=tile, overlap=CARD.overlap_voxels, views=1)

    taken = alternating({str(tiles): predicted(tiles) for tiles in (1, 2, 4)}, 3)
    one, two, four = (taken[tiles].processor_median for tiles in ("1", "2", "4"))
    assert four - two == pytest.approx(2 * (two - one), rel=0.4)
    assert four == pytest.approx(4 * one, rel=0.4)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_predictor_is_faster_than_monais_inferer_or_a_plain_loop(precision):
    card = replace(CARD, agreeing_precisions=("float32", precision))
    if choose_precision("auto", CPU, card.agreeing_precisions) != precision:
        pytest.skip("this processor does not multiply bfloat16")
    network = load_network(card)
    voxels = noise(card.tile_voxels, card.tile_voxels, card.tile_voxels)
    taken = alternating(contenders(network, voxels, card, 1, CPU), 5)
    share = {"float32": 1.05, "bfloat16": 0.65}[precision]  # about 0.9 and 0.45 where nothing else runs
    for other in (MONAI, LOOP):
        assert taken[OURS].processor_median < share * taken[other].processor_median


@pytest.mark.slow
def test_small_tiles_of_float32_gain_by_onednn():
    card = load_card("locator")
    network = load_network(card).eval()
    prepared = prepared_network(network, ExecutionPlan(CPU, CPU, 1, "float32"))
    tile = torch.from_numpy(noise(1, 1, *(card.tile_voxels,) * 3)).contiguous(memory_format=torch.channels_last_3d)
    with torch.no_grad():
        taken = alternating({"plain": lambda: network(tile), "prepared": lambda: prepared(tile)}, 5)
    assert taken["prepared"].processor_median < 0.85 * taken["plain"].processor_median


@pytest.mark.slow
def test_a_finer_scan_of_the_same_field_is_searched_in_about_the_same_time():
    card = load_card("locator")
    network = load_network(card)

    def seconds(spacing_mm):
        shape = (round(60 / spacing_mm),) * 3
        scan = Volume(
            (300 * noise(*shape)).astype(np.int16), Grid.axis_aligned(shape, spacing_mm, (0, 0, 0)).affine_lps
        )
        begin = time.process_time()
        locate_ears(scan, network, card, CPU, Progress())
        return time.process_time() - begin

    seconds(1.0)  # the first prepares the device
    coarse, fine = min(seconds(0.6) for _ in range(3)), min(seconds(0.2) for _ in range(3))
    # 27 times as many voxels: reading them once is all that they add.
    assert fine < coarse + 3
