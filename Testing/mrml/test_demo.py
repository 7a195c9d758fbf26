"""The demo: every file that it promises, whole or not at all."""

from __future__ import annotations

import json

import numpy as np
import pytest
from matplotlib.image import imread

from host import demo
from host.pictures import can_draw
from InnerEarAILib.scan_files import write_volume
from InnerEarAILib.volume import InputError, Volume

FILES = {"scene.mrb", "labyrinth.seg.nrrd", "landmarks_right.mrk.json", "uncertainty.nrrd", "result.json"}


@pytest.fixture
def scan() -> Volume:
    voxels = np.random.default_rng(1).normal(0, 300, (30, 30, 30)).astype(np.int16)
    return Volume(voxels, np.eye(4), "bone")


def test_the_demo_leaves_every_result_and_says_where(scan, result_for, tmp_path, capsys):
    output = tmp_path / "a folder"
    demo.run(scan, output, {"preset": "fast"}, lambda volume, options, progress: result_for(volume.grid))
    written = {path.name for path in output.iterdir()}
    assert written == (FILES | {"overview.png"} if can_draw() else FILES)
    printed = capsys.readouterr().out
    for expected in ("right ear: labyrinth", "helicotrema: confidence 0.90", "predicting: 1.5 s", "model clinical 1.0"):
        assert expected in printed
    assert all(name in printed for name in written)
    assert json.loads((output / "result.json").read_text(encoding="utf-8"))["provenance"]["model"] == "clinical"


@pytest.mark.skipif(not can_draw(), reason="this machine has no OpenGL to draw with")
def test_the_overview_has_a_row_for_each_ear(scan, result_for, tmp_path):
    heights = []
    for sides in (("right",), ("right", "left")):
        demo.run(scan, tmp_path, {}, lambda volume, options, progress, sides=sides: result_for(volume.grid, sides))
        heights.append(imread(tmp_path / "overview.png").shape[0])
    assert heights[1] > 1.8 * heights[0]


def test_a_demo_that_fails_leaves_the_last_one_as_it_was(scan, result_for, tmp_path):
    (tmp_path / "result.json").write_text("earlier")
    with pytest.raises(InputError, match="No inner ear"):
        demo.run(scan, tmp_path, {}, lambda volume, options, progress: result_for(volume.grid, ()))
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]
    assert (tmp_path / "result.json").read_text(encoding="utf-8") == "earlier"


def test_a_scan_that_cannot_be_used_ends_in_one_sentence(tmp_path, capsys):
    path = tmp_path / "flat.nrrd"
    write_volume(path, Volume(np.zeros((30, 30, 30), np.int16), np.eye(4)))
    assert demo.main([str(path), "-o", str(tmp_path / "out")]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()
