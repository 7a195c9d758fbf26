"""Where a network runs and how much of it at a time, and the way down when memory does not suffice."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import torch

from InnerEarAILib.inference.device import Precision
from InnerEarAILib.inference.memory import is_out_of_memory
from InnerEarAILib.progress import Progress

Result = TypeVar("Result")

GPU_BATCH_VOXELS = 4 * 128**3
"""Voxels that a GPU is given at a time: four of the paper's tiles, or correspondingly more small ones."""

MOST_TILES_AT_A_TIME = 32

NO_ENGINE = "unable to find an engine"
"""Said by cuDNN where no algorithm of a convolution fits, which memory is the usual reason of."""


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
