"""A ScanResult as one file, for handing it from one process to another: read back, it is the same to the last bit.

Numbers and words are JSON, arrays are NumPy's; nothing is pickled. The files for users are in result_files.
"""

from __future__ import annotations

import json
import zipfile
from dataclasses import asdict
from pathlib import Path

import numpy as np

from InnerEarAILib.ear_result import EarResult, LandmarkResult, Quality, ScanResult
from InnerEarAILib.volume import Grid, Volume
from InnerEarAILib.whole_files import replacing

FORMAT = "InnerEarAI scan result 2"
"""The number rises with every change of the layout; a file of another layout is refused."""

DEVIATIONS = ("uncertainty", "view_deviation")
"""Fields of EarResult that a single view leaves empty."""


def write_scan_result(path: Path, result: ScanResult) -> None:
    """Writes a result as an uncompressed .npz; the file is whole or absent.

    Args:
        path: an existing file is replaced.
        result: its provenance must be JSON-able.

    Raises:
        OSError: if the file cannot be written.
    """
    arrays: dict[str, np.ndarray] = {"grid": result.grid.affine_lps}
    record = {
        "format": FORMAT,
        "name": result.name,
        "shape": [int(n) for n in result.grid.shape],
        "provenance": dict(result.provenance),
        "notes": list(result.notes),
        "ears": [_ear_record(ear, f"ear{number}", arrays) for number, ear in enumerate(result.ears)],
    }
    text = json.dumps(record, default=_plain_number)
    arrays["record"] = np.frombuffer(text.encode(), np.uint8)
    with replacing(path) as unfinished, open(unfinished, "wb") as file:
        np.savez(file, **arrays)


def read_scan_result(path: Path) -> ScanResult:
    """The result that write_scan_result wrote.

    Raises:
        ValueError: if the file is damaged or of another layout.
        OSError: if it cannot be opened.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            record = json.loads(arrays["record"].tobytes())
            if record["format"] != FORMAT:
                raise ValueError(f"{path.name} has the layout “{record['format']}”, not “{FORMAT}”")
            return ScanResult(
                name=record["name"],
                grid=Grid(tuple(record["shape"]), arrays["grid"]),
                ears=tuple(_ear(one, f"ear{number}", arrays) for number, one in enumerate(record["ears"])),
                provenance=record["provenance"],
                notes=tuple(record["notes"]),
            )
    except (zipfile.BadZipFile, KeyError, EOFError) as error:
        raise ValueError(f"{path.name} is not a whole scan result") from error


def _ear_record(ear: EarResult, key: str, arrays: dict[str, np.ndarray]) -> dict:
    _keep_volume(ear.segmentation, f"{key}.segmentation", arrays)
    for name in DEVIATIONS:
        if getattr(ear, name) is not None:
            _keep_volume(getattr(ear, name), f"{key}.{name}", arrays)
    for number, landmark in enumerate(ear.landmarks):
        if landmark.position_lps is not None:
            arrays[f"{key}.landmark{number}"] = np.asarray(landmark.position_lps)
    return {
        "side": ear.side,
        "segmentation": ear.segmentation.name,
        **{name: None if getattr(ear, name) is None else getattr(ear, name).name for name in DEVIATIONS},
        "landmarks": [
            {"name": one.name, "confidence": one.confidence, "scatter_mm": one.scatter_mm} for one in ear.landmarks
        ],
        "quality": asdict(ear.quality) | {"distances_mm": dict(ear.quality.distances_mm)},
    }


def _ear(record: dict, key: str, arrays: np.lib.npyio.NpzFile) -> EarResult:
    quality = record["quality"]
    return EarResult(
        side=record["side"],
        segmentation=_volume(record["segmentation"], f"{key}.segmentation", arrays),
        landmarks=tuple(
            LandmarkResult(position_lps=arrays.get(f"{key}.landmark{number}"), **one)
            for number, one in enumerate(record["landmarks"])
        ),
        **{
            name: None if record[name] is None else _volume(record[name], f"{key}.{name}", arrays)
            for name in DEVIATIONS
        },
        quality=Quality(**quality | {"flags": tuple(quality["flags"])}),
    )


def _keep_volume(volume: Volume, key: str, arrays: dict[str, np.ndarray]) -> None:
    arrays[f"{key}.voxels"] = volume.voxels
    arrays[f"{key}.affine"] = volume.affine_lps


def _volume(name: str, key: str, arrays: np.lib.npyio.NpzFile) -> Volume:
    return Volume(arrays[f"{key}.voxels"], arrays[f"{key}.affine"], name)


def _plain_number(value: object) -> float | int | bool:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"a result cannot hold a {type(value).__name__}")
