"""Time, memory and arithmetic: what is measured, and how."""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")

PRODUCT_SIZE = {"cuda": 8192, "cpu": 2048}
"""Edge of the square matrices whose product shows what the processor can do."""


@dataclass
class Peaks:
    """Most memory that was held at any moment, GiB; None where the system does not tell."""

    host_gib: float | None = None
    device_gib: float | None = None


@contextmanager
def peak_memory(device: torch.device) -> Iterator[Peaks]:
    """Fills in the peaks of what happens within the context: of the whole process, and of tensors on the device."""
    peaks = Peaks()
    can_reset = _reset_host_peak()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    yield peaks
    if can_reset:
        peaks.host_gib = int(re.search(r"VmHWM:\s*(\d+) kB", _STATUS.read_text())[1]) / 2**20
    if device.type == "cuda":
        peaks.device_gib = torch.cuda.max_memory_allocated(device) / 2**30


@dataclass(frozen=True)
class Durations:
    """Of every run of one thing.

    Attributes:
        seconds: on the clock.
        processor_seconds: on the processor, all threads together: with one thread what an idle computer would take.
    """

    seconds: tuple[float, ...]
    processor_seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """Median on the clock."""
        return round(statistics.median(self.seconds), 3)

    @property
    def processor_median(self) -> float:
        """Median on the processor."""
        return round(statistics.median(self.processor_seconds), 3)


def alternating(actions: Mapping[str, Callable[[], object]], runs: int) -> dict[str, Durations]:
    """Every run of every action, taken in turns, so that what else the computer does strikes all alike."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in actions}
    for _ in range(runs):
        for name, action in actions.items():
            begin, processor_begin = time.perf_counter(), time.process_time()
            action()
            times[name].append((time.perf_counter() - begin, time.process_time() - processor_begin))
    return {name: durations(of_action) for name, of_action in times.items()}


def durations(times: Sequence[tuple[float, float]]) -> Durations:
    """Of runs whose seconds on the clock and on the processor were taken."""
    clock, processor = zip(*times, strict=True)
    return Durations(tuple(round(value, 3) for value in clock), tuple(round(value, 3) for value in processor))


def product_tflops(device: torch.device, precision: str, runs: int = 5) -> float:
    """TFLOP/s of a large matrix product, the best of some runs: what the processor can do at most."""
    size = PRODUCT_SIZE[device.type]
    left = torch.randn(size, size, device=device).to(getattr(torch, precision))
    seconds = []
    for _ in range(runs + 1):
        _wait_for(device)
        begin = time.perf_counter()
        torch.mm(left, left)
        _wait_for(device)
        seconds.append(time.perf_counter() - begin)
    return 2 * size**3 / min(seconds) / 1e12


def tile_tflop(network: nn.Module, tile: int) -> float:
    """TFLOP of one pass of a tile: two for each multiplication of the convolutions."""
    first = next(network.parameters())
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, 1, tile, tile, tile, device=first.device, dtype=first.dtype))
    return counter.get_total_flops() / 1e12


def _reset_host_peak() -> bool:
    try:
        _CLEAR.write_text("5")  # Linux: the peak begins anew
    except OSError:
        return False
    return True


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
