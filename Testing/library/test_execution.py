"""How a prediction is computed: number formats, the memory ladder, a GPU's settings, what is recorded of it."""

import threading

import numpy as np
import pytest
import torch

from InnerEarAILib.inference import predictor
from InnerEarAILib.inference.execution import cudnn_settings
from InnerEarAILib.inference.execution_plan import ExecutionPlan, memory_ladder, usual_batch_size
from InnerEarAILib.inference.predictor import predict
from InnerEarAILib.inference.prepared_network import prepared_network
from InnerEarAILib.progress import Progress
from library.echo_network import OVERLAP, TILE, Echo, random_voxels, small_network

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


class Greedy(Echo):
    """Has memory for two tiles only."""

    error = torch.OutOfMemoryError("out of memory")

    def forward(self, tiles):
        if len(tiles) > 2:
            raise self.error
        return super().forward(tiles)


def test_the_callers_network_stays_as_it_was():
    network = small_network(normalisation="batch").train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    predict(network, random_voxels((16, 16, 16)), tile=TILE, overlap=0, views=1, precision="bfloat16")
    assert network.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_bfloat16_is_close_to_float32():
    network, voxels = small_network(), random_voxels((20, 18, 22))
    exact = predict(network, voxels, tile=TILE, overlap=OVERLAP, precision="float32")
    rounded = predict(network, voxels, tile=TILE, overlap=OVERLAP, precision="bfloat16")
    assert exact.execution["precision"] == "float32"
    assert rounded.execution["precision"] == "bfloat16"
    assert 0 < np.abs(rounded.probability - exact.probability).max() < 0.1


def test_beside_bfloat16_the_last_layers_stay_exact():
    network = small_network()
    with torch.no_grad():
        network.segmentation_head.output.weight.fill_(1 + 2**-10)  # bfloat16 has no such number
        network.segmentation_head.output.bias.fill_(1 + 2**-10)
    own = prepared_network(network, ExecutionPlan(CPU, CPU, 1, "bfloat16"))
    assert own.segmentation_head.output.bias.item() == 1 + 2**-10
    assert own.segmentation_head.levels[0].convolutions[1].convolution.weight.dtype == torch.float32
    assert own.encoder.downs[0].weight.dtype == own.heatmap_head.output.weight.dtype == torch.bfloat16
    with torch.no_grad():
        assert own(torch.zeros(1, 1, 8, 8, 8, dtype=torch.bfloat16)).segmentation.dtype == torch.float32


def test_weights_are_copied_only_where_they_change():
    network = small_network(normalisation="batch")
    own = prepared_network(network, ExecutionPlan(CPU, CPU, 1, "bfloat16"))
    counter = "encoder.levels.1.0.normalisation.num_batches_tracked"
    assert own.get_buffer(counter).dtype == torch.int64  # a whole number stays one
    assert own.encoder.downs[0].weight.is_contiguous(memory_format=torch.channels_last_3d)
    assert not any(weight.requires_grad for weight in own.parameters())
    as_it_is = prepared_network(network, ExecutionPlan(CPU, CPU, 1, "float32"))
    shared = [
        copied.data_ptr() == weight.data_ptr()
        for copied, weight in zip(as_it_is.parameters(), network.parameters(), strict=True)
    ]
    assert all(shared)


def test_overflow_in_half_precision_leads_back_to_float32():
    notes = []
    voxels = np.full((16, 16, 16), 300, np.float32)
    network = Echo()
    with torch.no_grad():
        network.scale.fill_(1000)
    prediction = predict(
        network, voxels, tile=TILE, overlap=0, views=1, precision="float16", progress=Progress(on_note=notes.append)
    )
    assert prediction.heatmaps.max() == pytest.approx(300_000)
    assert prediction.execution["precision"] == "float32"
    assert notes == ["The network overflowed in float16; it goes on in float32."]


