"""Trains a network: samples in, weights out, and nothing lost on the way.

The trainer knows tiles and their truth (samples.py), not where they come from.
"""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from InnerEarAILib.networks.dual_head_unet import DualHeadUNet
from InnerEarAILib.training.checkpoint import load_checkpoint, save_checkpoint
from InnerEarAILib.training.configuration import OptimisationConfig, TrainingConfig
from InnerEarAILib.training.losses import JointLoss
from InnerEarAILib.training.run_folder import MetricsTable
from InnerEarAILib.training.samples import Batch, SampleSource, TrainingSample, collate
from InnerEarAILib.training.validation import ValidationFigures, validate

COLUMNS = (
    "iteration",
    "seconds",
    "learning_rate",
    "heatmap_amplitude",
    "heatmap_spread",
    "loss",
    "segmentation_loss",
    "heatmap_loss",
    "iterations_per_second",
    "waiting_share",
    *(f"validation_{name}" for name in ValidationFigures.names()),
)

RESERVED_SHARE = 0.03
"""Share of a time budget kept for the last validation and export, before their true length is known."""

WORKER_THREADS = 1
"""Threads of a process that prepares samples; the trainer has the rest."""

WORKER_NICENESS = 5
"""How far such a process gives way to the trainer: it is needed only when the trainer waits."""

Export = Callable[[nn.Module, str, int, ValidationFigures], None]
"""Writes a model folder: (network, "last" or "best", iteration, figures)."""


@dataclass
class RunState:
    """Where a run stands; what a checkpoint keeps beside the tensors.

    Attributes:
        iteration: passes done.
        seconds: time spent, over all resumptions.
        best_score: of the best validation so far.
        validated: iteration of the last validation.
    """

    iteration: int = 0
    seconds: float = 0.0
    best_score: float = float("-inf")
    validated: int = 0


