"""Trains a network: samples in, weights out, and nothing lost on the way.

The trainer knows tiles and their truth (samples.py), not where they come from.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from InnerEarAILib.networks.dual_head_unet import DualHeadUNet
from InnerEarAILib.networks.methods import build_network
from InnerEarAILib.networks.subvoxels import begin_with_subvoxels, differs_by_subvoxels
from InnerEarAILib.training.checkpoint import CHECKPOINT_FILE, load_checkpoint, read_numbers, save_checkpoint
from InnerEarAILib.training.configuration import ConfigurationError, TrainingConfig
from InnerEarAILib.training.curves import CurvesPicture, TensorBoard
from InnerEarAILib.training.interruption import Interruption
from InnerEarAILib.training.loading import endless_batches
from InnerEarAILib.training.losses import JointLoss
from InnerEarAILib.training.objectives import make_objective, stage_at
from InnerEarAILib.training.optimiser import MovingAverage, make_optimiser
from InnerEarAILib.training.processes import Processes
from InnerEarAILib.training.report import Report
from InnerEarAILib.training.run_folder import MetricsTable, set_aside_damaged
from InnerEarAILib.training.run_settings import check_settings
from InnerEarAILib.training.run_state import Export, RunState
from InnerEarAILib.training.samples import Batch, SampleSource, TrainingSample
from InnerEarAILib.training.schedules import HeatmapShape
from InnerEarAILib.training.seen_scans import SeenScans
from InnerEarAILib.training.unfinished_step import UnfinishedStep
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

RANK_STRIDE = 1_000_003
"""Seeds of two processes lie this far apart: farther than a training has iterations."""

RESERVED_SHARE = 0.03
"""Share of a time budget kept for the last validation and export, before their true length is known."""


def check_beginning(trained: nn.Module, network: Any, name: str) -> None:
    """Makes sure that a network of this configuration can begin with the weights of a trained one.

    Raises:
        ConfigurationError: it is another network; `name` is what the sentence calls the trained one.
    """
    finer = isinstance(trained, DualHeadUNet) and differs_by_subvoxels(network, trained.config)
    if trained.config != network and not finer:
        raise ConfigurationError(
            f"{name} is another network than this configuration describes; give the configuration its [network], "
            "or that with a subvoxel_factor."
        )


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
        processes: those that train together; the first alone writes, validates and speaks. Iterations and accumulation
            are of all of them: each makes its share of the passes.
        settings: what a resumed run must have in common with its checkpoint; see run_settings.settings_of.
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
        processes: Processes | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        torch.manual_seed(config.seed)
        self.config, self.folder, self.device = config, folder, device
        self.network = build_network(config.method, config.network).to(device)
        self.average = MovingAverage(self.network, config.optimisation.ema_decay)
        self.state = RunState(settings=dict(settings or {}))
        self._processes = processes or Processes()
        self._passes_of_step = self._processes.passes_of_step(config.optimisation.accumulation)
        self._of_step = self._passes_of_step * self._processes.count  # passes of all processes
        self._passes = 0  # since the last step
        self._source, self._validation, self._export = source, validation, export
        self._say = say if self._processes.leads else _silent
        self._optimiser = make_optimiser(config.optimisation, self.network)
        self._loss = JointLoss(config.loss)
        self._budget = None if minutes is None else minutes * 60
        self._started = time.monotonic()
        self._autocast = torch.autocast(device.type, torch.bfloat16, enabled=config.optimisation.precision == "bf16")
        self._objective = make_objective(config, self._autocast)
        self._unfinished = UnfinishedStep(self.network)

    @property
    def checkpoint_path(self) -> Path:
        """The file that a killed run is resumed from."""
        return self.folder / CHECKPOINT_FILE

    @property
    def progress(self) -> float:
        """Share of the training that is done: of the iterations or of the time budget, whichever is further."""
        done = self.state.iteration / self.config.optimisation.iterations
        if self._budget is not None:
            reserved = self.state.reserved or RESERVED_SHARE * self._budget
            done = max(done, self._seconds() / max(self._budget - reserved, 1.0))
        return min(done, 1.0)

    def resume(self) -> None:
        """Goes back to the last checkpoint of the run folder.

        Raises:
            ConfigurationError: if there is none, or it is of another run.
        """
        numbers = read_numbers(self.checkpoint_path)
        check_settings(numbers["settings"], self.state.settings, self.checkpoint_path)
        load_checkpoint(self.checkpoint_path, self._modules(), self._optimiser)
        self.state = RunState(**numbers | ({"settings": self.state.settings} if self.state.settings else {}))
        self._started = time.monotonic() - self.state.seconds
        self._enter(self.state.stage)
        of = f"{self.state.iteration} of {self.config.optimisation.iterations}"
        self._say(f"Resumed at iteration {of} after {self.state.seconds / 60:.1f} minutes.")

    def begin_with(self, trained: nn.Module, name: str, seen: SeenScans | None = None) -> None:
        """Begins with the weights of a trained network, whose heatmaps have their final shape from the first pass on.

        Args:
            trained: a network of the same configuration, or for voxels as wide as its blocks (subvoxel_factor).
            name: of the model and its version, for the card.
            seen: labelled scans that it has seen, and with it the weights of this run; None: none.

        Raises:
            ConfigurationError: if it is another network.
        """
        check_beginning(trained, self.config.network, name)
        if trained.config == self.config.network:
            self.network.load_state_dict(trained.state_dict())
        else:
            begin_with_subvoxels(self.network, trained)
        self.average.network.load_state_dict(self.network.state_dict())
        self.state.begun_with, self.state.seen_before = name, seen.figures() if seen else {}

    def run(self) -> ValidationFigures | None:
        """Trains to the end of the iterations or of the time budget.

        Returns:
            Figures of the last weights, where this process leads; else None.

        Raises:
            KeyboardInterrupt: if the user interrupts, after the checkpoint and the weights were written; at once at the
                second interruption.
        """
        watch, leads = self.config.watch, self._processes.leads
        table = self._tables() if leads else None
        parameters = sum(weight.numel() for weight in self.network.parameters())
        self._say(f"{self.config.name}: {parameters / 1e6:.2f} M weights on {self.device}, run folder {self.folder}")
        self._begin_together()
        report = Report(self._processes.count)
        saved = time.monotonic()
        self.network.train()
        if self.state.iteration == 0:
            self._enter(0)
        with Interruption() as interruption:
            batches = self._batches()
            progress, interrupted = self._agreed(interruption)
            while progress < 1 and not interrupted:
                waited = time.monotonic()
                batch = next(batches).to(self.device)
                waited = time.monotonic() - waited
                losses = self._pass(batch, progress)
                report.add(*losses, waited)
                at_step = self._passes == 0
                if leads and self.state.iteration % watch.report_every < self._processes.count:
                    table.append(self._row(report, progress))
                    self._say(report.sentence(self.state.iteration, progress))
                    report = Report(self._processes.count)
                if leads and at_step and self.state.iteration - self.state.validated >= watch.validate_every:
                    self._validate(table)
                    table.picture.keep_up()
                if leads and at_step and time.monotonic() - saved > 60 * watch.checkpoint_minutes:
                    self._save()
                    saved = time.monotonic()
                progress, interrupted = self._agreed(interruption)
            self._give_back_unfinished_step()
            row = None
            if leads:
                # Before the validation, which takes longer than torchrun lets an interrupted process live.
                self._save()
                row = self._validate(table)
                self._save()
                table.picture.draw()
        if interrupted:
            raise KeyboardInterrupt
        return row and ValidationFigures(**{name: row[f"validation_{name}"] for name in ValidationFigures.names()})

    def _begin_together(self) -> None:
        """Says how several processes share a step, and lets each drop and draw in a way of its own."""
        if self._processes.rank:
            torch.manual_seed(self.config.seed + RANK_STRIDE * self._processes.rank + self.state.iteration)
        if self._processes.count > 1:
            self._say(self._processes.sentence(self.config.optimisation.accumulation))

    def _tables(self) -> _Tables:
        path = self.folder / "metrics.csv"
        if self.state.iteration and (aside := set_aside_damaged(path)):
            self._say(
                f"{path.name} cannot be read, as if changed by another program: kept as {aside.name}, begun anew."
            )
        metrics = MetricsTable(path, COLUMNS, keep_until=self.state.iteration or None)
        return _Tables(metrics, TensorBoard(self.folder), CurvesPicture(self.folder, self._say))

    def _agreed(self, interruption: Interruption) -> tuple[float, bool]:
        progress, interrupted = self._processes.agree((self.progress, interruption.wanted), self.device)
        return progress, bool(interrupted)

    def _pass(self, batch: Batch, progress: float) -> tuple[float, float, float]:
        optimisation = self.config.optimisation
        stage, done = self._stage(progress)
        if stage > self.state.stage:
            self._enter(stage)
        if self._passes == 0:
            self._unfinished.begin()
        terms = self._objective(self.network, batch, self._heatmap(progress), stage)
        (terms.total / self._passes_of_step).backward()
        self.state.iteration += self._processes.count
        self._passes += 1
        if self._passes == self._passes_of_step:
            self._passes = 0
            for group in self._optimiser.param_groups:
                group["lr"] = optimisation.rate.at(done)
            self._processes.average_gradients(self.network)
            if optimisation.gradient_norm:
                nn.utils.clip_grad_norm_(self.network.parameters(), optimisation.gradient_norm)
            self._optimiser.step()
            self._optimiser.zero_grad()
            self.average.update(self.network, max(1, self.state.iteration // self._of_step))
        return terms.total.item(), terms.segmentation.item(), terms.heatmap.item()

    def _give_back_unfinished_step(self) -> None:
        """Its gradients are let go, and its passes are repeated when the run is resumed."""
        if self._passes:
            self.state.iteration -= self._passes * self._processes.count
            self._unfinished.give_back()

    def _stage(self, progress: float) -> tuple[int, float]:
        """The stage to train, and the share of it that is done.

        A run that is resumed with more iterations or minutes is less far than it was; what an earlier stage has taught
        is finished all the same, since the later ones build on it.
        """
        stage, done = stage_at(progress, self._objective.stages)
        return (stage, done) if stage >= self.state.stage else (self.state.stage, 0.0)

    def _enter(self, stage: int) -> None:
        """A stage begins: gradients of unfinished steps and the best score were of the one before."""
        if stage > self.state.stage:
            self.state.stage, self.state.best_score = stage, float("-inf")
            self._optimiser.zero_grad()
            self._say(f"Stage {stage + 1} of {self._objective.stages}")
        for network in (self.network, self.average.network):
            self._objective.begin(network, stage)
        self._unfinished.begin()

    def _batches(self) -> Iterator[Batch]:
        processes = self._processes
        return endless_batches(
            self._source,
            self.config.optimisation.batch,
            self.config.watch.workers,
            first=self.state.iteration + processes.rank,
            step=processes.count,
        )

    def _validate(self, table: _Tables) -> dict[str, float]:
        began = time.monotonic()
        heatmap = self._heatmap(self.progress)
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
        self.state.seconds = self._seconds()
        self._export(self.average.network, "last", self.state, figures)
        if figures.score >= self.state.best_score:
            self.state.best_score = figures.score
            self._export(self.average.network, "best", self.state, figures)
        row = {f"validation_{name}": getattr(figures, name) for name in ValidationFigures.names()}
        table.append({"iteration": self.state.iteration, "seconds": self._seconds()} | row)
        if self._budget is not None:
            self.state.reserved = max(1.5 * (time.monotonic() - began), 1.0)
        return row

    def _heatmap(self, progress: float) -> HeatmapShape:
        _, done = self._stage(progress)
        return self.config.heatmaps.at(1.0 if self.state.begun_with else done)

    def _save(self) -> None:
        self.state.seconds = self._seconds()
        save_checkpoint(self.checkpoint_path, self._modules(), self._optimiser, vars(self.state))

    def _modules(self) -> dict[str, nn.Module]:
        return {"network": self.network, "average": self.average.network}

    def _seconds(self) -> float:
        return time.monotonic() - self._started

    def _row(self, report: Report, progress: float) -> dict[str, float]:
        heatmap = self._heatmap(progress)
        return {
            "iteration": self.state.iteration,
            "seconds": self._seconds(),
            "learning_rate": self.config.optimisation.rate.at(self._stage(progress)[1]),
            "heatmap_amplitude": heatmap.amplitude,
            "heatmap_spread": heatmap.spread,
            **report.means(),
        }


@dataclass(frozen=True)
class _Tables:
    """Where rows about the run go."""

    metrics: MetricsTable
    tensorboard: TensorBoard
    picture: CurvesPicture

    def append(self, row: Mapping[str, float]) -> None:
        self.metrics.append(row)
        self.tensorboard.append(row)


def _silent(line: str) -> None:
    del line
