"""Whole-volume prediction: MONAI's result, any size, bounded memory, cancelling, the memory ladder."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.inferers import SlidingWindowInferer

from InnerEarAILib.inference import merging, predictor
from InnerEarAILib.inference.augmentation import choose_views
from InnerEarAILib.inference.execution_plan import ExecutionPlan
from InnerEarAILib.inference.predictor import predict
from InnerEarAILib.landmarks import decode_heatmap
from InnerEarAILib.networks.network_output import NetworkOutput
from InnerEarAILib.progress import Cancelled, Progress
from InnerEarAILib.volume import InputError
from library.echo_network import OVERLAP, TILE, Echo, random_voxels, small_network
from library.heatmaps import encode_heatmap

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def by_monai(network, voxels, view):
    """(4, k, j, i): probability and heatmaps of one view, merged by MONAI's reference inferer."""

    def of_tiles(tiles):
        output = network(view.apply(tiles))
        return view.invert(torch.cat((torch.sigmoid(output.segmentation), output.heatmaps), dim=1))

    inferer = SlidingWindowInferer((TILE,) * 3, sw_batch_size=3, overlap=OVERLAP / TILE, mode="gaussian")
    with torch.no_grad():
        return inferer(torch.from_numpy(voxels)[None, None], of_tiles)[0].numpy()


@pytest.mark.parametrize(
    "shape", [(27, 30, 38), (16, 20, 9), (7, 5, 11)], ids=["larger", "mixed", "smaller than a tile"]
)
def test_result_equals_monais_sliding_window_over_the_same_views(shape):
    network, voxels = small_network(), random_voxels(shape)
    merged = np.stack([by_monai(network, voxels, view) for view in choose_views(10)])
    prediction = predict(network, voxels, tile=TILE, overlap=OVERLAP)
    assert np.std(merged[:, 0], axis=0).max() > 0.01
    np.testing.assert_allclose(prediction.probability, merged[:, 0].mean(0), atol=1e-4)
    np.testing.assert_allclose(prediction.heatmaps, merged[:, 1:].mean(0), atol=1e-4)
    np.testing.assert_allclose(prediction.standard_deviation, merged[:, 0].std(0), atol=1e-4)


def test_a_single_view_is_monais_plain_result_and_has_no_deviation():
    network, voxels = small_network(), random_voxels((20, 18, 25))
    prediction = predict(network, voxels, tile=TILE, overlap=OVERLAP, views=1)
    np.testing.assert_allclose(prediction.probability, by_monai(network, voxels, choose_views(1)[0])[0], atol=1e-4)
    assert prediction.standard_deviation is None
    assert len(prediction.view_peaks) == 1


