"""What a user finds in the output folder: the set of files of one scan, written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from InnerEarAILib.ear_result import EarResult, ScanResult
from InnerEarAILib.file_names import check_name
from InnerEarAILib.labyrinth_files import write_labyrinths
from InnerEarAILib.landmark_files import write_json, write_landmarks
from InnerEarAILib.preprocessing import resample
from InnerEarAILib.scan_files import write_volume
from InnerEarAILib.volume import Grid, InputError, Volume
from InnerEarAILib.whole_files import replacing_set, unfinished_folder

RESULT_FORMAT = "InnerEarAI result 1"
"""First line of NAME_result.json; the number rises when the meaning of a field changes."""

NOTICE = "For research use; not a medical device."
"""Stands in every result file."""

LONGEST_SHOWN_PATH = 100
"""Characters of a path that a sentence shows where it is too long to be made; ours."""

UNCERTAINTY_MEANING = "standard deviation of the label: √(p (1 − p)), p the probability, mean over the views"
"""What the map of uncertainty holds (inference.uncertainty)."""

_SIDES = ("right", "left")


def result_file_names(name: str) -> tuple[str, ...]:
    """Every file that the results of a scan of this name can have."""
    return (
        f"{name}_labyrinth.seg.nrrd",
        *(f"{name}_landmarks_{side}.mrk.json" for side in _SIDES),
        *(f"{name}_uncertainty_{side}.nrrd" for side in _SIDES),
        f"{name}_result.json",
    )


def check_output(directory: Path, name: str, overwrite: bool = False) -> None:
    """Makes sure, before any work, that results of this name may be written to a folder; changes nothing.

    Args:
        directory: need not exist.
        name: what the files' names begin with.
        overwrite: whether earlier results of the same name may go.

    Raises:
        InputError: see check_folder; the name is too long for a file, or there are results of this name.
    """
    if name in ("", ".", "..") or name != Path(name).name or "\\" in name:
        raise InputError(f"Results cannot be named “{name}”; choose a name that can be the beginning of a file name.")
    nearest = check_folder(directory)
    try:
        # Where the folder is yet to be made, the one above it knows how long a name may be.
        existing = [file for file in result_file_names(name) if _is_there(nearest / file) and nearest == directory]
    except OSError as error:
        raise InputError(
            f"The name of the scan, {name[:20]}…, cannot begin the names of its results ({error.strerror}); "
            "give the scan a shorter name."
        ) from error
    if existing and not overwrite:
        raise _already_there(directory, name, existing[0])


def _already_there(directory: Path, name: str, file: str) -> InputError:
    return InputError(
        f"There are results of {name} in {directory} already ({file}); "
        "choose another folder, or allow overwriting (--overwrite)."
    )


def has_results(directory: Path, name: str) -> bool:
    """Whether a folder holds any file of the results of a scan of this name."""
    return any(_is_there(directory / file) for file in result_file_names(name))


def check_folder(directory: Path) -> Path:
    """Makes sure that a folder is there or can be made, and may be written to; leaves nothing there.

    Returns:
        The folder, or the nearest above it that is there.

    Raises:
        InputError: a file or a link that leads nowhere is in its place or above it, it may not be written to, or its
            name is none, too long or not UTF-8.
    """
    check_name(directory)
    nearest = directory
    while not os.path.lexists(nearest) and nearest != nearest.parent:
        nearest = nearest.parent
    if not os.path.exists(nearest):
        raise InputError(f"{nearest} is a link that leads nowhere; choose another place for the results.")
    if not nearest.is_dir():
        raise InputError(f"{nearest} is a file, not a folder; choose another place for the results.")
    try:
        # Tried: os.access knows nothing of the rights that Windows gives.
        with unfinished_folder(nearest):
            pass
    except OSError as error:
        raise InputError(
            f"You may not write to {nearest} ({error.strerror}); choose another place for the results."
        ) from error
    try:
        _is_there(directory)
        for part in directory.relative_to(nearest).parts:
            _is_there(nearest / part)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", error)
        raise InputError(f"The folder {_shortened(directory)} cannot be made ({reason}); choose another.") from error
    return nearest


def _shortened(path: Path) -> str:
    text = str(path)
    return text if len(text) <= LONGEST_SHOWN_PATH else f"{text[: LONGEST_SHOWN_PATH - 1]}…"


def _is_there(path: Path) -> bool:
    """Unlike Path.exists, never silent about a name that is too long, in any version of Python."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def write_results(scan_result: ScanResult, directory: Path, name: str, overwrite: bool = False) -> tuple[Path, ...]:
    """Writes the results of a scan as a set: all of its files, or none.

    Earlier results of the same name come back if anything fails, also where Ctrl-C is the cause.

    Args:
        scan_result: with at least one ear.
        directory: made if it does not exist.
        name: what the files' names begin with.
        overwrite: whether earlier results of the same name may go.

    Returns:
        The files written, in the order of result_file_names.

    Raises:
        InputError: see check_output, or where a file cannot be written.
        ValueError: if there is no ear.
    """
    if not scan_result.ears:
        raise ValueError("no ear was found: there is nothing to write")
    directory = Path(directory)
    check_output(directory, name, overwrite)
    made = _make_folder(directory)
    try:
        with replacing_set(directory, result_file_names(name), overwrite) as new:
            try:
                _write_set(scan_result, new, name)
            except InputError as error:  # it names the folder where the files are made
                raise InputError(str(error).replace(str(new), str(directory))) from error
    except BaseException as error:
        for folder in reversed(made):
            with suppress(OSError):  # no longer empty: someone else works there too
                folder.rmdir()
        if isinstance(error, FileExistsError):  # another run wrote them meanwhile
            raise _already_there(directory, name, error.filename) from error
        if isinstance(error, OSError):
            raise InputError(f"The results cannot be written to {directory} ({error.strerror}).") from error
        raise
    return tuple(directory / file for file in result_file_names(name) if (directory / file).exists())


