"""What a training run leaves on disk.

RUN/configuration.toml   what was asked for, complete: train RUN/configuration.toml --resume goes on
RUN/run.json             and with which data set, fold, first weights and folder of prepared scans
RUN/metrics.csv          one row a report
RUN/curves.png           the same as curves, if matplotlib is installed
RUN/tensorboard          the same for TensorBoard, if it is installed
RUN/checkpoint.safetensors   everything that --resume needs
RUN/last, RUN/best       model folders: card and weights
"""

from __future__ import annotations

import csv
import json
import os
import tomllib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

from InnerEarAILib.training.toml_text import toml_text
from InnerEarAILib.volume import InputError
from InnerEarAILib.whole_files import replacing, unfinished_folder

CONFIGURATION_FILE = "configuration.toml"

RUN_FILE = "run.json"


def make_folder(folder: Path) -> None:
    """Makes a folder unless it is there, and tries whether it can be written to.

    Raises:
        InputError: if it cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with unfinished_folder(folder):
            pass
    except OSError as error:
        why = "is a file" if os.path.isfile(folder) else f"cannot be made or written to ({error.strerror})"
        raise InputError(f"{folder} {why}; name another folder.") from error


def write_configuration(folder: Path, table: Mapping[str, Any]) -> None:
    """Writes the configuration that a run was begun with, `like` no other one, whole or not at all.

    A file that says the same already is left as it is, with its comments.

    Args:
        folder: the run folder.
        table: as configuration.read_table gives it.
    """
    path = folder / CONFIGURATION_FILE
    with suppress(OSError, ValueError):
        if tomllib.loads(path.read_text(encoding="utf-8-sig")) == table:
            return
    with replacing(path) as unfinished:
        unfinished.write_text(toml_text(table), encoding="utf-8")


def write_run(folder: Path, told: Mapping[str, Any]) -> None:
    """Writes what a run was begun with, JSON-able, whole or not at all."""
    with replacing(folder / RUN_FILE) as unfinished:
        unfinished.write_text(json.dumps(told, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_run(folder: Path) -> dict[str, Any]:
    """What `write_run` wrote; nothing where it is not there or damaged."""
    try:
        told = json.loads((folder / RUN_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}


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


def set_aside_damaged(path: Path) -> Path | None:
    """Renames a metrics table that cannot be read, as after a spreadsheet has saved it with semicolons.

    Returns:
        Its new path; None where it can be read or is not there.
    """
    if not path.is_file() or _is_readable(path):
        return None
    names = (path.with_name(f"{path.stem}-damaged-{number}{path.suffix}") for number in count(1))
    aside = next(name for name in names if not name.exists())
    os.replace(path, aside)
    return aside


def _is_readable(path: Path) -> bool:
    try:
        return all("iteration" in row for row in read_metrics(path))
    except (ValueError, TypeError, csv.Error):  # of cells that are no numbers, and of more cells than columns
        return False


def read_metrics(path: Path) -> list[dict[str, float]]:
    """The rows of a metrics table; empty cells are left out."""
    with open(path, newline="", encoding="utf-8-sig") as file:  # as spreadsheets save it
        return [
            {name: float(cell) for name, cell in row.items() if cell not in ("", None)} for row in csv.DictReader(file)
        ]


def _written(row: Mapping[str, float]) -> dict[str, str]:
    return {name: f"{value:.6g}" for name, value in row.items() if value == value}
