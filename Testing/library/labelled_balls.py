"""A data set of balls as the trainer takes it: a bright ball is the labyrinth, its middle the helicotrema."""

from __future__ import annotations

import json

import numpy as np

from InnerEarAILib.scan_files import write_volume
from InnerEarAILib.volume import Volume

SPACING_MM = 0.5
RADIUS_MM = 3.0


def ball(number: int) -> tuple[Volume, Volume, dict[str, np.ndarray]]:
    """Scan, labels and landmarks of ball `number`."""
    rng = np.random.default_rng([11, number])
    affine = np.diag([SPACING_MM] * 3 + [1.0])
    affine[:3, 3] = rng.uniform(-50, 50, 3)
    shape = (30, 29, 28)
    grid = Volume(np.zeros(shape), affine).grid
    places = grid.to_lps(np.stack(np.indices(shape)[::-1], -1))
    centre = grid.centre_lps + rng.uniform(-1, 1, 3)
    inside = np.linalg.norm(places - centre, axis=-1) < RADIUS_MM
    scan = 1500.0 * inside + rng.normal(0, 20, shape)
    landmarks = {
        "helicotrema": centre,
        "oval window": centre + np.array([0, 2.0, 0]),
        "round window": centre + np.array([0, 0, 2.0]),
    }
    return Volume(scan.astype(np.int16), affine), Volume(inside.astype(np.uint8), affine), landmarks


def data_set(folder, count: int, name: str = "Balls", first: int = 0):
    """Writes `count` balls, the first of which is ball `first`, and their manifest, which is returned."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [f'name = "{name}"']
    for number in range(first, first + count):
        scan, labels, landmarks = ball(number)
        files = {"scan": f"b{number}.nrrd", "labels": f"b{number}_labels.nrrd", "landmarks": f"b{number}.mrk.json"}
        write_volume(folder / files["scan"], scan)
        write_volume(folder / files["labels"], labels)
        points = [{"label": mark, "position": place.tolist()} for mark, place in landmarks.items()]
        text = json.dumps({"markups": [{"coordinateSystem": "LPS", "controlPoints": points}]})
        (folder / files["landmarks"]).write_text(text, encoding="utf-8")
        lines += ["[[case]]", f'name = "b{number}"', *(f'{key} = "{file}"' for key, file in files.items())]
    path = folder / "balls.toml"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path
