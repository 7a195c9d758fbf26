"""Labelled cases as files: a bright ball is the labyrinth, with three landmarks about it."""

from __future__ import annotations

import json

import numpy as np
import pytest

from InnerEarAILib.scan_files import write_volume
from InnerEarAILib.volume import Volume

MARKS = {"helicotrema": [10.0, 8, 9], "oval window": [8.0, 10, 9], "round window": [8.0, 8, 11]}
RADIUS = 2.6
SPACING = 0.5


def volumes(shift: float = 0.0, spacing: float = SPACING) -> tuple[Volume, Volume]:
    """A scan with a bright ball round (8, 8, 9) mm, and its labels, on a grid at an odd place."""
    shape = (40, 38, 36)
    affine = np.diag([spacing] * 3 + [1.0])
    affine[:3, 3] = [0.3 + shift, -0.2, 0.1]
    places = Volume(np.zeros(shape), affine).grid.to_lps(np.stack(np.indices(shape)[::-1], -1))
    distance = np.linalg.norm(places - [8 + shift, 8, 9], axis=-1)
    noise = np.random.default_rng(0).normal(0, 20, shape)
    return (
        Volume((1500 * (distance < RADIUS) + noise).astype(np.int16), affine),
        Volume((distance < RADIUS).astype(np.uint8) * 2, affine),
    )


def markups(path, marks, system="LPS"):
    turn = [-1, -1, 1] if system == "RAS" else [1, 1, 1]
    points = [{"label": name, "position": (np.array(p) * turn).tolist()} for name, p in marks.items()]
    path.write_text(json.dumps({"markups": [{"coordinateSystem": system, "controlPoints": points}]}))


def write_case(folder, name, scan=None, labels=None, marks=MARKS, suffix=".nrrd"):
    own_scan, own_labels = volumes()
    write_volume(folder / f"{name}{suffix}", scan or own_scan)
    write_volume(folder / f"{name}_labels{suffix}", labels or own_labels)
    markups(folder / f"{name}.mrk.json", marks)


def entry(name, suffix=".nrrd", **changes):
    files = {"scan": f"{name}{suffix}", "labels": f"{name}_labels{suffix}", "landmarks": f"{name}.mrk.json"}
    return {"name": name, **files, **changes}


def write_manifest(folder, cases, **top):
    path = folder / "set.json"
    path.write_text(json.dumps({"name": "Balls", "case": cases, **top}))
    return path


def write_hdf5(path, axes="ijk"):
    h5py = pytest.importorskip("h5py")
    scan, labels = volumes()
    with h5py.File(path, "w") as file:
        for name, volume in (("raw", scan), ("label", labels)):
            file[f"{name}/{name}-0"] = volume.voxels.T if axes == "ijk" else volume.voxels
        for number, (label, name) in enumerate(zip(("CochleaTop", "OvalWindow", "RoundWindow"), MARKS, strict=True)):
            mark = file.create_dataset(f"landmark/landmark-{number}", data=h5py.Empty("f"))
            mark.attrs["label"] = label
            index = np.round(scan.grid.to_indices(MARKS[name])).astype(int)
            mark.attrs["ijk_position"] = index if axes == "ijk" else index[::-1]
