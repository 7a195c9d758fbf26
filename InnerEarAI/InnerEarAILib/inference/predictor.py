"""Prediction of a whole volume: tiles × views, and the mean and standard deviation over the views.

The memory needed is that of the image, of the result (in a file where it is large), of one slab of tiles (merging) and
of the network for one batch (execution).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from InnerEarAILib.inference.augmentation import View, choose_views
from InnerEarAILib.inference.device import choose_precision
from InnerEarAILib.inference.execution import cudnn_settings, outputs
from InnerEarAILib.inference.execution_plan import ExecutionPlan, first_that_fits, memory_ladder, usual_batch_size
from InnerEarAILib.inference.merging import MergedViews
from InnerEarAILib.inference.prepared_network import prepared_network
from InnerEarAILib.inference.tiling import Slab, Tiling, tile_volume, tile_weight
from InnerEarAILib.landmarks import HeatmapPeak
from InnerEarAILib.networks.subvoxels import computed_edge
from InnerEarAILib.progress import Progress

TILE_VOXELS = 128
OVERLAP_VOXELS = 25
"""Stebani et al. 2023, "Data processing and augmentation" and "Results". The one has a stride of 25 voxels, the other
an overlap of 25 voxels; the overlap is taken, since that stride looks at every voxel from up to 216 tiles."""


@dataclass(frozen=True)
class Prediction:
    """What a network says about a volume of shape (k, j, i).

    Attributes:
        probability: of labyrinth, mean over the views, (k, j, i) float32, 0 to 1; None without a segmentation head.
        standard_deviation: of the probability over the views (population), (k, j, i) float32, 0 to 0.5; None with a
            single view or without a segmentation head.
        heatmaps: mean over the views, (landmarks, k, j, i) float32; None without a heatmap head.
        view_peaks: for each view, for each landmark, the peak of that view's own heatmap; empty without a heatmap head.
        execution: how it was computed, flat and JSON-able: device, accumulators, precision, batch_size, tiles, views,
            fallbacks (sentences, or "none"), seconds.
    """

    probability: np.ndarray | None
    standard_deviation: np.ndarray | None
    heatmaps: np.ndarray | None
    view_peaks: tuple[tuple[HeatmapPeak, ...], ...]
    execution: Mapping[str, str | float | int | bool]


def predict(
    network: nn.Module,
    voxels: np.ndarray,
    *,
    tile: int = TILE_VOXELS,
    overlap: int = OVERLAP_VOXELS,
    views: int = 10,
    device: torch.device | str = "cpu",
    progress: Progress = Progress(),
    precision: str = "auto",
    agreeing_precisions: Sequence[str] = ("float32",),
    heatmaps: bool = True,
) -> Prediction:
    """Labyrinth probability, its standard deviation and the landmark heatmaps of a volume.

    Args:
        network: gives a NetworkOutput for (b, 1, n, n, n); a copy of it is moved and put into evaluation mode.
        voxels: normalised intensities (k, j, i), any size; where smaller than a tile it is surrounded by zeros.
        tile: edge length of the tiles, voxels.
        overlap: voxels that neighbouring tiles share.
        views: 10 (the paper's rotations) or 1.
        device: where to start on the memory ladder.
        progress: told and asked before each batch; hears a sentence for each step down the ladder.
        precision: "auto", "float32", "bfloat16" or "float16" (inference.device.choose_precision).
        agreeing_precisions: formats that "auto" may choose from (ModelCard.agreeing_precisions).
        heatmaps: False does without the landmarks where the network can, which is faster.

    Returns:
        The prediction on the grid of `voxels`.

    Raises:
        ValueError: if the voxels are not a finite volume, or an argument is not allowed.
        Cancelled: if the caller wants it to stop.
        RuntimeError: if even the last plan of the ladder needs too much memory; see inference.memory.

    Source:
        Stebani et al. 2023, "Data processing and augmentation" (tiles, rotations, voxel-wise mean), Fig. 5 (deviation).
    """
    if voxels.ndim != 3 or not np.isfinite(voxels).all():
        raise ValueError(f"expected finite voxels (k, j, i), got shape {voxels.shape} or values that are not finite")
    begin = time.perf_counter()
    device = torch.device(device)
    work = _Work(
        voxels=np.ascontiguousarray(voxels, np.float32),
        tiling=tile_volume(voxels.shape, tile, overlap),
        weight=tile_weight(tile),
        views=choose_views(views),
        progress=progress,
    )
    jobs = len(work.tiling.starts_kji) * views
    batch_size = min(usual_batch_size(device, computed_edge(network, tile)), jobs)
    chosen = choose_precision(precision, device, agreeing_precisions)
    outcome = first_that_fits(
        lambda plan: _merged(work, plan, prepared_network(network, plan, heatmaps)),
        memory_ladder(device, chosen, batch_size),
        progress,
    )
    merged, plan = outcome.result, outcome.plan
    progress.step("Segmenting", 1.0)
    first = int(merged.has_segmentation)
    has_heatmaps = len(merged.mean) > first
    return Prediction(
        probability=merged.mean[0] if first else None,
        standard_deviation=merged.deviation,
        heatmaps=merged.mean[first:] if has_heatmaps else None,
        view_peaks=merged.view_peaks if has_heatmaps else (),
        execution={
            "device": str(plan.device),
            "accumulators": str(plan.accumulators),
            "precision": plan.precision,
            "batch_size": plan.batch_size,
            "tiles": len(work.tiling.starts_kji),
            "views": views,
            "fallbacks": " ".join(outcome.fallbacks) or "none",
            "seconds": round(time.perf_counter() - begin, 3),
        },
    )


@dataclass(frozen=True)
class _Work:
    """What is to be predicted, whatever the plan."""

    voxels: np.ndarray
    tiling: Tiling
    weight: Tensor
    views: tuple[View, ...]
    progress: Progress


@dataclass(frozen=True)
class _Job:
    """One view of one tile."""

    slab: Slab
    start_kji: tuple[int, int, int]
    view: View
    ends_view: bool
    ends_slab: bool


def _merged(work: _Work, plan: ExecutionPlan, network: nn.Module) -> MergedViews:
    """All tiles of all views, slab by slab; a batch may hold tiles of several views."""
    tiling = work.tiling
    jobs = _jobs(tiling, work.views)
    batches = [jobs[first : first + plan.batch_size] for first in range(0, len(jobs), plan.batch_size)]
    image = tiling.pad(torch.from_numpy(work.voxels)).to(plan.accumulators, getattr(torch, plan.precision))
    merged: MergedViews | None = None
    sums = None
    with torch.no_grad(), cudnn_settings(plan, len(batches)):
        for batch, maps, has_segmentation in outputs(network, _cut(image, tiling, batches, work.progress), plan):
            if merged is None:
                merged = MergedViews(tiling, work.weight.to(plan.accumulators), len(work.views), has_segmentation)
            for job, of_tile in zip(batch, maps, strict=True):
                sums = merged.begin(job.slab) if sums is None else sums
                sums.add(job.start_kji, job.view.invert(of_tile))
                if job.ends_view:
                    sums.end_view()
                if job.ends_slab:
                    sums = None
    return merged


def _jobs(tiling: Tiling, views: Sequence[View]) -> list[_Job]:
    return [
        _Job(slab, start, view, start is slab.starts_kji[-1], start is slab.starts_kji[-1] and view is views[-1])
        for slab in tiling.slabs
        for view in views
        for start in slab.starts_kji
    ]


def _cut(
    image: Tensor, tiling: Tiling, batches: Sequence[Sequence[_Job]], progress: Progress
) -> Iterator[tuple[Sequence[_Job], Tensor]]:
    """The turned tiles of each batch, (b, 1, n, n, n)."""
    for number, batch in enumerate(batches):
        progress.step("Segmenting", number / len(batches))
        yield batch, torch.stack([job.view.apply(image[tiling.window(job.start_kji)]) for job in batch])[:, None]
