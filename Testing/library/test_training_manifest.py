"""Labelled data sets: read from files of any kind, checked as a whole, cut into tiles, split into folds."""

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
from InnerEarAILib.training.configuration import ConfigurationError, read_configuration
from InnerEarAILib.training.data_settings import ManifestData
from InnerEarAILib.training.data_source import data_of, open_data, with_manifest
from InnerEarAILib.training.labelled_scan import read_hdf5, read_landmark_file
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
from InnerEarAILib.training.splits import partition, redraw
from InnerEarAILib.volume import Volume
from library.tiny_training import tiny_config

MARKS = {"helicotrema": [10.0, 8, 9], "oval window": [8.0, 10, 9], "round window": [8.0, 8, 11]}
RADIUS = 2.6
SPACING = 0.5
ALL_APART = [str(number) for number in range(43)]


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


@pytest.mark.parametrize(
    ("system", "turn"), [("LPS", (1, 1, 1)), ("1", (1, 1, 1)), ("RAS", (-1, -1, 1)), ("0", (-1, -1, 1))]
)
def test_fcsv_positions_are_read_in_their_coordinate_system(tmp_path, system, turn):
    lines = ["# Markups fiducial file version = 4.11", f"# CoordinateSystem = {system}"]
    lines += ["# columns = id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID"]
    for number, (name, p) in enumerate(MARKS.items()):
        x, y, z = np.array(p) * turn
        lines.append(f"{number},{x},{y},{z},0,0,0,1,1,1,0,{name},,")
    (tmp_path / "a.fcsv").write_text("\n".join(lines))
    found = read_landmark_file(tmp_path / "a.fcsv")
    assert {name: position.tolist() for name, position in found.items()} == MARKS


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


def test_folds_are_random_but_fixed_and_never_share_a_case():
    for fold in (1, 2, 3):
        training, held_out = redraw(ALL_APART, fold, 5, seed=1)
        assert (len(training), len(held_out)) == (38, 5)
        assert sorted(training + held_out) == list(range(43))
        assert redraw(ALL_APART, fold, 5, seed=1) == (training, held_out)
    assert redraw(ALL_APART, 1, 5, seed=1) != redraw(ALL_APART, 2, 5, seed=1)


def test_redrawn_folds_are_those_of_earlier_versions():
    assert redraw(ALL_APART, 1, 5, seed=1)[1] == sorted(np.random.default_rng([1, 1]).permutation(43)[:5])


def test_parts_hold_out_every_case_exactly_once():
    folds = [partition(ALL_APART[:17], fold, 4, seed=1) for fold in (1, 2, 3, 4)]
    assert sorted(len(held_out) for _, held_out in folds) == [4, 4, 4, 5]
    assert sorted(number for _, held_out in folds for number in held_out) == list(range(17))
    assert all(sorted(training + held_out) == list(range(17)) for training, held_out in folds)
    assert folds != [partition(ALL_APART[:17], fold, 4, seed=2) for fold in (1, 2, 3, 4)]


