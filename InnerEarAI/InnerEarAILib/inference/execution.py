"""Runs a network on one batch of tiles after the other, on a GPU without waiting for each."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor, nn

from InnerEarAILib.inference.execution_plan import ExecutionPlan
from InnerEarAILib.networks.network_output import NetworkOutput

Batch = TypeVar("Batch")

BATCHES_IN_FLIGHT = 2
"""CUDA batches queued before the host waits: enough to keep the device busy, few enough to cancel promptly."""

_CUDNN_IN_USE = threading.RLock()
"""Held by the thread whose settings cuDNN has."""

AUTOTUNED_BATCHES = 50
"""From so many batches on it pays to let cuDNN try which of its convolutions is the fastest; ours, not measured."""


def outputs(
    network: nn.Module, batches: Iterable[tuple[Batch, Tensor]], plan: ExecutionPlan
) -> Iterator[tuple[Batch, Tensor, bool]]:
    """The network's maps of one batch of tiles after the other, on the device of the accumulators.

    Where they go from a GPU to the host, each batch travels while the next is computed.

    Args:
        network: as `prepared_network` gives it.
        batches: anything that says what a batch is, and its tiles (b, 1, n, n, n) in the plan's number format, on the
            device of the accumulators.
        plan: where the network runs.

    Yields:
        What says what the batch is; probability (if any) and heatmaps (if any) as channels of one float32 tensor,
        (b, c, n, n, n); whether the first of them is the probability.
    """
    pace = _Pace(plan.device)
    travelling: tuple[tuple[Batch, Tensor, bool], torch.cuda.Event] | None = None
    for batch, tiles in batches:
        on_device = _sent(tiles, plan.device)
        output = network(on_device.contiguous(memory_format=torch.channels_last_3d))
        maps, has_segmentation = _maps(output), output.segmentation is not None
        if plan.device.type != "cuda" or plan.accumulators.type == "cuda":
            pace.keep()
            yield batch, maps.to(plan.accumulators), has_segmentation
            continue
        host = torch.empty(maps.shape, dtype=maps.dtype, pin_memory=True).copy_(maps, non_blocking=True)
        arrived = torch.cuda.Event()
        arrived.record(torch.cuda.current_stream(plan.device))
        if travelling is not None:
            travelling[1].synchronize()
            yield travelling[0]
        travelling = ((batch, host, has_segmentation), arrived)
    if travelling is not None:
        travelling[1].synchronize()
        yield travelling[0]


@contextmanager
def cudnn_settings(plan: ExecutionPlan, batches: int) -> Iterator[None]:
    """float32 that is float32 on a GPU, and convolutions chosen by trial where that many batches are worth the trials.

    By default cuDNN rounds what float32 convolutions multiply to 10 bits (TF32). The process's own settings come back;
    they are its own, so that another thread's passes on a GPU (warm_up) wait until these are done.
    """
    if plan.device.type != "cuda":
        yield
        return
    with _CUDNN_IN_USE:
        cudnn = torch.backends.cudnn
        # Newer versions of torch keep the precision of convolutions elsewhere, and complain of a mixture.
        precision = (cudnn.conv, "fp32_precision", "ieee") if hasattr(cudnn, "conv") else (cudnn, "allow_tf32", False)
        wanted = [precision, (cudnn, "benchmark", batches >= AUTOTUNED_BATCHES)]
        before = [getattr(owner, name) for owner, name, _ in wanted]
        try:
            for owner, name, value in wanted:
                setattr(owner, name, value)
            yield
        finally:
            for (owner, name, _), value in zip(wanted, before, strict=True):
                setattr(owner, name, value)


class _Pace:
    """Keeps the host at most BATCHES_IN_FLIGHT ahead of a CUDA device, so that progress and cancelling are true."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.events: deque[torch.cuda.Event] = deque()

    def keep(self) -> None:
        if self.device.type != "cuda":
            return
        event = torch.cuda.Event()
        event.record(torch.cuda.current_stream(self.device))
        self.events.append(event)
        if len(self.events) > BATCHES_IN_FLIGHT:
            self.events.popleft().synchronize()


def _sent(tiles: Tensor, device: torch.device) -> Tensor:
    if device.type == "cuda" and tiles.device.type == "cpu":
        return tiles.pin_memory().to(device, non_blocking=True)
    return tiles.to(device)


def _maps(output: NetworkOutput) -> Tensor:
    parts = []
    if output.segmentation is not None:
        if output.segmentation.shape[1] != 1:
            raise ValueError(f"one segmentation channel is expected, the network has {output.segmentation.shape[1]}")
        parts.append(torch.sigmoid(output.segmentation.float()))
    if output.heatmaps is not None:
        parts.append(output.heatmaps.float())
    return torch.cat(parts, dim=1)
