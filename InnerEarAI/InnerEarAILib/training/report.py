"""What is said of a training between two reports."""

from __future__ import annotations

import time


class Report:
    """Losses and waiting times, added up since the report before.

    Args:
        processes: how many train together; each adds its own passes alone.
    """

    def __init__(self, processes: int) -> None:
        self._sums = [0.0, 0.0, 0.0, 0.0]
        self._count = 0
        self._processes = processes
        self._began = time.monotonic()

    def add(self, loss: float, segmentation: float, heatmap: float, waited: float) -> None:
        """A pass: its loss, the parts of it, and the seconds waited for its samples."""
        for place, value in enumerate((loss, segmentation, heatmap, waited)):
            self._sums[place] += value
        self._count += 1

    def means(self) -> dict[str, float]:
        """Values of the columns of the same names; there has been a pass."""
        seconds = max(time.monotonic() - self._began, 1e-9)
        loss, segmentation, heatmap, waited = self._sums
        return {
            "loss": loss / self._count,
            "segmentation_loss": segmentation / self._count,
            "heatmap_loss": heatmap / self._count,
            "iterations_per_second": self._processes * self._count / seconds,
            "waiting_share": waited / seconds,
        }

    def sentence(self, iteration: int, progress: float) -> str:
        """The line for a person; progress 0 to 1."""
        means = self.means()
        return (
            f"iteration {iteration} ({100 * progress:.0f} %): loss {means['loss']:.3f}, "
            f"segmentation {means['segmentation_loss']:.3f}, heatmaps {means['heatmap_loss']:.5f}; "
            f"{means['iterations_per_second']:.2f} it/s, {100 * means['waiting_share']:.0f} % waiting for samples"
        )