@pytest.mark.parametrize("seed", range(5))
def test_no_patient_is_on_both_sides(seed):
    patients = [str(number // 2) for number in range(20)] + ["alone", "one more"]
    splits = [redraw(patients, fold, 5, seed) for fold in (1, 2, 3)]
    assert all(5 <= len(held_out) <= 6 for _, held_out in splits)
    parts = [partition(patients, fold, 4, seed) for fold in (1, 2, 3, 4)]
    assert sorted(len(held_out) for _, held_out in parts) in ([5, 5, 6, 6], [4, 6, 6, 6])
    for training, held_out in splits + parts:
        assert not {patients[number] for number in training} & {patients[number] for number in held_out}


def test_cases_of_one_patient_and_of_one_scan_stay_together(tmp_path):
    for name in ("a", "b", "c", "d"):
        write_case(tmp_path, name)
    cases = [
        entry("a", patient="17"), entry("b", patient="18"), entry("c", patient="17"), entry("d"),
        {**entry("d"), "name": "d, other ear"},
    ]  # fmt: skip
    told = [case.one_patient for case in read_manifest(write_manifest(tmp_path, cases)).cases]
    assert told[0] == told[2]
    assert told[3] == told[4]
    assert len(set(told)) == 3


def test_patient_that_is_no_text_is_said(tmp_path):
    write_case(tmp_path, "a")
    with pytest.raises(ManifestError, match="the patient 17, which must be a text"):
        read_manifest(write_manifest(tmp_path, [entry("a", patient=17)]))


def test_too_few_patients_for_a_split_are_refused():
    with pytest.raises(ValueError, match="cases of 3 patients cannot be parted into 4 folds"):
        partition(["a", "b", "c", "c"], 1, 4, seed=1)
    with pytest.raises(ValueError, match="of 2 cases of 1 patients, 1 cannot be held out"):
        redraw(["a", "a"], 1, 1, seed=1)


@pytest.mark.parametrize("name", ["autocasnet", "autocasnet_residual", "unet_2d", "squeeze_excitation_unet_2d"])
def test_networks_of_hussain_are_trained_on_four_parts(name):
    data = data_of(read_configuration(name))
    assert (data.split, data.folds) == ("partition", 4)
    assert data_of(read_configuration("base")).split == "redraw"


def test_unknown_split_is_refused():
    with pytest.raises(ValueError, match="split must be redraw or partition, got 'leave-one-out'"):
        tiny_config(data={"kind": "manifest", "manifest": "x", "split": "leave-one-out"})


def test_parts_of_a_configuration_hold_out_every_scan_once(tmp_path):
    for name in ("a", "b", "c"):
        write_case(tmp_path, name)
    manifest = write_manifest(tmp_path, [entry(name) for name in ("a", "b", "c")])
    table = {"kind": "manifest", "manifest": str(manifest), "split": "partition", "folds": 3, "region_mm": 14.0,
             "validation_tiles": 1}  # fmt: skip
    held_out = []
    for fold in (1, 2, 3):
        with open_data(tiny_config(data={**table, "fold": fold}), tmp_path / "scans", lambda line: None) as data:
            held_out += data.seen.validated.cases["Balls"]
            assert sorted(data.seen.taught.cases["Balls"] + data.seen.validated.cases["Balls"]) == ["a", "b", "c"]
    assert sorted(held_out) == ["a", "b", "c"]


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


def test_more_cases_held_out_than_there_are_is_refused():
    with pytest.raises(ValueError, match="cannot be held out"):
        redraw(ALL_APART[:5], 1, 5, seed=1)


def test_configuration_opens_a_data_set_with_its_folds(tmp_path):
    for name in ("a", "b", "c"):
        write_case(tmp_path, name)
    manifest = write_manifest(tmp_path, [entry(name) for name in ("a", "b", "c")])
    config = tiny_config(data={"kind": "manifest", "manifest": "-", "region_mm": 14.0})
    config = with_manifest(config, manifest, 2)
    said = []
    with open_data(config, tmp_path / "scans", said.append) as data:
        assert said[0] == "Training on 2 scans, holding out 1 of 3."
        assert len(data.source.folders) == 2
        assert len(data.validation) == 8
        assert all(sample.labyrinth.max() > 0.5 for sample in data.validation)
        first, again = data.source.sample(5), data.source.sample(5)
        assert np.array_equal(first.image, again.image)
        assert first.image.shape == (16, 16, 16)
        assert "Balls, fold 2 of 3" in data.trained_on
        assert data.region_mm == 14.0


@pytest.mark.parametrize(("cases", "held_out"), [(43, 5), (100, 5), (24, 3), (12, 2), (8, 1), (3, 1), (1, 1)])
def test_small_data_sets_keep_most_of_their_scans_for_training(cases, held_out):
    assert ManifestData().held_out_of(cases) == held_out
    assert ManifestData(validation_cases=7).held_out_of(cases) == 7


def test_fold_without_a_data_set_is_refused():
    with pytest.raises(ValueError, match="--fold needs a data set"):
        with_manifest(read_configuration("clinical"), None, 2)


def test_fold_that_does_not_exist_is_refused(tmp_path):
    write_case(tmp_path, "a")
    with pytest.raises(ValueError, match="fold must be 1 to 3"):
        with_manifest(tiny_config(), write_manifest(tmp_path, [entry("a")]), 4)
