"""Which cases of a data set a fold holds out: random but fixed, and never a patient on both sides."""

from __future__ import annotations

import numpy as np
import pytest

from InnerEarAILib.training.configuration import read_configuration
from InnerEarAILib.training.data_settings import ManifestData
from InnerEarAILib.training.data_source import data_of, open_data, with_manifest
from InnerEarAILib.training.manifest import read_manifest
from InnerEarAILib.training.splits import on_both_sides, partition, redraw
from InnerEarAILib.volume import InputError
from library.tiny_training import tiny_config
from library.written_cases import entry, volumes, write_case, write_manifest

ALL_APART = [str(number) for number in range(43)]

NAMES = ("a", "b", "c")


def write_scans(folder):
    """Writes a case of each of NAMES, each with a scan of its own."""
    for number, name in enumerate(NAMES):
        scan, _ = volumes()
        scan.voxels[0, 0, 0] += number
        write_case(folder, name, scan)


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
    write_scans(tmp_path)
    manifest = write_manifest(tmp_path, [entry(name) for name in NAMES])
    table = {"kind": "manifest", "manifest": str(manifest), "split": "partition", "folds": 3, "region_mm": 14.0,
             "validation_tiles": 1}  # fmt: skip
    held_out = []
    for fold in (1, 2, 3):
        with open_data(tiny_config(data={**table, "fold": fold}), tmp_path / "scans", lambda line: None) as data:
            held_out += data.seen.validated.cases["Balls"]
            assert sorted(data.seen.taught.cases["Balls"] + data.seen.validated.cases["Balls"]) == ["a", "b", "c"]
    assert sorted(held_out) == ["a", "b", "c"]


@pytest.mark.parametrize(("patient", "refused"), [("18", 2), ("17", 0)])
def test_one_scan_under_two_names_is_not_trained_on_and_held_out(tmp_path, patient, refused):
    write_scans(tmp_path)
    write_case(tmp_path, "copy")  # of a
    cases = [entry("a", patient=patient), entry("b"), entry("c"), entry("copy", patient="17")]
    folds = len({case.get("patient", case["name"]) for case in cases})
    table = {"kind": "manifest", "split": "partition", "folds": folds, "region_mm": 14.0, "validation_tiles": 1,
             "manifest": str(write_manifest(tmp_path, cases))}  # fmt: skip
    said = []
    for fold in range(1, folds + 1):
        try:
            with open_data(tiny_config(data={**table, "fold": fold}), tmp_path / "scans", lambda line: None) as data:
                assert not data.seen.taught.sha256 & data.seen.validated.sha256
        except InputError as error:
            said.append(str(error))
    assert len(said) == refused
    assert all("held out: a and copy. Give cases of one scan the same patient" in sentence for sentence in said)


def test_cases_that_share_a_scan_are_told_where_it_lies_on_both_sides():
    assert on_both_sides(["x", "y", "x", "z"], [0, 1], [2, 3]) == [[0, 2]]
    assert on_both_sides(["x", "y", "x", "z"], [0, 1, 2], [3]) == []


def test_blanks_round_a_patient_do_not_make_another_one(tmp_path):
    for name in NAMES:
        write_case(tmp_path, name)
    path = write_manifest(tmp_path, [entry("a", patient="17"), entry("b", patient="17 "), entry("c", patient=" ")])
    told = [case.one_patient for case in read_manifest(path).cases]
    assert told[0] == told[1]
    assert told[2].startswith("scan ")


def test_more_cases_held_out_than_there_are_is_refused():
    with pytest.raises(ValueError, match="cannot be held out"):
        redraw(ALL_APART[:5], 1, 5, seed=1)


def test_configuration_opens_a_data_set_with_its_folds(tmp_path):
    write_scans(tmp_path)
    manifest = write_manifest(tmp_path, [entry(name) for name in NAMES])
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
