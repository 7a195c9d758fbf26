"""Prediction of a whole volume: tiles × views, and the mean and standard deviation over the views.

For each view all tiles are predicted, turned back and merged by tile weight into one volume; the merged volumes of the
views go one after the other into a running mean and a running sum of squared deviations (Welford 1962), so that no more
than one of them is held. Memory is eleven volumes of float32 (image, tile weight, merged view 4, mean 4, deviation),
six with a single view, whatever the number of views and tiles, plus the network's own for one batch.
"""

from __future__ import annotations

import copy
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from InnerEarAILib.inference.augmentation import View, choose_views
from InnerEarAILib.inference.device import Precision, choose_precision
from InnerEarAILib.inference.tiling import TileWeights, Tiling, tile_volume, tile_weight
from InnerEarAILib.landmarks import REFINEMENT_RADIUS, HeatmapPeak, decode_heatmap
from InnerEarAILib.networks.dual_head_unet import NetworkOutput
from InnerEarAILib.progress import Progress

ViewPeak = HeatmapPeak
"""Where a landmark's heatmap is highest in the merged prediction of one view."""

TILE_VOXELS = 128
OVERLAP_VOXELS = 25
"""Stebani et al. 2023, "Data processing and augmentation" and "Results"."""

BATCH_SIZE = {"cuda": 4, "cpu": 1}
"""Tiles at a time on each kind of device; a CPU gains nothing from more than one."""

BATCHES_IN_FLIGHT = 2
"""CUDA batches queued before the host waits: enough to keep the device busy, few enough to cancel promptly."""


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
    view_peaks: tuple[tuple[ViewPeak, ...], ...]
    execution: Mapping[str, str | float | int | bool]


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


class _NotFiniteError(ArithmeticError):
    """The network's output has infinities or NaN."""


