"""Which processor the networks run on, and in which precision."""

from __future__ import annotations

import re
from collections.abc import Sequence
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
        requested: "auto" (the first CUDA device, else the CPU), "cpu", "cuda", or "cuda:1" and so on.

    Raises:
        DeviceError: if that device is not there, or the name is none of these.
    """
    import torch

    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", requested):
        raise DeviceError(f"Unknown device '{requested}': choose auto, cpu, cuda, or cuda:1 for the second GPU.")
    reason = why_no_gpu()
    if requested == "cpu" or (requested == "auto" and reason):
        return torch.device("cpu")
    if reason:
        raise DeviceError(f"Device '{requested}' was asked for, but {reason}: use auto or cpu.")
    number = int(requested.partition(":")[2] or 0)
    if number >= torch.cuda.device_count():
        raise DeviceError(
            f"Device '{requested}' was asked for, but this computer has {torch.cuda.device_count()} GPU(s)."
        )
    return torch.device("cuda", number)


def why_no_gpu() -> str | None:
    """Why the CPU has to do, as the end of a sentence; None where there is a GPU."""
    import torch

    if torch.cuda.is_available():
        return None
    return f"PyTorch {torch.__version__} " + (
        "has no CUDA support" if torch.version.cuda is None else "finds no usable NVIDIA GPU"
    )


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
        rounds none of them), bfloat16 on a CPU with instructions for it (2.2 times as fast as float32 on two cores of
        an AMD EPYC with AVX512-BF16, half-width network, 128³ tile), else float32.

    Raises:
        ValueError: if the request is none of these.
    """
    if requested in PRECISIONS:
        return requested
    if requested != "auto":
        raise ValueError(f"precision must be auto, {', '.join(PRECISIONS)}; got {requested!r}")
    preferred: tuple[Precision, ...] = ()
    if device.type == "cuda":
        preferred = ("float16", "bfloat16")
    elif cpu_multiplies_bfloat16():
        preferred = ("bfloat16",)
    return next((precision for precision in preferred if precision in agreeing), "float32")


def cpu_multiplies_bfloat16() -> bool:
    """Whether the CPU has matrix instructions for bfloat16; without them it is slower there than in float32."""
    import torch

    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
