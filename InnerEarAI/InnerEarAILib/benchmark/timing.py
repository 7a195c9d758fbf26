"""Runs to be timed: from a file on disk to result files, and the same tiles through others' inferers."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from InnerEarAILib.benchmark.contenders import MONAI, OURS, contenders
from InnerEarAILib.benchmark.measurement import (
    Durations,
    alternating,
    durations,
    peak_memory,
    product_tflops,
    tile_tflop,
)
from InnerEarAILib.inference.device import choose_precision
from InnerEarAILib.inference.tiling import locator_blocks, tile_volume
from InnerEarAILib.model_card import ModelCard
from InnerEarAILib.model_store import LOCATOR, load_card, load_network
from InnerEarAILib.preprocessing import lattice_grid, normalise, resample
from InnerEarAILib.progress import Progress
from InnerEarAILib.result_files import write_results
from InnerEarAILib.scan_files import read_volume
from InnerEarAILib.segmenter import segment
from InnerEarAILib.segmenter_options import SegmenterOptions
from InnerEarAILib.volume import Grid, Volume

STEP = "seconds."


@dataclass(frozen=True)
class RouteTiming:
    """One scan with one preset, from the file to the result files.

    Attributes:
        scan: its name.
        voxels: (k, j, i).
        field_mm: its extent along x, y, z.
        preset: of the segmenter.
        durations: of every run but the first, which prepares the device, where there are others.
        steps: median seconds of each step.
        ears: number of ears found.
        passes: tiles × views of the network that segments, for the ears that were found.
        blocks: blocks that the locator can search at most; 0 where it is not asked.
        precision: number format of the network that segments.
        host_gib: most memory of the process at any moment, Python and PyTorch too; None where the system does not tell.
        device_gib: most memory of tensors on a GPU; None on a CPU.
    """

    scan: str
    voxels: tuple[int, int, int]
    field_mm: tuple[float, float, float]
    preset: str
    durations: Durations
    steps: Mapping[str, float]
    ears: int
    passes: int
    blocks: int
    precision: str
    host_gib: float | None
    device_gib: float | None


@dataclass(frozen=True)
class Comparison:
    """The same tiles and views by the predictor and by others, in turns.

    Attributes:
        scan: its name.
        tiles: number of tiles.
        views: number of views.
        precision: number format of the predictor.
        durations: of every run, by contender.
        tflop: of one tile.
        product_tflops: what the processor does in a large matrix product of that format.
        largest_difference: of the probability from MONAI's, at any voxel.
    """

    scan: str
    tiles: int
    views: int
    precision: str
    durations: Mapping[str, Durations]
    tflop: float
    product_tflops: float
    largest_difference: float

    @property
    def tiles_per_second(self) -> float:
        """Tiles × views that the predictor does in a second."""
        return self.tiles * self.views / self.durations[OURS].median

    @property
    def tflops(self) -> float:
        """What the predictor achieves, merging and all."""
        return self.tiles_per_second * self.tflop


def timed_route(file: Path, options: SegmenterOptions, runs: int, device: torch.device, models: Path) -> RouteTiming:
    """Times the whole route; the results go to a folder beside the file.

    Args:
        file: a scan.
        options: of the segmenter.
        runs: at least 1.
        device: where they run.
        models: the store.
    """
    steps: list[dict[str, float]] = []
    times = []
    with peak_memory(device) as peaks:
        for _ in range(runs):
            begin, processor_begin = time.perf_counter(), time.process_time()
            volume = read_volume(file)
            reading = time.perf_counter() - begin
            result = segment(volume, options, models_directory=models)
            before_writing = time.perf_counter()
            if result.ears:
                write_results(result, file.parent / "results", volume.name, overwrite=True)
            times.append((time.perf_counter() - begin, time.process_time() - processor_begin))
            told = {key.removeprefix(STEP): value for key, value in result.provenance.items() if key.startswith(STEP)}
            writing = time.perf_counter() - before_writing
            steps.append({"reading": round(reading, 3), **told, "writing": round(writing, 3)})
    preset, grid = options.resolved(), volume.grid
    tiles = result.provenance.get("execution.tiles", 0)
    passes = tiles * (len(result.ears) * (1 + preset.views) if preset.locate else preset.views)
    blocks = _searched_blocks(grid, load_card(LOCATOR, models)) if preset.locate else 0
    return RouteTiming(
        volume.name,
        grid.shape,
        tuple(np.round(np.array(grid.shape[::-1]) * grid.spacing_mm, 1).tolist()),
        options.preset,
        durations(times[1:] or times),
        {step: round(statistics.median(run.get(step, 0.0) for run in steps[1:] or steps), 3) for step in steps[-1]},
        len(result.ears),
        passes,
        blocks,
        result.provenance.get("execution.precision", "none"),
        None if peaks.host_gib is None else round(peaks.host_gib, 2),
        None if peaks.device_gib is None else round(peaks.device_gib, 2),
    )


def compared(
    volume: Volume, card: ModelCard, views: int, whole: bool, runs: int, device: torch.device, progress: Progress
) -> Comparison:
    """The predictor beside MONAI's inferer and a plain loop: the same weights, tiles and views.

    Args:
        volume: a scan with an ear in its middle.
        card: of the model.
        views: 10 or 1.
        whole: the whole scan instead of the region round its middle.
        runs: of each; one more goes before, uncounted.
        device: where all compute.
        progress: told what is timed.
    """
    grid = _region(volume.grid, card)
    if whole:
        corners = volume.grid.corners_lps()
        grid = lattice_grid(corners.min(0), corners.max(0), card.spacing_mm, card.tile_voxels)
    voxels = normalise(resample(volume, grid))
    network = load_network(card, device)
    precision = choose_precision("auto", device, card.agreeing_precisions)
    ways = contenders(network, voxels, card, views, device)
    results = {}
    for name, way in ways.items():
        progress.step(f"{volume.name}, {views} view(s): {name}")
        results[name] = way()
    return Comparison(
        volume.name,
        len(tile_volume(voxels.shape, card.tile_voxels, card.overlap_voxels).starts_kji),
        views,
        precision,
        alternating(ways, runs),
        tile_tflop(network, card.tile_voxels),
        product_tflops(device, precision),
        float(np.abs(results[OURS] - results[MONAI]).max()),
    )


def _region(grid: Grid, card: ModelCard) -> Grid:
    edge = card.region_voxels
    return Grid.cube_round(grid.centre_lps, card.spacing_mm, edge)


def _searched_blocks(grid: Grid, locator: ModelCard) -> int:
    corners = grid.corners_lps()
    shape = lattice_grid(corners.min(0), corners.max(0), locator.spacing_mm, locator.tile_voxels).shape
    return len(locator_blocks(shape, locator.tile_voxels, locator.spacing_mm))