def uncertainty_on(grid: Grid, maps: Sequence[Volume]) -> Volume:
    """Uncertainty maps on one grid, such as the scan's own.

    Args:
        grid: of any orientation.
        maps: standard deviations on their own grids.

    Returns:
        float32, linearly interpolated (smoothed first where the grid is coarser, see preprocessing.resample); the
        larger value where maps overlap, 0 where there is none.
    """
    merged = np.zeros(grid.shape, np.float32)
    for one in maps:
        corners_kji = grid.to_indices(one.grid.corners_lps())[:, ::-1]
        start = np.clip(np.floor(corners_kji.min(0)).astype(int), 0, grid.shape)
        stop = np.clip(np.ceil(corners_kji.max(0)).astype(int) + 1, start, grid.shape)
        block = merged[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))]
        if block.size:
            affine = grid.affine_lps.copy()
            affine[:3, 3] = grid.to_lps(start[::-1])
            here = resample(one, Grid(block.shape, affine), cubic=False)
            # The smoothing filter is recursive and overshoots by a thousandth at an edge.
            np.clip(here, one.voxels.min(), one.voxels.max(), out=here)
            block[...] = np.fmax(block, here)
    return Volume(merged, grid.affine_lps)


def result_summary(scan_result: ScanResult) -> dict:
    """The content of NAME_result.json: figures, confidences, flags and how they came about; no names of people.

    Positions and spacing in mm (LPS), volumes in mm³, times in s; null where something was not found or not computed.
    """
    provenance = dict(scan_result.provenance)
    seconds = {key: provenance.pop(key) for key in list(provenance) if key.startswith("seconds.")}
    return {
        "format": RESULT_FORMAT,
        "notice": NOTICE,
        "scan": {
            "name": scan_result.name,
            "voxels_ijk": [int(n) for n in scan_result.grid.shape[::-1]],
            "spacing_mm": _numbers(scan_result.grid.spacing_mm),
            "origin_lps": _numbers(scan_result.grid.origin_lps),
            "directions_lps": [_numbers(row) for row in scan_result.grid.directions],
        },
        "ears": [_ear_summary(ear) for ear in scan_result.ears],
        "notes": list(scan_result.notes),
        "seconds": {key.removeprefix("seconds."): value for key, value in seconds.items()},
        "provenance": provenance,
    }


def _ear_summary(ear: EarResult) -> dict:
    return {
        "side": ear.side,
        "volume_mm3": _number(ear.quality.volume_mm3),
        "landmarks": [
            {
                "name": landmark.name,
                "position_lps": None if landmark.position_lps is None else _numbers(landmark.position_lps),
                "confidence": _number(landmark.confidence),
                "scatter_mm": _number(landmark.scatter_mm),
            }
            for landmark in ear.landmarks
        ],
        "distances_mm": {pair: _number(distance) for pair, distance in ear.quality.distances_mm.items()},
        "uncertainty": None if ear.uncertainty is None else UNCERTAINTY_MEANING,
        "closed_canals": ear.quality.closed_canals,
        "mean_standard_deviation": _number(ear.quality.mean_standard_deviation),
        "flags": list(ear.quality.flags),
    }


def _write_set(scan_result: ScanResult, folder: Path, name: str) -> None:
    model = str(scan_result.provenance.get("model", ""))
    write_labyrinths(folder / f"{name}_labyrinth.seg.nrrd", scan_result.ears, model)
    for ear in scan_result.ears:
        write_landmarks(folder / f"{name}_landmarks_{ear.side}.mrk.json", ear.landmarks)
        if ear.uncertainty is not None:
            on_scan = uncertainty_on(scan_result.grid, [ear.uncertainty])
            write_volume(folder / f"{name}_uncertainty_{ear.side}.nrrd", on_scan)
    write_json(folder / f"{name}_result.json", result_summary(scan_result))


def _make_folder(directory: Path) -> list[Path]:
    """Makes a folder with its parents; says which were not there before, topmost first."""
    missing = [path for path in (directory, *directory.parents) if not os.path.exists(path)][::-1]
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"The folder {directory} cannot be made ({error.strerror}).") from error
    return missing


def _number(value: float | None) -> float | None:
    return None if value is None or not np.isfinite(value) else float(value)


def _numbers(values: np.ndarray) -> list[float]:
    return [float(value) for value in values]
