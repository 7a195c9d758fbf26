"""Several processes that train one network together, each with its own batches and its own device (torchrun)."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import distributed, nn

LONGEST_WAIT = timedelta(hours=3)
"""How long the others wait for the first process, which draws anatomies or prepares scans before training begins."""


@dataclass(frozen=True)
class Processes:
    """The processes of a run; one alone unless torchrun started several.

    Attributes:
        rank: number of this process, from 0.
        count: how many there are.
    """

    rank: int = 0
    count: int = 1

    def passes_of_step(self, accumulation: int) -> int:
        """Passes that each process makes for one step of `accumulation` passes in all; at least one."""
        return max(1, round(accumulation / self.count))

    def sentence(self, accumulation: int) -> str:
        """How the processes share a step of `accumulation` passes."""
        own = self.passes_of_step(accumulation)
        uneven = f" instead of {accumulation}, which {self.count} processes cannot share evenly"
        instead = uneven if accumulation % self.count else ""
        return f"{self.count} processes, {own} passes each for a step: {own * self.count} in all{instead}."

    @property
    def leads(self) -> bool:
        """Whether this process writes files, validates and speaks."""
        return self.rank == 0

    def wait(self) -> None:
        """Until all have come this far."""
        if self.count > 1:
            distributed.barrier()

    def average_gradients(self, network: nn.Module) -> None:
        """Replaces the gradients of a network by their mean over the processes."""
        if self.count == 1:
            return
        gradients = [weight.grad for weight in network.parameters() if weight.grad is not None]
        together = torch.cat([gradient.reshape(-1) for gradient in gradients])
        distributed.all_reduce(together)
        together /= self.count
        for gradient, part in zip(gradients, together.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))

    def agree(self, values: Sequence[float], device: torch.device) -> list[float]:
        """The largest of each value over the processes: clocks differ, and one interrupted is all interrupted."""
        if self.count == 1:
            return list(values)
        shared = torch.tensor(values, dtype=torch.float64, device=device)
        distributed.all_reduce(shared, distributed.ReduceOp.MAX)
        return shared.tolist()


def own_device(wanted: str) -> str:
    """The device of this process where torchrun gave several processes to one machine: the one of its number."""
    place = os.environ.get("LOCAL_RANK")
    if place is None or wanted not in ("auto", "cuda") or not torch.cuda.is_available():
        return wanted
    torch.cuda.set_device(int(place))
    return f"cuda:{place}"


@contextmanager
def started_processes(cuda: bool) -> Iterator[Processes]:
    """Joins the processes that torchrun started; one alone where it was not torchrun.

    Args:
        cuda: whether the processes train on NVIDIA devices (NCCL) or not (gloo).
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Processes()
        return
    distributed.init_process_group("nccl" if cuda else "gloo", timeout=LONGEST_WAIT)
    try:
        yield Processes(distributed.get_rank(), count)
    finally:
        distributed.destroy_process_group()
