"""DICOM folders: the order and the place of the slices come from their positions; what is wrong is said."""

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from InnerEarAILib import dicom_series
from InnerEarAILib.scan_files import read_volume
from InnerEarAILib.volume import InputError
from library.scans import affine, noisy_scan, write_dicom

SHAPE = (20, 26, 28)


def refused(folder, *arguments):
    with pytest.raises(InputError) as caught:
        read_volume(folder, *arguments)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert sentence.endswith(".")
    assert "Jane" not in sentence
    return sentence


right_handed = st.builds(
    affine,
    rotation_degrees=st.tuples(*[st.floats(-180, 180)] * 3),
    spacing=st.tuples(*[st.floats(0.45, 1.2)] * 3),
    origin=st.tuples(*[st.floats(-500, 500)] * 3),
    axes=st.sampled_from([(0, 1, 2), (1, 2, 0), (2, 0, 1)]),
    flips=st.sampled_from([(1, 1, 1), (-1, -1, 1), (1, -1, -1)]),
)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(matrix=right_handed, seed=st.integers(0, 10**6))
def test_series_is_read_at_its_place_whatever_the_file_names(tmp_path_factory, matrix, seed):
    volume = noisy_scan(matrix, SHAPE, seed)
    folder = tmp_path_factory.mktemp("dicom") / "right ear"
    write_dicom(folder, volume, seed=seed)
    again = read_volume(folder)
    np.testing.assert_array_equal(again.voxels, volume.voxels)
    assert np.abs(again.grid.corners_lps() - volume.grid.corners_lps()).max() < 1e-6
    assert again.name == "right ear"


def test_slices_are_found_in_folders_below_and_other_files_are_left_aside(tmp_path):
    volume = noisy_scan(shape=SHAPE)
    write_dicom(tmp_path / "study" / "series", volume)
    (tmp_path / "study" / "DICOMDIR").write_bytes(bytes(128) + b"DICM" + bytes(50))
    (tmp_path / "study" / "report.txt").write_text("No slice.")
    (tmp_path / "study" / "report").write_bytes(bytes(128) + b"DICM" + bytes(50))
    np.testing.assert_array_equal(read_volume(tmp_path / "study").voxels, volume.voxels)


def test_the_same_slices_exported_twice_are_one_series(tmp_path):
    volume = noisy_scan(shape=SHAPE)
    write_dicom(tmp_path / "scan" / "one", volume)
    write_dicom(tmp_path / "scan" / "two", volume, seed=1)
    np.testing.assert_array_equal(read_volume(tmp_path / "scan").voxels, volume.voxels)


def test_values_are_rescaled_to_hounsfield_units(tmp_path):
    volume = noisy_scan(shape=SHAPE)
    write_dicom(tmp_path / "scan", volume, changes=lambda k, tags: tags | {"0028|1052": "-1024", "0028|1053": "1"})
    np.testing.assert_array_equal(read_volume(tmp_path / "scan").voxels, volume.voxels)


def test_positions_rounded_to_hundredths_still_make_a_series(tmp_path):
    volume = noisy_scan(affine(spacing=(0.3, 0.3, 0.333), origin=(0, 0, 0.123)), (32, 40, 40))

    def rounded(k, tags):
        z = round(0.123 + 0.333 * k, 2)
        return tags | {"0020|0032": f"0\\0\\{z}"}

    write_dicom(tmp_path / "scan", volume, changes=rounded)
    again = read_volume(tmp_path / "scan")
    assert np.abs(again.grid.corners_lps() - volume.grid.corners_lps()).max() < 0.011


def test_scout_views_do_not_hide_the_series(tmp_path):
    volume = noisy_scan(shape=SHAPE)
    write_dicom(tmp_path / "scan" / "a", volume)
    write_dicom(tmp_path / "scan" / "b", noisy_scan(affine((90, 0, 0)), (2, 40, 40)), series="1.2.3.5", number="1")
    np.testing.assert_array_equal(read_volume(tmp_path / "scan").voxels, volume.voxels)


def test_series_of_like_size_are_listed_and_chosen_by_number(tmp_path):
    bone, soft = noisy_scan(shape=SHAPE), noisy_scan(shape=SHAPE, seed=1)
    write_dicom(tmp_path / "scan" / "a", bone, changes=lambda k, tags: tags | {"0018|1210": "BONEPLUS"})
    write_dicom(tmp_path / "scan" / "b", soft, series="1.2.3.5", number="7")
    sentence = refused(tmp_path / "scan")
    assert "series 4 (20 slices, kernel BONEPLUS)" in sentence
    assert "series 7 (20 slices)" in sentence
    np.testing.assert_array_equal(read_volume(tmp_path / "scan", 7).voxels, soft.voxels)
    np.testing.assert_array_equal(read_volume(tmp_path / "scan", 4).voxels, bone.voxels)
    assert "no CT series 5" in refused(tmp_path / "scan", 5)


