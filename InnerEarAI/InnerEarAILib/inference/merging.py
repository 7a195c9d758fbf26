"""Merging tiles into the mean and standard deviation over the views, slab by slab.

Within a slab the tiles of one view are added up, weighted; what the next slab still touches is kept for it, of every
view; the rest is divided by the weights and goes into a running mean and a running sum of squared deviations (Welford
1962), which leave the device when all views have been in. So the working memory depends on the scan's cross-section and
the tile, whatever the number of tiles and views and the length of the scan.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from InnerEarAILib.inference.execution_plan import NotFiniteError
from InnerEarAILib.inference.tiling import Slab, Tiling
from InnerEarAILib.landmarks import REFINEMENT_RADIUS, HeatmapPeak, decode_heatmap
from InnerEarAILib.volume import InputError

LARGEST_IN_MEMORY_BYTES = 2**29
"""Larger results, and what slabs hand on to each other, lie in temporary files that are mapped into memory; ours."""


class NoRoomError(InputError):
    """A large result has no room on the disk, which says nothing of the scan: another time it may have."""


@dataclass
class MergedViews:
    """The merged prediction of a volume, as it grows.

    Attributes:
        tiling: of the volume.
        tile_weight: (n, n, n), on the device where tiles are merged.
        view_count: views that will be added to every slab.
        has_segmentation: whether the first channel is the probability.
        mean: over the views, (c, k, j, i) of the unpadded volume; None before the first slab is done.
        deviation: standard deviation of the first channel over the views, (k, j, i); None without a segmentation or
            with a single view.
        pending: for each view, the sums of planes that the next slab touches too, (c, k, j, i); None before the first.
        pending_weight: the sum of their tile weights.
        peaks: for each view, its peaks so far.
    """

    tiling: Tiling
    tile_weight: Tensor
    view_count: int
    has_segmentation: bool
    mean: np.ndarray | None = None
    deviation: np.ndarray | None = None
    pending: list[Tensor | None] = field(init=False)
    pending_weight: Tensor | None = field(default=None, init=False)
    peaks: list[_ViewPeaks] = field(init=False)

    def __post_init__(self) -> None:
        self.pending = [None] * self.view_count
        self.peaks = [_ViewPeaks() for _ in range(self.view_count)]

    @property
    def view_peaks(self) -> tuple[tuple[HeatmapPeak, ...], ...]:
        """For each view, for each heatmap, where it is highest in the unpadded volume."""
        before = np.array([before for before, _ in self.tiling.padding])
        inside = np.array(self.tiling.shape) - 1
        return tuple(
            tuple(HeatmapPeak(np.clip(peak.index_kji - before, 0, inside), peak.height) for peak in view.peaks)
            for view in self.peaks
        )

    def begin(self, slab: Slab) -> SlabSums:
        """The sums of a slab; slabs come in the order of the tiling."""
        _, *plane = self.tiling.padded_shape
        weight = self.tile_weight.new_zeros((slab.stop - slab.first, *plane))
        if self.pending_weight is not None:
            weight[: len(self.pending_weight)] = self.pending_weight
        for start in slab.starts_kji:
            weight[_within(slab, start, self.tiling)] += self.tile_weight
        self.pending_weight = weight[slab.final - slab.first :].clone()
        return SlabSums(self, slab, weight[: slab.final - slab.first])

    def set_aside(self, view: int, sums: Tensor) -> None:
        """Keeps what the next slab touches too, of one view; on the host in a file where that of all views is large."""
        if sums.device.type == "cpu":
            self.pending[view] = torch.from_numpy(_large_array(tuple(sums.shape), self.view_count)).copy_(sums)
        else:
            self.pending[view] = sums.clone()

    def keep(self, slab: Slab, mean: Tensor, squares: Tensor | None) -> None:
        """Takes the finished planes of a slab: mean (c, k, j, i) and squared deviations (k, j, i) over the views."""
        (before, _), _, _ = self.tiling.padding
        planes = slice(max(slab.first - before, 0), min(slab.final - before, self.tiling.shape[0]))
        inner = (slice(planes.start + before - slab.first, planes.stop + before - slab.first),)
        if self.mean is None:
            self.mean = _large_array((len(mean), *self.tiling.shape))
            self.deviation = None if squares is None else _large_array(self.tiling.shape)
        if self.has_segmentation:
            mean[0].clamp_(0, 1)  # merging rounds: a weighted mean of ones may come out as 1 + 1e-7
        for channel, of_channel in enumerate(mean):
            self.mean[channel, planes] = self._on_plane(of_channel[inner])
        if squares is not None:
            self.deviation[planes] = self._on_plane(squares.div_(self.view_count).sqrt_()[inner])

    def _on_plane(self, values: Tensor) -> np.ndarray:
        (_, (j, _), (i, _)), (_, height, width) = self.tiling.padding, self.tiling.shape
        return values[:, j : j + height, i : i + width].cpu().numpy()


@dataclass
class SlabSums:
    """Weighted sums of the tiles of a slab, one view after the other.

    Attributes:
        merged: the volume that the slab belongs to.
        slab: which.
        weight: sum of the tile weights on the planes that this slab finishes.
    """

    merged: MergedViews
    slab: Slab
    weight: Tensor
    _sums: Tensor | None = None
    _mean: Tensor | None = None
    _squares: Tensor | None = None
    _views_done: int = 0

    def add(self, start_kji: tuple[int, int, int], maps: Tensor) -> None:
        """Adds a tile's maps, (c, n, n, n), turned back into the volume's own orientation, to the view under way."""
        tiling = self.merged.tiling
        if self._sums is None:
            _, *plane = tiling.padded_shape
            self._sums = maps.new_zeros((len(maps), self.slab.stop - self.slab.first, *plane))
            self._begin_with_pending()
        self._sums[(slice(None), *_within(self.slab, start_kji, tiling))].addcmul_(maps, self.merged.tile_weight)

    def end_view(self) -> None:
        """All tiles of the view have been added; with the last view the slab is finished.

        Raises:
            NotFiniteError: if the network's output has infinities or NaN.
        """
        height, view = self.slab.final - self.slab.first, self._views_done
        more_follow = view + 1 < self.merged.view_count
        self.merged.set_aside(view, self._sums[:, height:])
        finished = self._sums[:, :height].div_(self.weight)
        if not torch.isfinite(finished.sum()):
            raise NotFiniteError
        last = self.slab.final == self.merged.tiling.padded_shape[0]
        self.merged.peaks[view].look(finished[int(self.merged.has_segmentation) :], self.slab.first, last)
        self._add_moments(finished, more_follow)
        self._views_done += 1
        if more_follow:
            self._sums.zero_()
            self._begin_with_pending()
        else:
            self.merged.keep(self.slab, self._mean, self._squares)

    def _begin_with_pending(self) -> None:
        pending = self.merged.pending[self._views_done]
        if pending is not None:
            self._sums[:, : pending.shape[1]] = pending

    def _add_moments(self, finished: Tensor, more_follow: bool) -> None:
        """Takes in the merged prediction of one view, and overwrites it."""
        if self._mean is None:
            self._mean = finished.clone() if more_follow else finished
            if self.merged.has_segmentation and more_follow:
                self._squares = torch.zeros_like(finished[0])
            return
        count = self._views_done + 1
        deviation = finished.sub_(self._mean)
        self._mean.add_(deviation, alpha=1 / count)
        if self._squares is not None:
            self._squares.addcmul_(deviation[0], deviation[0], value=(count - 1) / count)


@dataclass
class _ViewPeaks:
    """The highest place of each heatmap of one view in the padded volume, while its planes come in slab after slab.

    A place counts when the planes on both sides of it are known, as far as refinement looks.
    """

    peaks: list[HeatmapPeak] = field(default_factory=list)
    _heights: list[float] = field(default_factory=list)
    _near_end: Tensor | None = None
    _next: int = 0

    def look(self, heatmaps: Tensor, first: int, last: bool) -> None:
        """Looks at the planes (landmarks, k, j, i) that begin with plane `first`; `last`: no more will come."""
        if self._near_end is not None:
            first -= self._near_end.shape[1]
            heatmaps = torch.cat((self._near_end, heatmaps), dim=1)
        end = first + heatmaps.shape[1]
        stop = end if last else max(end - REFINEMENT_RADIUS, self._next)
        if stop > self._next:
            for channel, heatmap in enumerate(heatmaps):
                self._compare(channel, heatmap, first, stop)
            self._next = stop
        if not last:
            self._near_end = heatmaps[:, max(self._next - REFINEMENT_RADIUS - first, 0) :].clone()

    def _compare(self, channel: int, heatmap: Tensor, first: int, stop: int) -> None:
        among = heatmap[self._next - first : stop - first]
        top = np.array(np.unravel_index(int(among.argmax()), tuple(among.shape)))
        top[0] += self._next - first
        height = float(heatmap[tuple(top)])
        if channel < len(self.peaks) and height <= self._heights[channel]:
            return
        # Only the neighbourhood of the maximum leaves the device.
        start = np.maximum(top - REFINEMENT_RADIUS, 0)
        near = heatmap[tuple(slice(a, b) for a, b in zip(start, top + REFINEMENT_RADIUS + 1, strict=True))]
        refined = decode_heatmap(near.cpu().numpy())
        start[0] += first
        peak = HeatmapPeak(refined.index_kji + start, refined.height)
        self.peaks[channel : channel + 1] = [peak]
        self._heights[channel : channel + 1] = [height]


def _within(slab: Slab, start_kji: tuple[int, int, int], tiling: Tiling) -> tuple[slice, slice, slice]:
    k, j, i = start_kji
    return tiling.window((k - slab.first, j, i))


def _large_array(shape: tuple[int, ...], count: int = 1) -> np.ndarray:
    """A float32 array, in memory, or in a nameless temporary file where `count` of them are large."""
    size = 4 * int(np.prod(shape, dtype=np.int64))
    if size == 0 or count * size <= LARGEST_IN_MEMORY_BYTES:
        return np.empty(shape, np.float32)
    with tempfile.TemporaryFile(prefix="inner-ear-ai-") as file:
        if hasattr(os, "posix_fallocate"):
            # A map into a file that the disk has no room for ends the process at the first write.
            try:
                os.posix_fallocate(file.fileno(), 0, size)
            except OSError as error:
                raise NoRoomError(
                    f"The folder for temporary files, {tempfile.gettempdir()}, has no room for {size / 2**30:.1f} GiB; "
                    "free some, set TMPDIR to another folder, or crop the scan to the temporal bone."
                ) from error
        return np.memmap(file, np.float32, "w+", shape=shape)
