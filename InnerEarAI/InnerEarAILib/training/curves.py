"""Curves of a training run: a picture, and TensorBoard where that is installed."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from InnerEarAILib.training.run_folder import read_metrics
from InnerEarAILib.whole_files import replacing

PANELS = (
    ("Loss", ("loss", "segmentation_loss", "validation_loss")),
    ("Overlap", ("validation_dice", "validation_iou")),
    ("Landmark error (mm)", ("validation_helicotrema_mm", "validation_oval_window_mm", "validation_round_window_mm")),
    ("Learning rate", ("learning_rate",)),
    ("Heatmap amplitude, spread (voxels)", ("heatmap_amplitude", "heatmap_spread")),
    ("Iterations/s, share of time waiting", ("iterations_per_second", "waiting_share")),
)
"""Title, and the columns of the metrics table drawn together."""

DRAWN_EVERY_SECONDS = 60.0
"""Drawing takes about a second, which a run with frequent validations should not spend each time."""


class CurvesPicture:
    """RUN/curves.png while a run goes on. What goes wrong is said alone, since a picture is not worth a training."""

    def __init__(self, folder: Path, say: Callable[[str], None]) -> None:
        self._folder, self._say = folder, say
        self._drawn = time.monotonic()

    def keep_up(self) -> None:
        """Draws the picture, unless that was done less than DRAWN_EVERY_SECONDS ago."""
        if time.monotonic() - self._drawn >= DRAWN_EVERY_SECONDS:
            self.draw()

    def draw(self) -> None:
        """Draws the picture."""
        try:
            draw_curves(self._folder)
        except Exception as error:
            self._say(f"  curves.png could not be drawn: {error}")
        self._drawn = time.monotonic()


def draw_curves(folder: Path) -> Path | None:
    """Draws RUN/metrics.csv as RUN/curves.png.

    Returns:
        The picture; None if matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return None
    rows = read_metrics(folder / "metrics.csv")
    figure = Figure(figsize=(12, 7), layout="constrained")
    for axes, (title, columns) in zip(figure.subplots(2, 3).flat, PANELS, strict=True):
        for column in columns:
            points = [(row["iteration"], row[column]) for row in rows if column in row]
            if points:
                axes.plot(
                    *zip(*points, strict=True), label=column.replace("_", " "), marker="." if len(points) < 30 else None
                )
        axes.set(title=title, xlabel="iteration")
        if axes.lines:
            axes.legend(fontsize="small")
    path = folder / "curves.png"
    with replacing(path) as unfinished:
        figure.savefig(unfinished, dpi=100)
    return path


class TensorBoard:
    """Writes rows of the metrics table for TensorBoard; does nothing where TensorBoard is not installed."""

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            self._writer = None
        else:
            self._writer = SummaryWriter(str(folder / "tensorboard"))

    def append(self, row: Mapping[str, float]) -> None:
        """Adds the row's values at its iteration."""
        if self._writer is None:
            return
        for name, value in row.items():
            if name != "iteration" and value == value:
                self._writer.add_scalar(name, value, int(row["iteration"]))
        self._writer.flush()
