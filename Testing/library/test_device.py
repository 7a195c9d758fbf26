"""Which device and precision is taken, and what is said where there is none."""

import pytest
import torch

from InnerEarAILib.inference import device as device_module
from InnerEarAILib.inference.device import (
    DeviceError,
    choose_device,
    choose_precision,
    describe_device,
    why_no_gpu,
)


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.fixture
def two_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    broken = {}
    monkeypatch.setattr(device_module, "trouble_with", lambda device: broken.get(str(device)))
    return broken


def test_without_a_gpu_automatic_is_the_cpu(no_gpu):
    assert choose_device("auto") == torch.device("cpu")


def test_with_gpus_automatic_is_the_first(two_gpus):
    assert choose_device("auto") == torch.device("cuda:0")
    assert choose_device("cuda") == torch.device("cuda:0")
    assert choose_device("cuda:1") == torch.device("cuda:1")
    assert choose_device("cpu") == torch.device("cpu")


def test_a_missing_gpu_is_said_in_one_sentence(no_gpu):
    with pytest.raises(DeviceError, match=r"^Device 'cuda' was asked for, but PyTorch .*: use auto or cpu\.$"):
        choose_device("cuda")


def test_a_gpu_number_too_high_is_said(two_gpus):
    with pytest.raises(DeviceError, match=r"has 2 GPU\(s\)"):
        choose_device("cuda:2")


def test_automatic_passes_over_gpus_that_do_not_compute(two_gpus):
    two_gpus["cuda:0"] = "PyTorch cannot compute on it (no kernel image)"
    assert choose_device("auto") == torch.device("cuda:1")
    assert why_no_gpu() is None
    two_gpus["cuda:1"] = "PyTorch cannot compute on it (out of memory)"
    assert choose_device("auto") == torch.device("cpu")
    assert "no kernel image" in why_no_gpu()
    with pytest.raises(DeviceError, match=r"^Device 'cuda:1' was asked for, but .*out of memory\): use auto or cpu\.$"):
        choose_device("cuda:1")


def test_a_gpu_that_does_not_compute_is_found_out_by_trying():
    # No machine of the tests has a 64th GPU.
    assert "cannot compute on it" in device_module.trouble_with(torch.device("cuda", 63))


@pytest.mark.parametrize("name", ["gpu", "", "cuda:", "cuda:x", "cpu:0", "CUDA"])
def test_unknown_names_are_refused(name):
    with pytest.raises(DeviceError, match="Unknown device"):
        choose_device(name)


def test_the_cpu_is_described_with_its_threads():
    assert describe_device(torch.device("cpu")).startswith(f"CPU, {torch.get_num_threads()} thread")


@pytest.mark.parametrize(
    ("device", "fast_cpu", "agreeing", "expected"),
    [
        ("cpu", True, ("float32",), "float32"),
        ("cpu", True, ("float32", "bfloat16"), "bfloat16"),
        ("cpu", False, ("float32", "bfloat16"), "float32"),
        ("cpu", True, ("float16",), "float32"),
        ("cuda", False, ("float32",), "float32"),
        ("cuda", False, ("bfloat16", "float16"), "float16"),
        ("cuda", False, ("bfloat16",), "bfloat16"),
        ("cuda:1", False, ("bfloat16",), "float32"),
        ("cuda:1", False, ("bfloat16", "float16"), "float16"),
    ],
)
def test_automatic_precision_is_the_fastest_that_agrees(monkeypatch, device, fast_cpu, agreeing, expected):
    newer, older = (9, 0), (7, 5)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: older if device.index else newer)
    monkeypatch.setattr(device_module, "cpu_multiplies_bfloat16", lambda: fast_cpu)
    assert choose_precision("auto", torch.device(device), agreeing) == expected


def test_a_named_precision_is_taken_as_it_is():
    assert choose_precision("bfloat16", torch.device("cpu")) == "bfloat16"
    with pytest.raises(ValueError, match="precision must be auto"):
        choose_precision("int8", torch.device("cpu"))