def test_a_network_without_finite_output_is_refused():
    network = Echo()
    with torch.no_grad():
        network.scale.fill_(float("nan"))
    with pytest.raises(ValueError, match="not finite; its weights are unusable"):
        predict(network, random_voxels((8, 8, 8)), tile=8, overlap=0, views=1)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: not enough memory"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
        RuntimeError("GET was unable to find an engine to execute this computation"),
    ],
)
def test_a_smaller_batch_is_tried_when_memory_runs_out(error, monkeypatch):
    monkeypatch.setattr(Greedy, "error", error)
    monkeypatch.setattr(predictor, "usual_batch_size", lambda device, tile: 8)
    voxels, notes = random_voxels((30, 30, 30)), []
    prediction = predict(Greedy(), voxels, tile=TILE, overlap=OVERLAP, progress=Progress(on_note=notes.append))
    np.testing.assert_allclose(prediction.heatmaps[0], voxels, atol=1e-5)
    assert prediction.execution["batch_size"] == 2
    assert notes == [
        "Memory did not suffice (CPU, 8 tile(s) at a time); it goes on with: CPU, 4 tile(s) at a time.",
        "Memory did not suffice (CPU, 4 tile(s) at a time); it goes on with: CPU, 2 tile(s) at a time.",
    ]
    assert prediction.execution["fallbacks"] == " ".join(notes)


def test_the_last_rung_has_no_way_out(monkeypatch):
    monkeypatch.setattr(predictor, "memory_ladder", lambda *given: (ExecutionPlan(CPU, CPU, 4, "float32"),))
    with pytest.raises(torch.OutOfMemoryError):
        predict(Greedy(), random_voxels((30, 30, 30)), tile=TILE, overlap=OVERLAP)


def test_other_errors_are_not_taken_for_lack_of_memory(monkeypatch):
    monkeypatch.setattr(Greedy, "error", RuntimeError("shapes do not match"))
    monkeypatch.setattr(predictor, "usual_batch_size", lambda device, tile: 4)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        predict(Greedy(), random_voxels((30, 30, 30)), tile=TILE, overlap=OVERLAP)
    assert Echo.calls == []


def test_the_ladder_of_a_gpu_ends_on_the_cpu():
    assert [str(plan) for plan in memory_ladder(CUDA, "float16", 4)] == [
        "CUDA, 4 tile(s) at a time",
        "CUDA, results on the CPU, 4 tile(s) at a time",
        "CUDA, results on the CPU, 2 tile(s) at a time",
        "CUDA, results on the CPU, 1 tile(s) at a time",
        "CPU, 1 tile(s) at a time",
    ]
    assert memory_ladder(CUDA, "float16", 4)[-1].precision == "float32"


def test_small_tiles_fill_a_gpu_together_and_convolutions_are_tried_where_there_are_many():
    assert [usual_batch_size(CUDA, tile) for tile in (128, 64, 16)] == [4, 32, 32]
    assert usual_batch_size(CPU, 64) == 1
    for plan, batches, tried in ((CUDA, 100, True), (CUDA, 3, False), (CPU, 100, False)):
        with cudnn_settings(ExecutionPlan(plan, plan, 1, "float32"), batches):
            assert torch.backends.cudnn.benchmark == tried
    assert not torch.backends.cudnn.benchmark


def test_float32_convolutions_of_a_gpu_are_not_rounded_and_the_process_keeps_its_settings():
    precision = torch.backends.cudnn.conv
    before = precision.fp32_precision
    assert before == "tf32"
    with cudnn_settings(ExecutionPlan(CUDA, CUDA, 1, "float16"), 3):
        assert precision.fp32_precision == "ieee"
    assert precision.fp32_precision == before


def test_a_warm_up_does_not_change_the_settings_under_a_prediction():
    precision, entered, seen = torch.backends.cudnn.conv, threading.Event(), []

    def warm_up():
        entered.set()
        with cudnn_settings(ExecutionPlan(CUDA, CUDA, 1, "float32"), 3):
            seen.append(torch.backends.cudnn.benchmark)

    with cudnn_settings(ExecutionPlan(CUDA, CUDA, 1, "float32"), 100):
        thread = threading.Thread(target=warm_up)
        thread.start()
        entered.wait()
        thread.join(0.2)
        assert not seen
        assert torch.backends.cudnn.benchmark
    thread.join()
    assert seen == [False]
    assert (precision.fp32_precision, torch.backends.cudnn.benchmark) == ("tf32", False)


def test_execution_is_recorded_as_plain_values():
    prediction = predict(Echo(), random_voxels((20, 16, 16)), tile=TILE, overlap=OVERLAP, views=1)
    execution = dict(prediction.execution)
    assert execution.pop("seconds") >= 0
    assert execution == {
        "device": "cpu",
        "accumulators": "cpu",
        "precision": "float32",
        "batch_size": 1,
        "tiles": 2,
        "views": 1,
        "fallbacks": "none",
    }