class MovingAverage:
    """Exponential moving average of a network's weights, young at first so that the start is soon forgotten."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = copy.deepcopy(network).requires_grad_(False)
        self._decay = decay

    def update(self, network: nn.Module, step: int) -> None:
        """Moves the average towards the network; `step` counts optimiser steps from 1."""
        share = 1 - min(self._decay, step / (step + 10))
        with torch.no_grad():
            for mean, weight in zip(self.network.parameters(), network.parameters(), strict=True):
                mean.lerp_(weight, share)
            for mean, value in zip(self.network.buffers(), network.buffers(), strict=True):
                mean.copy_(value)


class Trainer:
    """One run.

    Args:
        config: what is trained, and how.
        source: training samples.
        validation: fixed samples.
        folder: the run folder; exists.
        export: writes a model folder.
        device: where the network is.
        minutes: time budget; the schedules end with it. None: config.optimisation.iterations alone decide.
        say: receives lines about the run.
    """

    def __init__(
        self,
        config: TrainingConfig,
        source: SampleSource,
        validation: Sequence[TrainingSample],
        folder: Path,
        export: Export,
        device: torch.device,
        minutes: float | None = None,
        say: Callable[[str], None] = print,
    ) -> None:
        torch.manual_seed(config.seed)
        self.config, self.folder, self.device = config, folder, device
        self.network = DualHeadUNet(config.network).to(device)
        self.average = MovingAverage(self.network, config.optimisation.ema_decay)
        self.state = RunState()
        self._source, self._validation, self._export, self._say = source, validation, export, say
        self._optimiser = make_optimiser(config.optimisation, self.network)
        self._loss = JointLoss(config.loss)
        self._budget = None if minutes is None else minutes * 60
        self._reserved = 0.0 if self._budget is None else RESERVED_SHARE * self._budget
        self._started = time.monotonic()
        self._autocast = torch.autocast(device.type, torch.bfloat16, enabled=config.optimisation.precision == "bf16")

    @property
    def checkpoint_path(self) -> Path:
        """The file that a killed run is resumed from."""
        return self.folder / "checkpoint.safetensors"

    @property
    def progress(self) -> float:
        """Share of the training that is done: of the iterations or of the time budget, whichever is further."""
        done = self.state.iteration / self.config.optimisation.iterations
        if self._budget is not None:
            done = max(done, self._seconds() / max(self._budget - self._reserved, 1.0))
        return min(done, 1.0)

    def resume(self) -> None:
        """Goes back to the last checkpoint of the run folder.

        Raises:
            ConfigurationError: if there is none, or it is of another network.
        """
        numbers = load_checkpoint(self.checkpoint_path, self._modules(), self._optimiser)
        self.state = RunState(**numbers)
        self._started = time.monotonic() - self.state.seconds
        self._say(f"Resumed at iteration {self.state.iteration} after {self.state.seconds / 60:.1f} minutes.")

    def run(self) -> ValidationFigures:
        """Trains to the end of the iterations or of the time budget.

        Returns:
            Figures of the last weights.

        Raises:
            KeyboardInterrupt: after a checkpoint was written, if the user interrupts.
        """
        optimisation, watch = self.config.optimisation, self.config.watch
        resumed = self.state.iteration > 0
        table = MetricsTable(self.folder / "metrics.csv", COLUMNS, self.state.iteration if resumed else None)
        parameters = sum(weight.numel() for weight in self.network.parameters())
        self._say(f"{self.config.name}: {parameters / 1e6:.2f} M weights on {self.device}, run folder {self.folder}")
        report = _Report()
        saved = time.monotonic()
        self.network.train()
        try:
            batches = self._batches()
            while self.progress < 1:
                waited = time.monotonic()
                batch = next(batches).to(self.device)
                waited = time.monotonic() - waited
                losses = self._pass(batch)
                report.add(*losses, waited)
                at_step = self.state.iteration % optimisation.accumulation == 0
                if self.state.iteration % watch.report_every == 0:
                    table.append(self._row(report))
                    self._say(report.sentence(self.state.iteration, self.progress))
                    report = _Report()
                if at_step and self.state.iteration - self.state.validated >= watch.validate_every:
                    table.append({"iteration": self.state.iteration, "seconds": self._seconds()} | self._validate())
                if at_step and time.monotonic() - saved > 60 * watch.checkpoint_minutes:
                    self._save()
                    saved = time.monotonic()
        except KeyboardInterrupt:
            if self.state.iteration % optimisation.accumulation == 0:
                self._save()
            raise
        row = self._validate()
        table.append({"iteration": self.state.iteration, "seconds": self._seconds()} | row)
        self._save()
        return ValidationFigures(**{name: row[f"validation_{name}"] for name in ValidationFigures.names()})

    def _pass(self, batch: Batch) -> tuple[float, float, float]:
        optimisation, progress = self.config.optimisation, self.progress
        with self._autocast:
            output = self.network(batch.image)
        terms = self._loss(output, batch, self.config.heatmaps.at(progress))
        (terms.total / optimisation.accumulation).backward()
        self.state.iteration += 1
        if self.state.iteration % optimisation.accumulation == 0:
            for group in self._optimiser.param_groups:
                group["lr"] = optimisation.rate.at(progress)
            if optimisation.gradient_norm:
                nn.utils.clip_grad_norm_(self.network.parameters(), optimisation.gradient_norm)
            self._optimiser.step()
            self._optimiser.zero_grad()
            self.average.update(self.network, self.state.iteration // optimisation.accumulation)
        return terms.total.item(), terms.segmentation.item(), terms.heatmap.item()

    def _batches(self) -> Iterator[Batch]:
        watch = self.config.watch
        indices = _BatchIndices(self.state.iteration, self.config.optimisation.batch)
        loader = DataLoader(
            _SourceDataset(self._source),
            batch_sampler=indices,
            num_workers=watch.workers,
            collate_fn=collate,
            worker_init_fn=_quiet_worker,
            prefetch_factor=6 if watch.workers else None,
            multiprocessing_context="spawn" if watch.workers else None,
            pin_memory=False,
        )
        return iter(loader)

    def _validate(self) -> dict[str, float]:
        began = time.monotonic()
        heatmap = self.config.heatmaps.at(self.progress)
        figures = validate(
            self.average.network,
            self._validation,
            self._loss,
            heatmap,
            self.config.spacing_mm,
            self.device,
            self._autocast,
        )
        self.state.validated = self.state.iteration
        self._say(
            f"  validation: Dice {figures.dice:.3f}, IoU {figures.iou:.3f}, landmarks {figures.helicotrema_mm:.2f} / "
            f"{figures.oval_window_mm:.2f} / {figures.round_window_mm:.2f} mm, loss {figures.loss:.3f}"
        )
        self._export(self.average.network, "last", self.state.iteration, figures)
        if figures.score >= self.state.best_score:
            self.state.best_score = figures.score
            self._export(self.average.network, "best", self.state.iteration, figures)
        if self._budget is not None:
            self._reserved = max(1.5 * (time.monotonic() - began), 1.0)
        return {f"validation_{name}": getattr(figures, name) for name in ValidationFigures.names()}

    def _save(self) -> None:
        self.state.seconds = self._seconds()
        save_checkpoint(self.checkpoint_path, self._modules(), self._optimiser, vars(self.state))

    def _modules(self) -> dict[str, nn.Module]:
        return {"network": self.network, "average": self.average.network}

    def _seconds(self) -> float:
        return time.monotonic() - self._started

    def _row(self, report: _Report) -> dict[str, float]:
        heatmap = self.config.heatmaps.at(self.progress)
        return {
            "iteration": self.state.iteration,
            "seconds": self._seconds(),
            "learning_rate": self.config.optimisation.rate.at(self.progress),
            "heatmap_amplitude": heatmap.amplitude,
            "heatmap_spread": heatmap.spread,
            **report.means(),
        }


def make_optimiser(config: OptimisationConfig, network: nn.Module) -> torch.optim.Optimizer:
    """The optimiser of a configuration over a network's weights."""
    if config.optimiser == "sgd":
        return torch.optim.SGD(
            network.parameters(),
            config.learning_rate,
            momentum=config.momentum,
            weight_decay=config.weight_decay,
            nesterov=True,
        )
    return torch.optim.AdamW(
        network.parameters(), config.learning_rate, betas=config.betas, weight_decay=config.weight_decay
    )


