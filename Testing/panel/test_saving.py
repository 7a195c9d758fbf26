"""Save all: every file of a run or none, as the nodes are."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import slicer
import slicer.util

from InnerEarAILib import landmark_files
from InnerEarAILib.panel.run_record import latest_run
from InnerEarAILib.panel.saving import save_run
from panel.driving import add_ears, save_into


def test_save_all_writes_the_nodes_as_they_are_now(segmented, tmp_path, monkeypatch):
    slicer.util.getNode("CT left landmarks").SetNthControlPointPosition(0, 1.0, 2.0, 3.0)
    save_into(monkeypatch, tmp_path)
    segmented.widget.ui.saveButton.click()
    names = {"CT_labyrinth.seg.nrrd", "CT_landmarks_right.mrk.json", "CT_landmarks_left.mrk.json"}
    names |= {"CT_uncertainty.nrrd", "CT_result.json"}
    assert {path.name for path in tmp_path.iterdir() if path.is_file()} == names
    assert "Saved 5 files" in segmented.widget.ui.statusLabel.text
    saved = json.loads((tmp_path / "CT_landmarks_left.mrk.json").read_text())
    np.testing.assert_allclose(saved["markups"][0]["controlPoints"][0]["position"], (-1, -2, 3))
    storage = slicer.util.getNode("CT left landmarks").GetStorageNode()
    assert Path(storage.GetFileName()) == tmp_path / "CT_landmarks_left.mrk.json"


def test_a_folder_that_is_not_there_any_more_is_made(segmented, results, monkeypatch):
    gone = results / "deeper"
    results.rmdir()
    save_into(monkeypatch, gone)
    segmented.widget.ui.saveButton.click()
    assert (gone / "CT_result.json").is_file()
    assert f"Saved 5 files in {gone}" in segmented.widget.ui.statusLabel.text


@pytest.mark.parametrize(
    ("scan_name", "file_name"),
    [("Ohr-1_ä v2.1", "Ohr-1_ä v2.1"), ("a/b: c*", "a_b_ c_"), ("../out", "_out"), (" . ", "scan"), (" CT. ", "CT")],
)
def test_files_are_called_after_the_scan_as_far_as_files_can_be(
    segmented, scan, results, monkeypatch, scan_name, file_name
):
    scan.SetName(scan_name)
    save_into(monkeypatch, results)
    segmented.widget.ui.saveButton.click()
    assert sorted(path.name for path in results.iterdir()) == sorted(
        f"{file_name}_{what}"
        for what in (
            "labyrinth.seg.nrrd",
            "landmarks_left.mrk.json",
            "landmarks_right.mrk.json",
            "result.json",
            "uncertainty.nrrd",
        )
    )


def test_saving_twice_asks_before_it_replaces(segmented, tmp_path, monkeypatch):
    save_into(monkeypatch, tmp_path)
    segmented.widget.ui.saveButton.click()
    (tmp_path / "CT_result.json").write_text("mine")
    asked = []
    monkeypatch.setattr(
        slicer.util, "confirmOkCancelDisplay", lambda text, **more: asked.append(text) or len(asked) > 1
    )
    segmented.widget.ui.saveButton.click()
    assert (tmp_path / "CT_result.json").read_text() == "mine"
    segmented.widget.ui.saveButton.click()
    assert json.loads((tmp_path / "CT_result.json").read_text())["ears"]
    assert len(asked) == 2
    assert asked[0].startswith("CT_labyrinth.seg.nrrd and others")


def test_saving_twice_from_the_console_says_what_to_do(segmented, tmp_path):
    record = latest_run(slicer.mrmlScene, slicer.util.getNode("CT"))
    save_run(record, tmp_path, "CT")
    with pytest.raises(FileExistsError, match="give another name or folder, or allow overwriting"):
        save_run(record, tmp_path, "CT")
    save_run(record, tmp_path, "CT", overwrite=True)


def test_saving_where_nothing_can_be_written_says_so(segmented, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    save_into(monkeypatch, tmp_path / "file")
    segmented.widget.ui.saveButton.click()
    assert "cannot be written" in segmented.widget.ui.statusLabel.text


def test_not_choosing_a_folder_saves_nothing(segmented, monkeypatch):
    save_into(monkeypatch, Path())
    said = segmented.widget.ui.statusLabel.text
    segmented.widget.ui.saveButton.click()
    assert segmented.widget.ui.statusLabel.text == said


@pytest.fixture
def results(tmp_path):
    """An empty folder of the user's."""
    folder = tmp_path / "results"
    folder.mkdir()
    return folder


def test_the_files_of_an_earlier_run_do_not_stay_beside_the_new_ones(panel, scan, results, monkeypatch):
    save_into(monkeypatch, results)
    add_ears(panel, scan)
    panel.widget.ui.saveButton.click()
    (results / "CT_notes.txt").write_text("the user's own")
    add_ears(panel, scan, sides=("right",), uncertain=False)
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", lambda text, **more: True)
    panel.widget.ui.saveButton.click()
    kept = {"CT_labyrinth.seg.nrrd", "CT_landmarks_right.mrk.json", "CT_result.json", "CT_notes.txt"}
    assert {path.name for path in results.iterdir()} == kept
    assert "Saved 3 files" in panel.widget.ui.statusLabel.text


