"""How good a network is on samples that it is not trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import nn

from InnerEarAILib.landmarks import decode_heatmap
from InnerEarAILib.training.losses import JointLoss, heatmap_error, heatmap_truth
from InnerEarAILib.training.samples import TrainingSample, collate
from InnerEarAILib.training.schedules import HeatmapShape

MILLIMETRES_WORTH_ALL_OF_DICE = 10.0
"""Landmark error that weighs as much as a Dice score of 1 in the choice of the best weights; ours."""


@dataclass(frozen=True)
class ValidationFigures:
    """Means over the validation samples.

    Attributes:
        loss: the composite loss at the present heatmaps.
        dice: Dice of the thresholded segmentation, over the samples that show a labyrinth, and those in which one is
            drawn where there is none, which count as 0.
        iou: intersection over union of the same.
        heatmap_mse, heatmap_mae: against the present heatmaps.
        helicotrema_mm, oval_window_mm, round_window_mm: error of each landmark that lies inside its tile.
        score: what the best weights are chosen by.
    Figures that do not apply (no such head, no such sample) are NaN.
    """

    loss: float
    dice: float
    iou: float
    heatmap_mse: float
    heatmap_mae: float
    helicotrema_mm: float
    oval_window_mm: float
    round_window_mm: float
    score: float

    @staticmethod
    def names() -> tuple[str, ...]:
        """Names of the figures, in order."""
        return tuple(entry.name for entry in fields(ValidationFigures))


def dice_and_iou(predicted: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Dice and intersection over union of two boolean masks; NaN where both are empty."""
    both, either = int((predicted & truth).sum()), int((predicted | truth).sum())
    if not either:
        return float("nan"), float("nan")
    return 2 * both / (both + either), both / either


def validate(
    network: nn.Module,
    samples: Sequence[TrainingSample],
    loss: JointLoss,
    heatmap: HeatmapShape,
    spacing_mm: float,
    device: torch.device,
    autocast: torch.autocast,
) -> ValidationFigures:
    """Figures of a network over samples, one at a time.

    Args:
        network: gives a NetworkOutput; left in the mode in which it came.
        samples: the validation samples.
        loss: the training loss.
        heatmap: the heatmaps' present amplitude and spread.
        spacing_mm: voxel edge, for errors in millimetres.
        device: where the network is.
        autocast: precision of the forward pass.
    """
    was_training = network.training
    network.eval()
    rows = []
    with torch.no_grad():
        for sample in samples:
            batch = collate([sample]).to(device)
            with autocast:
                output = network(batch.image)
            row = dict.fromkeys(ValidationFigures.names(), float("nan"))
            row["loss"] = float(loss(output, batch, heatmap).total)
            if output.segmentation is not None:
                predicted = (output.segmentation[0, 0] > 0).cpu().numpy()
                row["dice"], row["iou"] = dice_and_iou(predicted, sample.labyrinth >= 0.5)
            if output.heatmaps is not None:
                truth = heatmap_truth(batch.landmarks_kji, output.heatmaps.shape[2:], heatmap, 1, device)
                row["heatmap_mse"] = float(heatmap_error(output.heatmaps, truth, batch.known))
                row["heatmap_mae"] = float(heatmap_error(output.heatmaps, truth, batch.known, power=1))
                row |= _landmark_errors(output.heatmaps[0].float().cpu().numpy(), sample, spacing_mm)
            rows.append(row)
    network.train(was_training)
    means = {name: _mean([row[name] for row in rows]) for name in ValidationFigures.names()}
    means["score"] = _score(means)
    return ValidationFigures(**means)


def _landmark_errors(heatmaps: np.ndarray, sample: TrainingSample, spacing_mm: float) -> dict[str, float]:
    errors = {}
    limit = np.array(heatmaps.shape[1:]) - 0.5
    for channel, name in enumerate(("helicotrema_mm", "oval_window_mm", "round_window_mm")):
        truths = sample.landmarks_kji[:, channel]
        inside = [t for t in truths if np.isfinite(t).all() and (t > -0.5).all() and (t < limit).all()]
        if inside and sample.known[channel]:
            found = decode_heatmap(heatmaps[channel]).index_kji
            errors[name] = spacing_mm * min(float(np.linalg.norm(found - t)) for t in inside)
    return errors


def _mean(values: list[float]) -> float:
    finite = [value for value in values if np.isfinite(value)]
    return float(np.mean(finite)) if finite else float("nan")


def _score(means: dict[str, float]) -> float:
    landmark = _mean([means[name] for name in ("helicotrema_mm", "oval_window_mm", "round_window_mm")])
    parts = [means["dice"], -landmark / MILLIMETRES_WORTH_ALL_OF_DICE]
    return float(sum(part for part in parts if np.isfinite(part)))