@settings(deadline=None, max_examples=40)
@given(
    shape=st.tuples(*[st.integers(1, 40)] * 3),
    tile=st.integers(8, 20),
    views=st.sampled_from([1, 10]),
    batch_size=st.integers(1, 5),
)
def test_every_voxel_of_any_volume_keeps_its_place(shape, tile, views, batch_size):
    voxels = random_voxels(shape)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(predictor, "usual_batch_size", lambda device, tile: batch_size)
        prediction = predict(Echo(), voxels, tile=tile, overlap=tile // 3, views=views)
    np.testing.assert_allclose(prediction.probability, 1 / (1 + np.exp(-voxels)), atol=1e-5)
    for heatmap in prediction.heatmaps:
        np.testing.assert_allclose(heatmap, voxels, atol=1e-5)
    if views == 10:
        assert prediction.standard_deviation.max() < 1e-5
    assert prediction.probability.dtype == np.float32
    assert prediction.probability.flags.c_contiguous


@pytest.mark.parametrize("shape", [(24, 30, 26), (9, 12, 14)], ids=["larger", "smaller than a tile"])
def test_peaks_of_every_view_lie_where_the_landmark_is(shape):
    place = np.array([5.3, 8.0, 10.6])
    prediction = predict(Echo(), encode_heatmap(place, shape, 2.0, 2.0), tile=TILE, overlap=OVERLAP)
    assert len(prediction.view_peaks) == 10
    for view in prediction.view_peaks:
        assert len(view) == 3
        for peak in view:
            np.testing.assert_allclose(peak.index_kji, place, atol=0.02)
            assert peak.height == pytest.approx(2.0, abs=0.1)


@settings(deadline=None, max_examples=25)
@given(plane=st.integers(0, 43), overlap=st.sampled_from([0, 2, 5, 13]))
def test_peaks_are_found_wherever_slabs_of_tiles_meet(plane, overlap):
    place = np.array([plane, 7.3, 8.6])
    heatmap = encode_heatmap(place, (44, 14, 17), 2.0, 1.5)
    expected = decode_heatmap(heatmap)
    prediction = predict(Echo(), heatmap, tile=TILE, overlap=overlap, views=1)
    for peak in prediction.view_peaks[0]:
        np.testing.assert_allclose(peak.index_kji, expected.index_kji, atol=1e-3)
        assert peak.height == pytest.approx(expected.height, abs=1e-3)


def test_large_results_in_a_file_are_those_in_memory(monkeypatch):
    voxels = random_voxels((40, 16, 16))
    expected = predict(small_network(), voxels, tile=TILE, overlap=OVERLAP)
    monkeypatch.setattr(merging, "LARGEST_IN_MEMORY_BYTES", 1000)
    prediction = predict(small_network(), voxels, tile=TILE, overlap=OVERLAP)
    assert isinstance(prediction.heatmaps, np.memmap)
    for name in ("probability", "standard_deviation", "heatmaps"):
        np.testing.assert_array_equal(getattr(prediction, name), getattr(expected, name))


def test_a_disk_without_room_for_large_results_is_said_in_a_sentence(monkeypatch):
    def full(descriptor, offset, size):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(merging, "LARGEST_IN_MEMORY_BYTES", 1000)
    monkeypatch.setattr(merging.os, "posix_fallocate", full)
    with pytest.raises(InputError, match=r"temporary files, .* has no room for .* GiB"):
        predict(small_network(), random_voxels((40, 16, 16)), tile=TILE, overlap=OVERLAP)


def test_working_memory_does_not_grow_with_the_length_of_the_scan(monkeypatch):
    """What is allocated for merging, result and image aside, is the same for a scan of twice the length."""
    monkeypatch.setattr(merging, "LARGEST_IN_MEMORY_BYTES", 1000)

    def peak_bytes(planes):
        voxels = random_voxels((planes, TILE, TILE))
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
            predict(Echo(), voxels, tile=TILE, overlap=OVERLAP)
        events = profile.profiler.kineto_results.events()
        return np.cumsum([event.nbytes() for event in events if event.name() == "[memory]"]).max()

    assert peak_bytes(160) < 1.3 * peak_bytes(80)


def test_landmarks_can_be_left_out():
    network, voxels = small_network(), random_voxels((20, 16, 16))
    whole = predict(network, voxels, tile=TILE, overlap=OVERLAP, views=1)
    lighter = predict(network, voxels, tile=TILE, overlap=OVERLAP, views=1, heatmaps=False)
    np.testing.assert_allclose(lighter.probability, whole.probability, atol=1e-6)
    assert lighter.heatmaps is None
    assert lighter.view_peaks == ()
    assert network.heatmap_head is not None
    only_heatmaps = small_network(heads="heatmaps")
    assert predict(only_heatmaps, voxels, tile=TILE, overlap=OVERLAP, views=1, heatmaps=False).heatmaps is not None


def test_small_deviations_of_sure_voxels_are_not_lost_in_rounding():
    class AlmostSure(torch.nn.Module):
        def forward(self, tiles):
            # Differs between the views by the gradient along one axis alone: 1e-4 of the probability.
            gradient = torch.gradient(tiles, dim=4)[0]
            return NetworkOutput(7 + 0.1 * gradient, None, (), ())

    ramp = np.broadcast_to(np.arange(16, dtype=np.float32), (16, 16, 16))
    prediction = predict(AlmostSure(), ramp, tile=16, overlap=0)
    views = [view.apply(torch.from_numpy(ramp.copy())) for view in choose_views(10)]
    expected = np.std([float(torch.sigmoid(7 + 0.1 * torch.gradient(tile, dim=2)[0])[8, 8, 8]) for tile in views])
    assert 1e-5 < expected < 1e-3
    np.testing.assert_allclose(prediction.standard_deviation[8, 8, 8], expected, rtol=0.02)


@pytest.mark.parametrize("heads", ["segmentation", "heatmaps"])
def test_single_task_networks_yield_what_they_have(heads):
    prediction = predict(small_network(heads=heads), random_voxels((16, 16, 20)), tile=TILE, overlap=OVERLAP)
    assert (
        (prediction.probability is not None) == (heads == "segmentation") == (prediction.standard_deviation is not None)
    )
    assert (prediction.heatmaps is not None) == (heads == "heatmaps") == bool(prediction.view_peaks)


@dataclass
class Watcher:
    """A caller that stops the work after some questions."""

    patience: int

    def is_cancelled(self):
        self.patience -= 1
        return self.patience < 0


def test_cancelling_takes_effect_before_the_next_tile():
    with pytest.raises(Cancelled):
        predict(
            Echo(),
            random_voxels((40, 40, 40)),
            tile=TILE,
            overlap=OVERLAP,
            progress=Progress(is_cancelled=Watcher(3).is_cancelled),
        )
    assert len(Echo.calls) == 3


def test_progress_rises_evenly_to_one():
    fractions = []
    progress = Progress(on_step=lambda step, fraction: fractions.append(fraction))
    predict(Echo(), random_voxels((27, 16, 16)), tile=TILE, overlap=OVERLAP, progress=progress)
    np.testing.assert_allclose(fractions, np.linspace(0, 1, 21))


@pytest.mark.parametrize(
    "voxels", [np.zeros((4, 4), np.float32), np.full((4, 4, 4), np.nan, np.float32)], ids=["two axes", "not finite"]
)
def test_what_is_no_volume_is_refused(voxels):
    with pytest.raises(ValueError, match="expected finite voxels"):
        predict(Echo(), voxels, tile=4, overlap=0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("accumulators", [CUDA, CPU])
def test_a_gpu_gives_the_result_of_the_cpu(accumulators, monkeypatch):
    network, voxels = small_network(), random_voxels((40, 33, 29))
    expected = predict(network, voxels, tile=TILE, overlap=OVERLAP)
    monkeypatch.setattr(predictor, "memory_ladder", lambda *given: (ExecutionPlan(CUDA, accumulators, 4, "float32"),))
    prediction = predict(network, voxels, tile=TILE, overlap=OVERLAP, device="cuda")
    np.testing.assert_allclose(prediction.probability, expected.probability, atol=5e-3)
    np.testing.assert_allclose(prediction.standard_deviation, expected.standard_deviation, atol=5e-3)
