"""Where a network runs, how much of it at a time, and the way down when memory does not suffice."""

from __future__ import annotations

import copy
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from InnerEarAILib.inference.device import Precision
from InnerEarAILib.inference.memory import is_out_of_memory
from InnerEarAILib.inference.onednn import convolve_by_onednn
from InnerEarAILib.networks.network_output import NetworkOutput
from InnerEarAILib.progress import Progress

Result = TypeVar("Result")
Batch = TypeVar("Batch")

GPU_BATCH_VOXELS = 4 * 128**3
"""Voxels that a GPU is given at a time: four of the paper's tiles, or correspondingly more small ones."""

MOST_TILES_AT_A_TIME = 32

BATCHES_IN_FLIGHT = 2
"""CUDA batches queued before the host waits: enough to keep the device busy, few enough to cancel promptly."""

EXACT_LAYERS = ("segmentation_head.levels.0.convolutions.1", "segmentation_head.output")
"""What stays in float32 beside bfloat16: the last layers before the probability, whose rounding no normalisation
follows. Rounded, they shift the whole surface of the labyrinth in one direction, the same in all views: on the embedded
phantom Dice falls from 0.9995 to 0.9990 of float32. They cost a tenth of the time."""

NO_ENGINE = "unable to find an engine"
"""Said by cuDNN where no algorithm of a convolution fits, which memory is the usual reason of."""

_CUDNN_IN_USE = threading.RLock()
"""Held by the thread whose settings cuDNN has."""

AUTOTUNED_BATCHES = 50
"""From so many batches on it pays to let cuDNN try which of its convolutions is the fastest; ours, not measured."""


@dataclass(frozen=True)
class ExecutionPlan:
    """Where the work is done.

    Attributes:
        device: of the network.
        accumulators: device of the volumes that the tiles are merged in.
        batch_size: tiles at a time.
        precision: of weights and feature maps; merging is always float32.
    """

    device: torch.device
    accumulators: torch.device
    batch_size: int
    precision: Precision

    def __str__(self) -> str:
        place = "" if self.accumulators == self.device else f", results on the {self.accumulators.type.upper()}"
        return f"{self.device.type.upper()}{place}, {self.batch_size} tile(s) at a time"


@dataclass(frozen=True)
class Outcome(Generic[Result]):
    """What came out, by which plan, and a sentence for each plan that was given up."""

    result: Result
    plan: ExecutionPlan
    fallbacks: tuple[str, ...]


class NotFiniteError(ArithmeticError):
    """The network's output has infinities or NaN."""


def usual_batch_size(device: torch.device, tile: int) -> int:
    """Tiles that are computed with that edge length at a time: a CPU gains nothing from more, a GPU is to be filled."""
    if device.type != "cuda":
        return 1
    return min(max(GPU_BATCH_VOXELS // tile**3, 1), MOST_TILES_AT_A_TIME)


def memory_ladder(device: torch.device, precision: Precision, batch_size: int) -> tuple[ExecutionPlan, ...]:
    """The plans to try, each needing less memory on the device: results on the CPU, smaller batches, all on the CPU."""
    cpu = torch.device("cpu")
    plans = [ExecutionPlan(device, device, batch_size, precision)]
    if device != cpu:
        plans.append(replace(plans[-1], accumulators=cpu))
    while plans[-1].batch_size > 1:
        plans.append(replace(plans[-1], batch_size=plans[-1].batch_size // 2))
    if device != cpu:
        plans.append(ExecutionPlan(cpu, cpu, 1, "float32"))
    return tuple(plans)


def first_that_fits(
    attempt: Callable[[ExecutionPlan], Result], plans: Sequence[ExecutionPlan], progress: Progress
) -> Outcome[Result]:
    """Tries plans in turn: the next where memory runs out, the same in float32 where half precision overflows.

    Args:
        attempt: does all of the work by a plan; raises NotFiniteError where the network's output is not finite.
        plans: the memory ladder.
        progress: hears a sentence for each plan that is given up.

    Raises:
        ValueError: if the output is not finite in float32 either.
        RuntimeError: if even the last plan needs too much memory; see inference.memory.
    """
    remaining = deque(plans)
    fallbacks: list[str] = []
    while True:
        plan = remaining.popleft()
        try:
            return Outcome(attempt(plan), plan, tuple(fallbacks))
        except NotFiniteError:
            if plan.precision == "float32":
                raise ValueError("the network's output is not finite; its weights are unusable") from None
            sentence = f"The network overflowed in {plan.precision}; it goes on in float32."
            remaining = deque(replace(other, precision="float32") for other in (plan, *remaining))
        except (MemoryError, RuntimeError) as error:
            if not (is_out_of_memory(error) or NO_ENGINE in str(error)) or not remaining:
                raise
            sentence = f"Memory did not suffice ({plan}); it goes on with: {remaining[0]}."
        # Out here the failed attempt's traceback is gone, and with it the last references to its tensors.
        if plan.device.type == "cuda":
            torch.cuda.empty_cache()
        progress.note(sentence)
        fallbacks.append(sentence)


def prepared_network(network: nn.Module, plan: ExecutionPlan, heatmaps: bool = True) -> nn.Module:
    """A copy of a network, where and in the number format that the plan wants, in evaluation mode.

    Args:
        network: stays as it is.
        plan: where it will run.
        heatmaps: False leaves out the decoder of the heatmaps where there is one beside that of the segmentation: two
            fifths of the work.
    """
    light = copy.copy(network)
    if not heatmaps and None not in (getattr(network, head, None) for head in ("segmentation_head", "heatmap_head")):
        # The dictionary of submodules is what a shallow copy shares with the caller's network.
        light._modules = {**network._modules, "heatmap_head": None}
    exact = _exact_layers(light) if plan.precision == "bfloat16" else {}
    # Every weight is converted once, on its way into the copy; one that needs no conversion is shared.
    copied = {id(weight): _converted(weight, plan, torch.float32) for weight in _weights(exact.values())}
    copied |= {
        id(weight): _converted(weight, plan, getattr(torch, plan.precision))
        for weight in _weights([light])
        if id(weight) not in copied
    }
    own = copy.deepcopy(light, copied).eval()
    for name in exact:
        own.get_submodule(name).register_forward_pre_hook(lambda _, features: (features[0].float(),))
    if plan.device.type == "cpu":
        convolve_by_onednn(own)
    return own


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


def _exact_layers(network: nn.Module) -> dict[str, nn.Module]:
    return {name: layer for name, layer in network.named_modules() if name in EXACT_LAYERS}


def _weights(networks: Iterable[nn.Module]) -> Iterator[Tensor]:
    for network in networks:
        yield from network.parameters()
        yield from network.buffers()


def _converted(weight: Tensor, plan: ExecutionPlan, dtype: torch.dtype) -> Tensor:
    """A weight where and as the plan wants it; convolutions of volumes in the layout that is the fastest."""
    layout = torch.channels_last_3d if weight.ndim == 5 else torch.preserve_format
    data = weight.detach().to(plan.device, dtype if weight.is_floating_point() else weight.dtype, memory_format=layout)
    return nn.Parameter(data, requires_grad=False) if isinstance(weight, nn.Parameter) else data


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
