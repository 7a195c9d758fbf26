"""What is written for a GPU, on a stand-in that keeps its tensors apart from the host's and brings copies late."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from InnerEarAILib.benchmark.contenders import contenders
from InnerEarAILib.inference import predictor
from InnerEarAILib.inference.execution_plan import ExecutionPlan
from InnerEarAILib.inference.predictor import predict
from InnerEarAILib.model_store import load_card
from InnerEarAILib.progress import Progress
from InnerEarAILib.segmenter import SegmenterOptions, segment
from library.echo_network import OVERLAP, TILE, random_voxels, small_network
from library.painted_ear import PaintedEar, grid_round, scan
from library.reading_models import install
from library.stand_in_gpu import GPU, Event, stand_in_gpu
from library.tiny_training import tiny_config, tiny_trainer, weights

CPU = torch.device("cpu")
CENTRE = (-44.0, 12.0, 130.0)


@pytest.fixture
def gpu(monkeypatch):
    with stand_in_gpu(monkeypatch) as device:
        yield device


def test_the_stand_in_refuses_what_a_gpu_refuses(gpu):
    there = torch.ones(2, 3).to(gpu)
    assert there.device == torch.zeros(1, device="cuda").device == (there * 2)[0].device == GPU
    with pytest.raises(RuntimeError, match="same device"):
        there + torch.ones(2, 3)
    with pytest.raises(RuntimeError, match="numpy"):
        there.numpy()
    np.testing.assert_array_equal((there + torch.tensor(1.0)).cpu().numpy(), np.full((2, 3), 2))


def test_the_stand_in_brings_copies_late(gpu):
    there = torch.ones(3).to(gpu)
    first = torch.empty(3, pin_memory=True).copy_(there, non_blocking=True)
    arrived = Event()
    second = torch.empty(3, pin_memory=True).copy_(there, non_blocking=True)
    assert first.isnan().all()
    arrived.synchronize()
    assert first.sum() == 3
    assert second.isnan().all()
    there.cpu()
    assert second.sum() == 3


@pytest.mark.parametrize("accumulators", [GPU, CPU], ids=["merged on the GPU", "merged on the host"])
@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_a_volume_is_predicted_as_on_the_host(gpu, accumulators, precision, monkeypatch):
    network, voxels = small_network(), random_voxels((30, 23, 29))
    expected = predict(network, voxels, tile=TILE, overlap=OVERLAP, precision=precision)
    plan = ExecutionPlan(gpu, accumulators, 4, precision)
    monkeypatch.setattr(predictor, "memory_ladder", lambda *given: (plan,))
    prediction = predict(network, voxels, tile=TILE, overlap=OVERLAP, device=gpu)
    assert prediction.execution["device"] == "cuda:0"
    within = 1e-5 if precision == "float32" else 2e-2
    for name in ("probability", "standard_deviation", "heatmaps"):
        np.testing.assert_allclose(getattr(prediction, name), getattr(expected, name), atol=within)
    assert not Event.under_way
    assert all(weight.device == CPU for weight in network.parameters())


def test_where_a_gpus_memory_is_too_small_the_work_ends_on_the_host(gpu, monkeypatch):
    network, voxels, notes = small_network(), random_voxels((20, 20, 20)), []
    forward = type(network).forward

    def greedy(self, tiles):
        if tiles.is_cuda:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(self, tiles)

    expected = predict(network, voxels, tile=TILE, overlap=OVERLAP)
    monkeypatch.setattr(type(network), "forward", greedy)
    progress = Progress(on_note=notes.append)
    prediction = predict(network, voxels, tile=TILE, overlap=OVERLAP, device=gpu, progress=progress)
    np.testing.assert_allclose(prediction.probability, expected.probability, atol=1e-5)
    assert prediction.execution["device"] == "cpu"
    assert notes[-1].endswith("it goes on with: CPU, 1 tile(s) at a time.")


@pytest.mark.parametrize("preset", ["fast", "standard"])
def test_an_ear_is_found_and_drawn_as_on_the_host(monkeypatch, preset):
    install(monkeypatch)
    volume = scan([PaintedEar("right", CENTRE)], grid_round(CENTRE, 0.3, (42, 42, 42)))
    (expected,) = segment(volume, SegmenterOptions(preset=preset, device="cpu")).ears
    with stand_in_gpu(monkeypatch):
        result = segment(volume, SegmenterOptions(preset=preset, device="auto"))
    (ear,) = result.ears
    assert result.provenance["execution.device"] == "cuda:0"
    assert ear.side == expected.side
    assert ear.quality.volume_mm3 == pytest.approx(expected.quality.volume_mm3, rel=1e-4)
    for point, other in zip(ear.landmarks, expected.landmarks, strict=True):
        np.testing.assert_allclose(point.position_lps, other.position_lps, atol=1e-3)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_training_takes_the_same_steps_and_goes_on_from_its_checkpoint(monkeypatch, tmp_path, precision):
    # Where a gradient is nothing but rounding, AdamW would take a whole step in a random direction; SGD takes none.
    steady = {"optimiser": "sgd", "momentum": 0.9, "precision": "fp32"}
    on_host = tiny_trainer(tmp_path / "host", tiny_config(optimisation=steady))
    on_host.run()
    with stand_in_gpu(monkeypatch) as gpu:
        config = tiny_config(optimisation=steady | {"precision": precision})
        there = tiny_trainer(tmp_path / "gpu", config, device=gpu)
        there.run()
        again = tiny_trainer(tmp_path / "gpu", config, device=gpu)
        again.resume()
        assert torch.equal(weights(again).cpu(), weights(there).cpu())
        trained = weights(there).detach().cpu()
    torch.testing.assert_close(trained, weights(on_host).detach(), atol=1e-5, rtol=0)
    assert (tmp_path / "gpu" / "best" / "tiny" / "weights.safetensors").is_file()


def test_what_the_predictor_is_compared_with_runs_there_too(gpu):
    voxels = random_voxels((16, 16, 16))
    card = replace(load_card("clinical"), tile_voxels=TILE, overlap_voxels=4, agreeing_precisions=("float32",))
    network = small_network()
    expected = predict(network, voxels, tile=TILE, overlap=4, precision="float32").probability
    ways = contenders(network.to(gpu), voxels, card, 10, gpu)
    assert len(ways) == 4
    for way in ways.values():
        np.testing.assert_allclose(way(), expected, atol=1e-5)