def memory_ladder(device: torch.device, precision: Precision, batch_size: int) -> tuple[ExecutionPlan, ...]:
    """The plans to try, each needing less memory on the device: results on the CPU, smaller batches, all on the CPU."""
    cpu = torch.device("cpu")
    plans = [ExecutionPlan(device, device, batch_size, precision)]
    if device != cpu:
        plans.append(replace(plans[-1], accumulators=cpu))
    while plans[-1].batch_size > 1:
        plans.append(replace(plans[-1], batch_size=plans[-1].batch_size // 2))
    if device != cpu:
        plans.append(ExecutionPlan(cpu, cpu, BATCH_SIZE["cpu"], "float32"))
    return tuple(plans)


def predict(
    network: nn.Module,
    voxels: np.ndarray,
    *,
    tile: int = TILE_VOXELS,
    overlap: int = OVERLAP_VOXELS,
    views: int = 10,
    device: torch.device | str = "cpu",
    progress: Progress = Progress(),
    batch_size: int | None = None,
    precision: str = "auto",
    agreeing_precisions: Sequence[str] = ("float32",),
    tile_weights: TileWeights = "gaussian",
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
        batch_size: tiles at a time; None for the device's usual one.
        precision: "auto", "float32", "bfloat16" or "float16" (inference.device.choose_precision).
        agreeing_precisions: formats that "auto" may choose from (ModelCard.agreeing_precisions).
        tile_weights: "gaussian" or "constant".

    Returns:
        The prediction on the grid of `voxels`.

    Raises:
        ValueError: if the voxels are not a finite volume, or an argument is not allowed.
        Cancelled: if the caller wants it to stop.
        torch.OutOfMemoryError: if even the last plan of the ladder needs too much.

    Source:
        Stebani et al. 2023, "Data processing and augmentation" (tiles, rotations, voxel-wise mean), Fig. 5 (deviation).
    """
    if voxels.ndim != 3 or not np.isfinite(voxels).all():
        raise ValueError(f"expected finite voxels (k, j, i), got shape {voxels.shape} or values that are not finite")
    begin = time.perf_counter()
    device = torch.device(device)
    work = _Work(
        network=network,
        voxels=np.ascontiguousarray(voxels, np.float32),
        tiling=tile_volume(voxels.shape, tile, overlap),
        weight=tile_weight(tile, tile_weights),
        views=choose_views(views),
        progress=progress,
    )
    usual = BATCH_SIZE.get(device.type, 1) if batch_size is None else batch_size
    chosen = choose_precision(precision, device, agreeing_precisions)
    plans = deque(memory_ladder(device, chosen, min(usual, len(work.tiling.starts_kji))))
    fallbacks: list[str] = []
    while True:
        plan = plans.popleft()
        try:
            merged = _merge_views(work, plan)
            break
        except _NotFiniteError:
            if plan.precision == "float32":
                raise ValueError("the network's output is not finite; its weights are unusable") from None
            sentence = f"The network overflowed in {plan.precision}; it goes on in float32."
            plans = deque(replace(other, precision="float32") for other in (plan, *plans))
        except (MemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error) or not plans:
                raise
            sentence = f"Memory did not suffice ({plan}); it goes on with: {plans[0]}."
        # Out here the failed attempt's traceback is gone, and with it the last references to its tensors.
        if device.type == "cuda":
            torch.cuda.empty_cache()
        progress.note(sentence)
        fallbacks.append(sentence)
    execution = {
        "device": str(plan.device),
        "accumulators": str(plan.accumulators),
        "precision": plan.precision,
        "batch_size": plan.batch_size,
        "tiles": len(work.tiling.starts_kji),
        "views": views,
        "fallbacks": " ".join(fallbacks) or "none",
        "seconds": round(time.perf_counter() - begin, 3),
    }
    return merged.to_prediction(work.tiling, execution)


@dataclass(frozen=True)
class _Work:
    """What is to be predicted, whatever the plan."""

    network: nn.Module
    voxels: np.ndarray
    tiling: Tiling
    weight: Tensor
    views: tuple[View, ...]
    progress: Progress


@dataclass
class _RunningMoments:
    """Mean over the views of all channels, and the squared deviations of the first, the probability."""

    has_segmentation: bool
    mean: Tensor | None = None
    squares: Tensor | None = None
    peaks: tuple[tuple[ViewPeak, ...], ...] = ()

    def add(self, merged: Tensor, more_follow: bool) -> None:
        """Takes in the merged prediction of one view, (c, k, j, i), and overwrites it with zeros."""
        self.peaks += (tuple(_peak(heatmap) for heatmap in merged[int(self.has_segmentation) :]),)
        if self.mean is None:
            self.mean = merged.clone() if more_follow else merged
            if self.has_segmentation and more_follow:
                self.squares = torch.zeros_like(merged[0])
        else:
            count = len(self.peaks)
            deviation = merged.sub_(self.mean)
            self.mean.add_(deviation, alpha=1 / count)
            if self.squares is not None:
                self.squares.addcmul_(deviation[0], deviation[0], value=(count - 1) / count)
        if more_follow:
            merged.zero_()

    def to_prediction(self, tiling: Tiling, execution: Mapping[str, str | float | int | bool]) -> Prediction:
        def on_volume(padded: Tensor) -> np.ndarray:
            return np.ascontiguousarray(tiling.unpad(padded).cpu().numpy())

        deviation = None if self.squares is None else self.squares.div_(len(self.peaks)).sqrt_()
        before = [before for before, _ in tiling.padding]
        peaks = tuple(
            tuple(
                ViewPeak(np.clip(peak.index_kji - before, 0, np.array(tiling.shape) - 1), peak.height) for peak in view
            )
            for view in self.peaks
        )
        heatmaps = self.mean[int(self.has_segmentation) :]
        return Prediction(
            # Merging rounds: a weighted mean of ones may come out as 1 + 1e-7.
            probability=on_volume(self.mean[0].clamp_(0, 1)) if self.has_segmentation else None,
            standard_deviation=None if deviation is None else on_volume(deviation),
            heatmaps=on_volume(heatmaps) if len(heatmaps) else None,
            view_peaks=peaks if len(heatmaps) else (),
            execution=execution,
        )


def _merge_views(work: _Work, plan: ExecutionPlan) -> _RunningMoments:
    tiling, dtype = work.tiling, getattr(torch, plan.precision)
    network = copy.deepcopy(work.network).eval()
    network.to(device=plan.device, dtype=dtype, memory_format=torch.channels_last_3d)
    image = tiling.pad(torch.from_numpy(work.voxels)).to(plan.accumulators)
    weight = work.weight.to(plan.accumulators)
    total_weight = tiling.total_weight(weight)
    batches = [
        tiling.starts_kji[first : first + plan.batch_size]
        for first in range(0, len(tiling.starts_kji), plan.batch_size)
    ]
    moments: _RunningMoments | None = None
    merged: Tensor | None = None
    pace = _Pace(plan.device)
    with torch.no_grad():
        for view_number, view in enumerate(work.views):
            for batch_number, starts in enumerate(batches):
                done = view_number * len(batches) + batch_number
                work.progress.step("Segmenting", done / (len(work.views) * len(batches)))
                tiles = torch.stack([image[tiling.window(start)] for start in starts])[:, None]
                tiles = view.apply(tiles.to(plan.device, dtype))
                output = network(tiles.contiguous(memory_format=torch.channels_last_3d))
                maps = view.invert(_maps(output)).to(plan.accumulators)
                if moments is None or merged is None:
                    moments = _RunningMoments(has_segmentation=output.segmentation is not None)
                    merged = torch.zeros((maps.shape[1], *tiling.padded_shape), device=plan.accumulators)
                for start, of_tile in zip(starts, maps, strict=True):
                    merged[(slice(None), *tiling.window(start))].addcmul_(of_tile, weight)
                pace.keep()
            merged.div_(total_weight)
            if not torch.isfinite(merged.sum()):
                raise _NotFiniteError
            moments.add(merged, more_follow=view_number + 1 < len(work.views))
    work.progress.step("Segmenting", 1.0)
    return moments


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


def _maps(output: NetworkOutput) -> Tensor:
    """Probability (if any) and heatmaps (if any) as channels of one float32 tensor, (b, c, n, n, n)."""
    parts = []
    if output.segmentation is not None:
        if output.segmentation.shape[1] != 1:
            raise ValueError(f"one segmentation channel is expected, the network has {output.segmentation.shape[1]}")
        parts.append(torch.sigmoid(output.segmentation.float()))
    if output.heatmaps is not None:
        parts.append(output.heatmaps.float())
    return torch.cat(parts, dim=1)


def _peak(heatmap: Tensor) -> ViewPeak:
    """Peak of a heatmap on any device; only the neighbourhood of its maximum leaves the device."""
    top = np.array(np.unravel_index(int(heatmap.argmax()), tuple(heatmap.shape)))
    start = np.maximum(top - REFINEMENT_RADIUS, 0)
    near = heatmap[tuple(slice(a, b) for a, b in zip(start, top + REFINEMENT_RADIUS + 1, strict=True))]
    peak = decode_heatmap(near.cpu().numpy())
    return ViewPeak(peak.index_kji + start, peak.height)


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    # The CPU allocator and cuDNN raise plain RuntimeErrors.
    return any(text in str(error) for text in ("not enough memory", "out of memory", "CUDNN_STATUS_ALLOC_FAILED"))
