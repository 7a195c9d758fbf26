"""Labelled data sets: read from files of any kind, checked as a whole, prepared and cut into tiles."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from InnerEarAILib.evaluation.cases import obtained
from InnerEarAILib.evaluation.manifest_cases import data_set_recipes
from InnerEarAILib.landmarks import LANDMARK_NAMES
from InnerEarAILib.scan_files import read_volume, write_volume
from InnerEarAILib.training.augmentation import Augmentation
from InnerEarAILib.training.configuration import ConfigurationError
from InnerEarAILib.training.labelled_scan import read_hdf5
from InnerEarAILib.training.manifest import ManifestError, check_cases, data_mistakes, read_manifest
from InnerEarAILib.training.manifest_dataset import (
    ManifestSource,
    is_prepared,
    load_case,
    prepare_case,
    prepared_sha256,
    validation_tiles,
)
from InnerEarAILib.training.seen_scans import scan_sha256
from InnerEarAILib.volume import InputError, Volume
from library.written_cases import MARKS, RADIUS, SPACING, entry, volumes, write_case, write_hdf5, write_manifest


def test_twelve_planted_mistakes_get_twelve_sentences_at_once(tmp_path):
    scan, labels = volumes()
    for name in ("fine", "a", "b", "e", "g", "k"):
        write_case(tmp_path, name)
    write_case(tmp_path, "c", labels=volumes(shift=0.4)[1])
    write_case(tmp_path, "d", labels=labels.with_voxels(labels.voxels * 0))
    write_case(tmp_path, "f", marks={name: MARKS[name] for name in LANDMARK_NAMES[:2]})
    write_case(tmp_path, "h", marks=MARKS | {"oval window": [-8.0, -10, 9]})
    write_case(tmp_path, "i", marks=MARKS | {"helicotrema": [15.0, 14, 16]})
    write_case(tmp_path, "j", scan=replace(scan, affine_lps=scan.affine_lps * 1.1), labels=None)
    (tmp_path / "e_labels.nrrd").unlink()
    (tmp_path / "g.mrk.json").write_text("not json")
    (tmp_path / "k.nrrd").write_bytes(b"")
    without = entry("b")
    del without["landmarks"]
    cases = [
        entry("fine"), entry("fine"), entry("a", colour="red"), without, entry("c"), entry("d"), entry("e"),
        entry("f"), entry("g"), entry("h"), entry("i"), entry("k"), entry("l", unmarked=["stapes"]),
    ]  # fmt: skip
    with pytest.raises(ManifestError) as raised:
        read_manifest(write_manifest(tmp_path, cases, spacing_mm=SPACING))
    expected = (
        "fine is listed twice", "a has the unknown entry colour", "b has no entry landmarks", "'stapes' as unmarked",
        "c: its labels are not on the grid", "d: no voxel of its labels is labyrinth", "e: There is no file",
        "f: its round window is not marked", "g: g.mrk.json", "h: its oval window lies outside", "from the labyrinth",
        "k: k.nrrd is empty",
    )  # fmt: skip
    assert len(raised.value.mistakes) == 12
    for sentence, words in zip(raised.value.mistakes, expected, strict=True):
        assert words in sentence
        assert sentence.endswith(".")
        assert sentence in str(raised.value)


def test_wrong_spacing_is_said(tmp_path):
    scan, labels = volumes(spacing=0.55)
    write_case(tmp_path, "a", scan, labels)
    manifest = read_manifest(write_manifest(tmp_path, [entry("a")], spacing_mm=SPACING))
    with pytest.raises(ManifestError, match=r"measure 0\.550 × 0\.550 × 0\.550 mm, not 0\.5 mm"):
        check_cases(manifest.cases, 0.5)
    with pytest.raises(ManifestError, match=r"too coarse for a model of 0\.1 mm"):
        check_cases(manifest.cases, 0.1)


def test_labels_of_both_ears_are_refused(tmp_path):
    def twice(volume):
        between = np.zeros_like(volume.voxels)
        return Volume(np.concatenate((volume.voxels, between, volume.voxels), axis=2), volume.affine_lps)

    scan, labels = volumes()
    write_case(tmp_path, "a", twice(scan), twice(labels))
    (mistake,) = data_mistakes(read_manifest(write_manifest(tmp_path, [entry("a")])).cases)
    assert "reaches over 40 mm, one ear 60 to 500 mm³ and at most 30 mm; if both ears lie in one label map" in mistake


@pytest.mark.parametrize(("assumed", "refused"), [(SPACING / 2, "has 9 mm³"), (SPACING * 2, "has 5.. mm³")])
def test_hdf5_file_of_other_voxels_than_assumed_is_refused(tmp_path, assumed, refused):
    write_hdf5(tmp_path / "a.hdf5")
    row = {"name": "a", "hdf5": "a.hdf5"}
    (case,) = read_manifest(write_manifest(tmp_path, [row], spacing_mm=assumed)).cases
    words = rf"{refused} .*if its voxels do not measure {assumed:.3f} mm, correct the spacing \(that of HDF5 files is"
    assert re.search(words, data_mistakes([case])[0])
    assert data_mistakes([replace(case, spacing_mm=SPACING)]) == []


def test_labels_that_are_no_whole_numbers_are_said(tmp_path):
    labels = volumes()[1]
    write_case(tmp_path, "a", labels=labels.with_voxels(labels.voxels * np.float32(0.25)))
    with pytest.raises(ManifestError, match="not whole numbers"):
        check_cases(read_manifest(write_manifest(tmp_path, [entry("a")])).cases, SPACING)


@pytest.mark.parametrize("text", ["case = [", "case = 3", ""])
def test_manifest_that_is_none_is_refused(tmp_path, text):
    (tmp_path / "set.toml").write_text(text)
    with pytest.raises(ConfigurationError, match=r"cannot be (read|used)"):
        read_manifest(tmp_path / "set.toml")


@pytest.mark.parametrize("suffix", [".nrrd", ".nii.gz", ".mha"])
def test_images_of_any_kind_make_a_case(tmp_path, suffix):
    write_case(tmp_path, "a", suffix=suffix)
    check_cases(read_manifest(write_manifest(tmp_path, [entry("a", suffix)])).cases, SPACING)


@pytest.mark.parametrize("axes", ["ijk", "kji"])
def test_hdf5_file_holds_the_same_ear_as_the_images(tmp_path, axes):
    write_hdf5(tmp_path / "a.hdf5", axes)
    read = read_hdf5(tmp_path / "a.hdf5", SPACING, axes)
    scan, labels = volumes()
    assert np.array_equal(read.scan.voxels, scan.voxels)
    assert np.array_equal(read.labels.voxels, labels.voxels)
    for name, position in MARKS.items():
        assert read.scan.grid.to_indices(read.landmarks_lps[name]) == pytest.approx(
            np.round(scan.grid.to_indices(position))
        )


def test_folder_of_hdf5_files_is_a_data_set(tmp_path):
    for name in ("a", "b"):
        write_hdf5(tmp_path / f"{name}.hdf5")
    assert [case.name for case in read_manifest(tmp_path).cases] == ["a", "b"]


def test_folder_where_one_is_has_its_name(tmp_path, monkeypatch):
    (tmp_path / "a.hdf5").touch()
    monkeypatch.chdir(tmp_path)
    assert read_manifest(Path(".")).name == tmp_path.name


@pytest.mark.parametrize("suffix", [".toml", ".json"])
def test_manifest_that_a_program_of_windows_has_saved_is_read(tmp_path, suffix):
    text = '{"name": "Balls", "case": [{"name": "a", "scan": "a.nrrd", "labels": "b.nrrd", "landmarks": "c.fcsv"}]}'
    if suffix == ".toml":
        text = 'name = "Balls"\n[[case]]\nname = "a"\nscan = "a.nrrd"\nlabels = "b.nrrd"\nlandmarks = "c.fcsv"\n'
    (tmp_path / f"set{suffix}").write_text(text, encoding="utf-8-sig")
    assert read_manifest(tmp_path / f"set{suffix}").name == "Balls"


def test_labels_on_another_grid_are_said_with_what_to_do(tmp_path):
    write_case(tmp_path, "a", labels=volumes(shift=0.4)[1])
    (mistake,) = data_mistakes(read_manifest(write_manifest(tmp_path, [entry("a")])).cases)
    assert mistake.endswith("export them again with the scan as reference volume.")


def test_prepared_case_lies_where_the_scan_does(tmp_path):
    write_case(tmp_path, "a", marks={name: MARKS[name] for name in LANDMARK_NAMES[:2]})
    manifest = read_manifest(write_manifest(tmp_path, [entry("a", unmarked=["round window"])]))
    prepare_case(manifest.cases[0], tmp_path / "0000", 0.4, 12.0)
    case = load_case(tmp_path / "0000")
    share = case.labyrinth / 255
    middle = (np.stack(np.indices(share.shape), -1) * share[..., None]).sum((0, 1, 2)) / share.sum()
    # The helicotrema lies 2 mm from the centre of the ball along x.
    assert case.landmarks_kji[0, 0] - middle == pytest.approx([0, 0, 5], abs=0.2)
    assert share.sum() * 0.4**3 == pytest.approx(4 / 3 * np.pi * RADIUS**3, rel=0.03)
    sample = case.tile(np.round(middle), np.eye(3), 16)
    assert sample.known.tolist() == [True, True, False]
    assert np.asarray(case.image, np.float32).mean() == pytest.approx(0, abs=0.01)


def test_tiles_show_a_labyrinth_that_lies_off_the_middle_of_its_scan(tmp_path):
    scan, labels = (volume.with_voxels(np.roll(volume.voxels, 10, axis=0)) for volume in volumes())
    upwards_mm = np.array([0, 0, 10 * SPACING])
    write_case(tmp_path, "a", scan, labels, {name: mark + upwards_mm for name, mark in MARKS.items()})
    prepare_case(read_manifest(write_manifest(tmp_path, [entry("a")])).cases[0], tmp_path / "0000", SPACING, 30.0)
    source = ManifestSource((tmp_path / "0000",), Augmentation(noise_share=0.0), 1.0, 16, seed=1)
    assert min(source.sample(number).labyrinth.max() for number in range(20)) > 0.5


def test_validation_tiles_of_two_cases_lie_in_other_places_and_in_none_of_training(tmp_path):
    for name in ("a", "b"):
        write_case(tmp_path, name)
    manifest = read_manifest(write_manifest(tmp_path, [entry("a"), entry("b")]))
    folders = [tmp_path / case.name for case in manifest.cases]
    for case, folder in zip(manifest.cases, folders, strict=True):
        prepare_case(case, folder, SPACING, 30.0)
    tiles = validation_tiles(folders, 3, 16, seed=1)
    tiles += [ManifestSource((folders[0],), Augmentation(noise_share=0.0), 1.0, 16, 1).sample(n) for n in range(6)]
    assert len({tile.labyrinth.tobytes() for tile in tiles}) == 12


def test_landmark_that_is_listed_as_unmarked_is_not_taken_from_the_file(tmp_path):
    write_case(tmp_path, "a")
    case = read_manifest(write_manifest(tmp_path, [entry("a", unmarked=["oval window"])])).cases[0]
    prepare_case(case, tmp_path / "0000", SPACING, 14.0)
    known = np.isfinite(load_case(tmp_path / "0000").landmarks_kji[0]).all(axis=1)
    assert dict(zip(LANDMARK_NAMES, known.tolist(), strict=True)) == {name: name != "oval window" for name in MARKS}


@pytest.mark.parametrize("suffix", [".nrrd", ".hdf5"])
def test_labels_without_any_landmark_are_trained_on_and_judged(tmp_path, suffix):
    if suffix == ".hdf5":
        h5py = pytest.importorskip("h5py")
        write_hdf5(tmp_path / "a.hdf5")
        with h5py.File(tmp_path / "a.hdf5", "a") as file:
            del file["landmark"]
        row = {"name": "a", "hdf5": "a.hdf5"}
    else:
        write_case(tmp_path, "a")
        (tmp_path / "a.mrk.json").unlink()
        row = entry("a")
        del row["landmarks"]
    path = write_manifest(tmp_path, [{**row, "unmarked": list(MARKS)}], spacing_mm=SPACING)
    cases = read_manifest(path).cases
    check_cases(cases, SPACING)
    prepare_case(cases[0], tmp_path / "0000", SPACING, 14.0)
    tile = ManifestSource((tmp_path / "0000",), Augmentation(), 1.0, 16, 1).sample(0)
    assert tile.labyrinth.max() == 1
    assert not tile.known.any()
    ear = obtained(data_set_recipes(path)[0], None).ears[0]
    assert ear.labyrinth.voxels.any()
    assert ear.landmarks == {}
    with pytest.raises(ManifestError, match=r"a has no entry landmarks|has no landmark;"):
        check_cases(read_manifest(write_manifest(tmp_path, [row], spacing_mm=SPACING)).cases, SPACING)


def test_damaged_hdf5_file_is_named_however_it_is_damaged(tmp_path):
    h5py = pytest.importorskip("h5py")
    write_hdf5(tmp_path / "link.hdf5")
    with h5py.File(tmp_path / "link.hdf5", "a") as file:
        file["landmark/lost"] = h5py.SoftLink("/nowhere")
    write_hdf5(tmp_path / "short.hdf5")
    content = (tmp_path / "short.hdf5").read_bytes()
    (tmp_path / "short.hdf5").write_bytes(content[: len(content) // 2])
    wrong = data_mistakes(replace(case, spacing_mm=SPACING) for case in read_manifest(tmp_path).cases)
    assert [sentence.split(" is damaged")[0] for sentence in wrong] == [
        f"Case {name}: {name}.hdf5 cannot be read: it" for name in ("link", "short")
    ]


def test_patient_that_is_no_text_is_said(tmp_path):
    write_case(tmp_path, "a")
    with pytest.raises(ManifestError, match="the patient 17, which must be a text"):
        read_manifest(write_manifest(tmp_path, [entry("a", patient=17)]))


def test_scan_is_known_again_by_what_it_shows(tmp_path):
    write_case(tmp_path, "a")
    other = volumes()[0]
    other.voxels[0, 0, 0] += 1
    write_case(tmp_path, "b", scan=other)
    cases = read_manifest(write_manifest(tmp_path, [entry("a"), entry("b")])).cases
    for case in cases:
        prepare_case(case, tmp_path / "scans" / case.name, SPACING, 14.0)
    own, others = (prepared_sha256(tmp_path / "scans" / name) for name in ("a", "b"))
    assert own != others
    write_volume(tmp_path / "elsewhere.nii.gz", volumes()[0])
    assert scan_sha256(read_volume(tmp_path / "elsewhere.nii.gz")) == own
    assert scan_sha256(cases[0].read_scan()) == own


def test_case_prepared_by_an_earlier_version_is_prepared_again(tmp_path):
    write_case(tmp_path, "a")
    (case,) = read_manifest(write_manifest(tmp_path, [entry("a")])).cases
    folder = tmp_path / "scans"
    prepare_case(case, folder, SPACING, 14.0)
    assert is_prepared(replace(case, patient="17"), folder, SPACING, 14.0)
    described = json.loads((folder / "case.json").read_text())
    del described["scan_sha256"]
    (folder / "case.json").write_text(json.dumps(described))
    assert not is_prepared(case, folder, SPACING, 14.0)


def test_hdf5_file_with_two_points_of_one_landmark_is_refused(tmp_path):
    h5py = pytest.importorskip("h5py")
    write_hdf5(tmp_path / "a.hdf5")
    with h5py.File(tmp_path / "a.hdf5", "a") as file:
        mark = file.create_dataset("landmark/landmark-9", data=h5py.Empty("f"))
        mark.attrs["label"], mark.attrs["ijk_position"] = "apex", (1, 2, 3)
    with pytest.raises(InputError, match="two points for the helicotrema, “CochleaTop” and “apex”"):
        read_hdf5(tmp_path / "a.hdf5", SPACING)
