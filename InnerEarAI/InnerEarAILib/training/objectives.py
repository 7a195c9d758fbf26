"""What a method minimises, and in which stages: the dual-head U-Net at once, JSDNet in two, a cascade in one a plane.

A stage trains its own part of the network alone and leaves the others as they are. Each has an equal share of the
iterations, and its own learning-rate and heatmap schedule.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Protocol

import torch
from torch import nn

from InnerEarAILib.networks.autocasnet import AutoCasNet, slices_along
from InnerEarAILib.networks.jsdnet import JSDNet
from InnerEarAILib.training.configuration import TrainingConfig
from InnerEarAILib.training.losses import (
    JointLoss,
    LossTerms,
    displacement_error,
    displacement_truth,
    segmentation_loss,
)
from InnerEarAILib.training.samples import Batch
from InnerEarAILib.training.schedules import HeatmapShape

CONTEXTS_KEPT = 64
"""Volumes whose auto-context masks are kept from one pass to the next: 16 MB each at 256³."""


class Objective(Protocol):
    """A method's training.

    Attributes:
        stages: how many there are.
    """

    stages: int

    def begin(self, network: nn.Module, stage: int) -> None:
        """Told before a stage's first pass."""

    def __call__(self, network: nn.Module, batch: Batch, heatmap: HeatmapShape, stage: int) -> LossTerms:
        """The loss of a pass; its gradient reaches what the stage trains."""


def stage_at(progress: float, stages: int) -> tuple[int, float]:
    """The stage (from 0) that a share of the training falls into, and the share of that stage that is done."""
    stage = min(int(progress * stages), stages - 1)
    return stage, progress * stages - stage


def make_objective(config: TrainingConfig, autocast: torch.autocast) -> Objective:
    """The objective of a configuration's method.

    Args:
        config: of the run.
        autocast: precision of the networks; losses are always float32.
    """
    if config.method == "jsdnet":
        return TwoStepObjective(JointLoss(config.loss), autocast)
    if config.method == "autocasnet":
        return SliceObjective(config, autocast)
    return JointObjective(JointLoss(config.loss), autocast)


class JointObjective:
    """One network, one stage: segmentation and heatmaps together."""

    stages = 1

    def __init__(self, loss: JointLoss, autocast: torch.autocast) -> None:
        self._loss, self._autocast = loss, autocast

    def begin(self, network: nn.Module, stage: int) -> None:
        """Nothing to be done."""

    def __call__(self, network: nn.Module, batch: Batch, heatmap: HeatmapShape, stage: int) -> LossTerms:
        """The composite loss."""
        with self._autocast:
            output = network(batch.image)
        return self._loss(output, batch, heatmap)


class TwoStepObjective(JointObjective):
    """JSDNet: the displacement network first, then the joint network on what it says.

    Source:
        Zhang et al. 2020: mean squared error of the displacements. The joint loss here is that of the dual-head
        network, so that the architectures are compared and not the losses.
    """

    stages = 2

    def __call__(self, network: JSDNet, batch: Batch, heatmap: HeatmapShape, stage: int) -> LossTerms:
        """The displacement error in the first stage, the composite loss in the second."""
        if stage == 1:
            return super().__call__(network, batch, heatmap, stage)
        with self._autocast:
            maps = network.displacements(batch.image)
        truth = displacement_truth(batch.landmarks_kji, batch.image.shape[-1], batch.image.device)
        error = displacement_error(maps, truth, batch.known)
        nothing = torch.zeros((), device=error.device)
        return LossTerms(error, nothing, nothing)


class SliceObjective:
    """AutoCasNet: random slices of the batch's volumes, along the axis of the stage.

    Source:
        Hussain et al. 2021, "Training": each network is trained to its end on the largest region that each before it
        draws.
    """

    def __init__(self, config: TrainingConfig, autocast: torch.autocast) -> None:
        self._autocast = autocast
        self.stages = len(config.network.planes)
        self._loss = segmentation_loss(config.loss.segmentation, config.loss.cross_entropy_weight)
        self._slices = config.optimisation.slices
        self._contexts: OrderedDict[str, torch.Tensor] = OrderedDict()

    def begin(self, network: AutoCasNet, stage: int) -> None:
        """From now on the network draws with this stage as its last, and earlier masks are void."""
        network.trained_stages.fill_(stage + 1)
        self._contexts.clear()

    def __call__(self, network: AutoCasNet, batch: Batch, heatmap: HeatmapShape, stage: int) -> LossTerms:
        """The segmentation loss of the slices."""
        axis, volumes = network.axis(stage), len(batch.image)
        shown, truths = [], []
        for place in range(volumes):
            image = batch.image[place, 0]
            count = max(1, self._slices // volumes)
            chosen = torch.randperm(image.shape[axis])[:count].to(image.device)
            channels = torch.cat((image[None], self._context(network, batch, place, stage)))
            shown.append(slices_along(channels, axis)[chosen])
            truths.append(slices_along(batch.labyrinth[place], axis)[chosen])
        with self._autocast:
            logits = network.stage_logits(stage, torch.cat(shown))
        loss = self._loss(logits.float(), torch.cat(truths))
        return LossTerms(loss, loss.detach(), torch.zeros((), device=loss.device))

    def _context(self, network: AutoCasNet, batch: Batch, place: int, stage: int) -> torch.Tensor:
        """The masks of the stages before on one volume, (stage, k, j, i); kept where the volume comes again."""
        image, name = batch.image[place, 0], batch.same_as[place] if batch.same_as else ""
        if stage == 0:
            return image.new_zeros((0, *image.shape))
        if name in self._contexts:
            self._contexts.move_to_end(name)
            return self._contexts[name].to(device=image.device, dtype=image.dtype)
        with self._autocast:
            masks = network.context(image, stage)
        if name:
            self._contexts[name] = masks.to(device="cpu", dtype=torch.uint8)
            if len(self._contexts) > CONTEXTS_KEPT:
                self._contexts.popitem(last=False)
        return masks