def moved(k, shift):
    def change(index, tags):
        x, y, z = map(float, tags["0020|0032"].split("\\"))
        return tags | {"0020|0032": f"{x}\\{y}\\{z + shift}"} if index == k else tags

    return change


def tilted(index, tags):
    x, y, z = map(float, tags["0020|0032"].split("\\"))
    return tags | {"0020|0032": f"{x}\\{y + 0.2 * index}\\{z}"}


def widening(index, tags):
    return tags | {"0020|0032": f"0\\0\\{0.7 * index + 0.01 * index**2}"}


def tagged(**tags):
    return lambda index, before: before | {key.replace("t", "").replace("_", "|"): v for key, v in tags.items()}


BAD_SERIES = {
    "a gap": (
        {"leave_out": (7, 8)},
        "Slices are missing in the folder scan: 2 at least, the first gap after slice 7 of",
    ),
    "several gaps": ({"leave_out": (3, 7, 8)}, "Slices are missing in the folder scan: 3 at least"),
    "a displaced slice": ({"changes": moved(5, 0.2)}, "unevenly spaced"),
    "a growing distance": ({"changes": widening}, "unevenly spaced"),
    "two slices at one place": ({"changes": moved(5, 0.7)}, "at the same place"),
    "gantry tilt": (
        {"changes": tilted},
        "gantry tilt of 15.9°); load it with Slicer's DICOM module, harden its acquisition transform",
    ),
    "a single slice": ({"leave_out": range(1, 20)}, "a single DICOM slice"),
    "MR": ({"changes": tagged(t0008_0060="MR")}, "are MR (magnetic resonance), not CT"),
    "PET": ({"changes": tagged(t0008_0060="PT")}, "not CT"),
    "thick slices": ({"changes": lambda k, tags: tags | {"0020|0032": f"0\\0\\{5 * k}"}}, "too coarse"),
}


@pytest.mark.parametrize("case", BAD_SERIES)
def test_bad_series_is_refused_in_one_sentence(tmp_path, capfd, case):
    options, words = BAD_SERIES[case]
    write_dicom(tmp_path / "scan", noisy_scan(shape=SHAPE), **options)
    assert words in refused(tmp_path / "scan")
    assert capfd.readouterr() == ("", "")


def test_folder_without_dicom_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("No slices here.")
    assert "no DICOM images" in refused(tmp_path)


def test_slice_that_is_cut_off_is_refused(tmp_path, capfd):
    write_dicom(tmp_path / "scan", noisy_scan(shape=SHAPE))
    damaged = sorted((tmp_path / "scan").iterdir())[5]
    damaged.write_bytes(damaged.read_bytes()[:-400])
    sentence = refused(tmp_path / "scan")
    assert "cannot be read" in sentence or "missing" in sentence
    assert capfd.readouterr().err == ""


def test_archive_is_not_taken_for_a_scan(tmp_path, monkeypatch):
    monkeypatch.setattr(dicom_series, "MOST_FILES", 5)
    write_dicom(tmp_path / "scan", noisy_scan(shape=SHAPE))
    assert "more than 5 files" in refused(tmp_path / "scan")


def test_multi_frame_file_is_refused(tmp_path):
    image = noisy_scan(shape=SHAPE).to_sitk()
    image.SetMetaData("0008|0060", "CT")
    sitk.WriteImage(image, str(tmp_path / "enhanced.dcm"))
    assert "multi-frame DICOM" in refused(tmp_path)


def test_colour_images_are_refused(tmp_path):
    for k in range(12):
        picture = sitk.Image([20, 20], sitk.sitkVectorUInt8, 3)
        picture.SetMetaData("0020|0013", str(k))
        sitk.WriteImage(picture, str(tmp_path / f"{k}.dcm"))
    assert "in colour" in refused(tmp_path)


def test_images_without_a_position_are_refused(tmp_path):
    write_dicom(tmp_path / "scan", noisy_scan(shape=SHAPE))
    for path in (tmp_path / "scan").iterdir():
        # (0020,0032) becomes a tag that nobody asks for.
        path.write_bytes(path.read_bytes().replace(b"\x20\x00\x32\x00", b"\x20\x00\x33\x00", 1))
    assert "where in space they lie" in refused(tmp_path / "scan")