@pytest.mark.parametrize("moves", range(1, 10))
def test_a_save_that_breaks_off_leaves_the_files_as_they_were(segmented, results, monkeypatch, moves):
    save_into(monkeypatch, results)
    segmented.widget.ui.saveButton.click()
    before = {path.name: path.read_bytes() for path in results.iterdir()}
    slicer.util.getNode("CT left landmarks").SetNthControlPointPosition(0, 1.0, 2.0, 3.0)
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", lambda text, **more: True)
    replace, done = os.replace, []

    def breaks_off(source, target):
        done.append(target)
        if len(done) == moves:
            raise OSError(28, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", breaks_off)
    segmented.widget.ui.saveButton.click()
    assert "cannot be written" in segmented.widget.ui.statusLabel.text
    assert {path.name: path.read_bytes() for path in results.iterdir()} == before


def test_corrections_that_could_not_be_saved_are_not_taken_for_saved(segmented, results, monkeypatch):
    save_into(monkeypatch, results)
    segmented.widget.ui.saveButton.click()
    points, ears = (slicer.util.getNode(f"CT {name}") for name in ("left landmarks", "inner ear"))
    points.SetNthControlPointPosition(0, 1.0, 2.0, 3.0)
    assert points.GetModifiedSinceRead()
    assert not ears.GetModifiedSinceRead()
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", lambda text, **more: True)
    monkeypatch.setattr(landmark_files, "replacing", no_space)
    segmented.widget.ui.saveButton.click()
    assert "cannot be written" in segmented.widget.ui.statusLabel.text
    assert points.GetModifiedSinceRead()
    assert not ears.GetModifiedSinceRead()
    assert points.GetStorageNode().GetFileName() == str(results / "CT_landmarks_left.mrk.json")


def no_space(path):
    raise OSError(28, "No space left on device")


def test_a_first_save_that_fails_is_said_and_leaves_nothing(segmented, results, monkeypatch):
    monkeypatch.setattr(landmark_files, "replacing", no_space)
    save_into(monkeypatch, results)
    segmented.widget.ui.saveButton.click()
    assert "cannot be written" in segmented.widget.ui.statusLabel.text
    assert list(results.iterdir()) == []
    assert slicer.util.getNode("CT inner ear").GetStorageNode() is None


def test_saved_points_and_segments_that_were_corrected_have_no_figures_of_the_network(segmented, results, monkeypatch):
    slicer.util.getNode("CT left landmarks").SetNthControlPointPosition(0, 1.0, 2.0, 3.0)
    voxels = slicer.util.arrayFromSegmentInternalBinaryLabelmap(slicer.util.getNode("CT inner ear"), "left")
    voxels[: len(voxels) // 2][voxels[: len(voxels) // 2] == 2] = 0
    save_into(monkeypatch, results)
    segmented.widget.ui.saveButton.click()
    points = json.loads((results / "CT_landmarks_left.mrk.json").read_text())["markups"][0]["controlPoints"]
    assert "confidence" not in points[0]["description"]
    assert "confidence" in points[1]["description"]
    volume = json.loads((results / "CT_result.json").read_text())["ears"][1]["volume_mm3"]
    tags = {key: value for key, value in _segment_tags(results / "CT_labyrinth.seg.nrrd").items()}
    assert tags["left"]["DICOM.SegmentAlgorithmType"] == "SEMIAUTOMATIC"
    assert float(tags["left"]["InnerEarAI.volume_mm3"]) == pytest.approx(volume, abs=0.01)
    assert tags["right"]["DICOM.SegmentAlgorithmType"] == "AUTOMATIC"


def _segment_tags(path: Path) -> dict[str, dict[str, str]]:
    header = path.read_bytes().split(b"\n\n", 1)[0].decode()
    fields = dict(line.split(":=", 1) for line in header.splitlines() if ":=" in line)
    return {
        fields[f"Segment{n}_ID"]: dict(tag.split(":", 1) for tag in fields[f"Segment{n}_Tags"].split("|") if tag)
        for n in range(2)
    }


@pytest.fixture
def unwritable_landmarks(segmented, monkeypatch):
    """Slicer cannot write points: it logs that and says False."""
    files = slicer.app.coreIOManager()
    write = files.saveNodes

    def save(file_type, properties, messages):
        if "landmarks" in properties["fileName"]:
            return False
        return write(file_type, properties, messages)

    def set_in():
        monkeypatch.setattr(files, "saveNodes", save)

    return set_in


def test_a_node_that_slicer_could_not_write_leaves_no_half_set(segmented, results, monkeypatch, unwritable_landmarks):
    unwritable_landmarks()
    save_into(monkeypatch, results)
    segmented.widget.ui.saveButton.click()
    status = segmented.widget.ui.statusLabel.text
    assert status == (
        f"The results cannot be written to {results} (Slicer could not write CT_landmarks_right.mrk.json)."
    )
    assert list(results.iterdir()) == []
    assert slicer.util.getNode("CT inner ear").GetStorageNode() is None


def test_a_node_that_slicer_could_not_write_loses_no_earlier_file(
    segmented, results, monkeypatch, unwritable_landmarks
):
    save_into(monkeypatch, results)
    segmented.widget.ui.saveButton.click()
    before = {path.name: path.read_bytes() for path in results.iterdir()}
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", lambda text, **more: True)
    unwritable_landmarks()
    segmented.widget.ui.saveButton.click()
    assert "could not write CT_landmarks_right.mrk.json" in segmented.widget.ui.statusLabel.text
    assert {path.name: path.read_bytes() for path in results.iterdir()} == before
    storage = slicer.util.getNode("CT right landmarks").GetStorageNode()
    assert Path(storage.GetFileName()) == results / "CT_landmarks_right.mrk.json"
