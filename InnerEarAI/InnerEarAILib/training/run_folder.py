"""What a training run leaves on disk.

RUN/configuration.toml   what was asked for, complete: train RUN/configuration.toml --resume goes on
RUN/run.json             and with which data set, fold and first weights
RUN/metrics.csv          one row a report
RUN/curves.png           the same as curves, if matplotlib is installed
RUN/tensorboard          the same for TensorBoard, if it is installed
RUN/checkpoint.safetensors   everything that --resume needs
RUN/last, RUN/best       model folders: card and weights
"""

from __future__ import annotations

import csv
import json
import tomllib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from InnerEarAILib.training.toml_text import toml_text
from InnerEarAILib.whole_files import replacing

CONFIGURATION_FILE = "configuration.toml"

RUN_FILE = "run.json"


def write_configuration(folder: Path, table: Mapping[str, Any]) -> None:
    """Writes the configuration that a run was begun with, `like` no other one, whole or not at all.

    A file that says the same already is left as it is, with its comments.

    Args:
        folder: the run folder.
        table: as configuration.read_table gives it.
    """
    path = folder / CONFIGURATION_FILE
    with suppress(OSError, ValueError):
        if tomllib.loads(path.read_text(encoding="utf-8")) == table:
            return
    with replacing(path) as unfinished:
        unfinished.write_text(toml_text(table), encoding="utf-8")


def write_run(folder: Path, told: Mapping[str, Any]) -> None:
    """Writes what a run was begun with, JSON-able, whole or not at all."""
    with replacing(folder / RUN_FILE) as unfinished:
        unfinished.write_text(json.dumps(told, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


class MetricsTable:
    """A growing CSV table whose rows carry an iteration."""

    def __init__(self, path: Path, columns: Sequence[str], keep_until: int | None = None) -> None:
        """Opens or begins the table.

        Args:
            path: the CSV file.
            columns: its columns; the first is "iteration".
            keep_until: rows of later iterations are dropped (a resumed run repeats them); None begins anew.
        """
        self._path, self._columns = path, tuple(columns)
        kept = []
        if keep_until is not None and path.is_file():
            kept = [row for row in read_metrics(path) if row["iteration"] <= keep_until]
        with replacing(path) as unfinished, open(unfinished, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self._columns, restval="", extrasaction="ignore")
            writer.writeheader()
            writer.writerows(_written(row) for row in kept)

    def append(self, row: Mapping[str, float]) -> None:
        """Adds a row; columns that it lacks stay empty."""
        with open(self._path, "a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, self._columns, restval="", extrasaction="raise").writerow(_written(row))


def read_metrics(path: Path) -> list[dict[str, float]]:
    """The rows of a metrics table; empty cells are left out."""
    with open(path, newline="", encoding="utf-8") as file:
        return [
            {name: float(cell) for name, cell in row.items() if cell not in ("", None)} for row in csv.DictReader(file)
        ]


def _written(row: Mapping[str, float]) -> dict[str, str]:
    return {name: f"{value:.6g}" for name, value in row.items() if value == value}
