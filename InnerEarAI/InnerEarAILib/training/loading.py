"""Batches without end from a source of samples, prepared by other processes while the network works."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import torch
from torch.utils.data import DataLoader, Dataset

from InnerEarAILib.training.samples import Batch, SampleSource, TrainingSample, collate

WORKER_THREADS = 1
"""Threads of a process that prepares samples; the trainer has the rest."""

WORKER_NICENESS = 5
"""How far such a process gives way to the trainer: it is needed only when the trainer waits."""

BATCHES_AHEAD = 6
"""Batches that each such process prepares in advance."""


def endless_batches(source: SampleSource, batch: int, workers: int, first: int = 0, step: int = 1) -> Iterator[Batch]:
    """Batches number first, first + step, first + 2·step, …; batch n always holds the same samples.

    So a resumed run goes on where it stood, and several processes share the batches out among them.

    Args:
        source: the samples; batch n holds samples n·batch to n·batch + batch − 1.
        batch: samples in a batch.
        workers: processes that prepare them; 0: this one does.
        first: number of the first batch.
        step: 1, or the number of processes that train together.
    """
    loader = DataLoader(
        _SourceDataset(source),
        batch_sampler=_BatchIndices(first, step, batch),
        num_workers=workers,
        collate_fn=collate,
        worker_init_fn=_quiet_worker,
        prefetch_factor=BATCHES_AHEAD if workers else None,
        multiprocessing_context="spawn" if workers else None,
        pin_memory=False,
        # Its own, or beginning to load would draw from the numbers that dropout and slices go on with after a resume.
        generator=torch.Generator(),
    )
    return iter(loader)


class _SourceDataset(Dataset):
    """A SampleSource as the map-style data set that DataLoader wants; it has no end."""

    def __init__(self, source: SampleSource) -> None:
        self._source = source

    def __getitem__(self, index: int) -> TrainingSample:
        return self._source.sample(index)


class _BatchIndices:
    """Sample numbers of each batch, without end."""

    def __init__(self, first: int, step: int, batch: int) -> None:
        self._first, self._step, self._batch = first, step, batch

    def __iter__(self) -> Iterator[list[int]]:
        number = self._first
        while True:
            yield [number * self._batch + place for place in range(self._batch)]
            number += self._step


def _quiet_worker(worker: int) -> None:
    del worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the trainer, which ends its workers itself
    if hasattr(os, "nice"):  # on Unix
        os.nice(WORKER_NICENESS)
    torch.set_num_threads(WORKER_THREADS)