class _Report:
    """Sums between two reports."""

    def __init__(self) -> None:
        self._sums = [0.0, 0.0, 0.0, 0.0]
        self._count = 0
        self._began = time.monotonic()

    def add(self, loss: float, segmentation: float, heatmap: float, waited: float) -> None:
        for place, value in enumerate((loss, segmentation, heatmap, waited)):
            self._sums[place] += value
        self._count += 1

    def means(self) -> dict[str, float]:
        seconds = max(time.monotonic() - self._began, 1e-9)
        loss, segmentation, heatmap, waited = self._sums
        return {
            "loss": loss / self._count,
            "segmentation_loss": segmentation / self._count,
            "heatmap_loss": heatmap / self._count,
            "iterations_per_second": self._count / seconds,
            "waiting_share": waited / seconds,
        }

    def sentence(self, iteration: int, progress: float) -> str:
        means = self.means()
        return (
            f"iteration {iteration} ({100 * progress:.0f} %): loss {means['loss']:.3f}, "
            f"segmentation {means['segmentation_loss']:.3f}, heatmaps {means['heatmap_loss']:.5f}; "
            f"{means['iterations_per_second']:.2f} it/s, {100 * means['waiting_share']:.0f} % waiting for samples"
        )


class _SourceDataset(Dataset):
    """A SampleSource as the map-style data set that DataLoader wants; it has no end."""

    def __init__(self, source: SampleSource) -> None:
        self._source = source

    def __getitem__(self, index: int) -> TrainingSample:
        return self._source.sample(index)


class _BatchIndices:
    """Sample numbers of each batch, without end; batch n always holds the same numbers, so a resumed run goes on."""

    def __init__(self, first_batch: int, batch: int) -> None:
        self._first, self._batch = first_batch, batch

    def __iter__(self) -> Iterator[list[int]]:
        number = self._first
        while True:
            yield [number * self._batch + place for place in range(self._batch)]
            number += 1


def _quiet_worker(worker: int) -> None:
    del worker
    os.nice(WORKER_NICENESS)
    torch.set_num_threads(WORKER_THREADS)
