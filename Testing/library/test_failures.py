"""What exceptions mean to whoever waits: kind, sentence and exit code."""

import pytest
import SimpleITK as sitk
import torch

from InnerEarAILib.cli import main
from InnerEarAILib.failures import EXIT_BAD_INPUT, EXIT_CANCELLED, EXIT_DONE, EXIT_UNEXPECTED, failure_of
from InnerEarAILib.inference.device import DeviceError


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes."),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)"),
        RuntimeError("Exception thrown in SimpleITK: Failed to allocate memory for image."),
    ],
)
def test_lack_of_memory_is_known_by_its_many_names(error):
    failure = failure_of(error)
    assert failure.kind == "memory"
    assert "not enough memory" in failure.sentence


def test_what_torch_and_itk_say_when_there_is_no_memory_is_known():
    # A petabyte: no machine has it, and none begins to fill it.
    with pytest.raises(RuntimeError) as of_torch:
        torch.empty(2**50, dtype=torch.uint8)
    with pytest.raises(RuntimeError) as of_itk:
        sitk.Image([2**17, 2**17, 2**16], sitk.sitkUInt8)
    assert failure_of(of_torch.value).kind == "memory"
    assert failure_of(of_itk.value).kind == "memory"


def test_a_device_that_is_not_there_is_no_fault_of_ours():
    failure = failure_of(DeviceError("Device 'cuda:2' was asked for, but this computer has 1 GPU(s)."))
    assert (failure.kind, failure.exit_code) == ("input", EXIT_BAD_INPUT)
    assert failure.sentence.startswith("Device 'cuda:2'")


def test_anything_else_is_unexpected():
    failure = failure_of(RuntimeError("shapes do not match"))
    assert (failure.kind, failure.exit_code) == ("unexpected", EXIT_UNEXPECTED)
    assert "RuntimeError: shapes do not match" in failure.sentence


@pytest.mark.parametrize("command", ["train", "evaluate", "ablate", "phantom", "benchmark"])
def test_every_side_wing_tells_its_exit_codes_in_the_same_words(command, capsys):
    assert main([command, "--help"]) == EXIT_DONE
    said = " ".join(capsys.readouterr().out.split())
    codes = {EXIT_DONE: "done", EXIT_UNEXPECTED: "unexpected error or not enough memory"}
    codes |= {EXIT_BAD_INPUT: "bad input or arguments", EXIT_CANCELLED: "cancelled"}
    assert said.endswith(f"Exit codes: {', '.join(f'{code} {meaning}' for code, meaning in codes.items())}.")
