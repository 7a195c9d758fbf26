"""Which processor the networks run on, and in which precision."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

Precision = Literal["float32", "bfloat16", "float16"]

PRECISIONS = ("float32", "bfloat16", "float16")


class DeviceError(RuntimeError):
    """The device that was asked for cannot be used; the message is one clear sentence."""


def choose_device(requested: str = "auto") -> torch.device:
    """The device to run on.

    Args:
        requested: "auto" (the first CUDA device that works, else the CPU), "cpu", "cuda", or "cuda:1" and so on.

    Raises:
        DeviceError: if that device is not there or does not work, or the name is none of these.
    """
    import torch

    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", requested):
        raise DeviceError(f"Unknown device '{requested}': choose auto, cpu, cuda, or cuda:1 for the second GPU.")
    if requested == "cpu":
        return torch.device("cpu")
    if requested == "auto":
        return next(iter(working_gpus()), torch.device("cpu"))
    if not torch.cuda.is_available():
        raise DeviceError(f"Device '{requested}' was asked for, but {why_no_gpu()}: use auto or cpu.")
    number = int(requested.partition(":")[2] or 0)
    if number >= torch.cuda.device_count():
        raise DeviceError(
            f"Device '{requested}' was asked for, but this computer has {torch.cuda.device_count()} GPU(s)."
        )
    device = torch.device("cuda", number)
    if trouble := trouble_with(device):
        raise DeviceError(f"Device '{requested}' was asked for, but {trouble}: use auto or cpu.")
    return device


def working_gpus() -> list[torch.device]:
    """The CUDA devices that compute, in their order."""
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return [device for device in (torch.device("cuda", n) for n in range(count)) if trouble_with(device) is None]


def why_no_gpu() -> str | None:
    """Why the CPU has to do, as the end of a sentence; None where a GPU works."""
    import torch

    if torch.cuda.is_available():
        return None if working_gpus() else trouble_with(torch.device("cuda", 0))
    return f"PyTorch {torch.__version__} " + (
        "has no CUDA support" if torch.version.cuda is None else "finds no usable NVIDIA GPU"
    )


@lru_cache
def trouble_with(device: torch.device) -> str | None:
    """Why a CUDA device that PyTorch lists does not compute, as the end of a sentence; None where it does.

    A build of PyTorch may lack code for an old or a very new GPU, and a GPU may be full or taken.
    """
    import torch

    try:
        torch.ones(1, device=device).add_(1).cpu()
    except (RuntimeError, AssertionError) as error:  # the latter from a build without CUDA
        return f"PyTorch {torch.__version__} cannot compute on it ({str(error).splitlines()[0]})"
    return None


def describe_device(device: torch.device) -> str:
    """The device in words: "NVIDIA RTX 4090, 24 GB" or "CPU, 8 threads"."""
    import torch

    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        return f"{properties.name}, {properties.total_memory / 2**30:.0f} GB"
    threads = torch.get_num_threads()
    return f"CPU, {threads} thread{'s' if threads > 1 else ''}"


def choose_precision(requested: str, device: torch.device, agreeing: Sequence[str] = ("float32",)) -> Precision:
    """The number format of the network's weights and feature maps.

    Args:
        requested: "auto", or one of PRECISIONS, which is then taken as it is.
        device: where the network will run.
        agreeing: formats in which the model was measured to give the float32 result (ModelCard.agreeing_precisions).

    Returns:
        For "auto" the fastest agreeing format of the device: float16 on CUDA (shipped weights are stored in it, so it
        rounds none of them) or, from compute capability 8.0 on, bfloat16 (cuDNN has it for those alone); bfloat16
        on a CPU with instructions for it (2.2 times as fast as float32 on two cores of an AMD EPYC with AVX512-BF16,
        half-width network, 128³ tile), else float32.

    Raises:
        ValueError: if the request is none of these.
    """
    if requested in PRECISIONS:
        return requested
    if requested != "auto":
        raise ValueError(f"precision must be auto, {', '.join(PRECISIONS)}; got {requested!r}")
    preferred: tuple[Precision, ...] = ()
    if device.type == "cuda":
        preferred = ("float16", "bfloat16") if gpu_multiplies_bfloat16(device) else ("float16",)
    elif cpu_multiplies_bfloat16():
        preferred = ("bfloat16",)
    return next((precision for precision in preferred if precision in agreeing), "float32")


def gpu_multiplies_bfloat16(device: torch.device) -> bool:
    """Whether a CUDA device convolves bfloat16 by cuDNN; others would unfold every tile."""
    import torch

    return torch.cuda.get_device_capability(device) >= (8, 0)


def cpu_multiplies_bfloat16() -> bool:
    """Whether the CPU has matrix instructions for bfloat16; without them it is slower there than in float32."""
    import torch

    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
