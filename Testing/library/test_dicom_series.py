"""DICOM folders: the order and the place of the slices come from their positions; what is wrong is said."""

import re
import struct

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from InnerEarAILib import dicom_files
from InnerEarAILib.progress import Progress
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


@pytest.mark.parametrize("rescaling", [{"0028|1052": "-1024", "0028|1053": "1"}, {}], ids=["rescaled", "as stored"])
def test_slices_that_are_held_unlike_keep_their_values(tmp_path, rescaling):
    volume = noisy_scan(shape=SHAPE)
    volume.voxels[0] = volume.voxels[0].clip(0)
    write_dicom(tmp_path / "scan", volume, leave_out=(0,), changes=lambda k, tags: tags | rescaling)
    # Without a sign, and without an intercept.
    write_dicom(tmp_path / "scan", volume.with_voxels(volume.voxels.astype(np.uint16)), leave_out=range(1, SHAPE[0]))
    assert volume.voxels.min() < 0
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


def notes_of(folder, *arguments):
    notes = []
    read_volume(folder, *arguments, progress=Progress(on_note=notes.append))
    return notes


def test_which_series_was_taken_is_said_where_there_are_others(tmp_path):
    write_dicom(
        tmp_path / "scan" / "a", noisy_scan(shape=(44, *SHAPE[1:])), number="3", changes=tagged(t0018_1210="H30")
    )
    bone = tagged(t0018_1210="BONEPLUS", t0008_103e="Jane Doe")
    write_dicom(tmp_path / "scan" / "b", noisy_scan(shape=SHAPE), series="1.2.3.5", changes=bone)
    assert notes_of(tmp_path / "scan") == [
        "Series 3 (44 slices, kernel H30) was taken; left aside: series 4 (20 slices, kernel BONEPLUS)."
    ]
    assert notes_of(tmp_path / "scan", 3) == []
    assert notes_of(tmp_path / "scan" / "a") == []


def test_slices_of_the_series_in_another_plane_are_said_to_be_left_aside(tmp_path):
    write_dicom(tmp_path / "scan" / "a", noisy_scan(shape=SHAPE))
    scouts = noisy_scan(affine((90, 0, 0)), (3, 40, 40))
    write_dicom(tmp_path / "scan" / "b", scouts, changes=lambda k, tags: tags | {"0008|0018": f"1.2.3.4.9{k}"})
    expected = ["Left aside in the series: 3 slices of another size, plane or pixel spacing."]
    assert notes_of(tmp_path / "scan") == notes_of(tmp_path / "scan", 4) == expected


def test_a_slice_of_another_size_is_not_called_missing(tmp_path):
    volume = noisy_scan(shape=SHAPE)
    write_dicom(tmp_path / "scan", volume, leave_out=[7])
    small = volume.crop((0, 0, 0), (20, 20, 20))
    write_dicom(tmp_path / "scan" / "small", small, leave_out=[k for k in range(20) if k != 7])
    assert (
        "has 1 slice of another size, plane or pixel spacing than the others, and a gap after slice 7 of 19"
        in refused(tmp_path / "scan")
    )


def test_linked_folders_are_looked_into_once(tmp_path):
    volume = noisy_scan(shape=SHAPE)
    write_dicom(tmp_path / "store" / "series", volume)
    (tmp_path / "scan").mkdir()
    (tmp_path / "scan" / "linked").symlink_to(tmp_path / "store")
    (tmp_path / "store" / "back").symlink_to(tmp_path / "scan")
    (tmp_path / "scan" / "again").symlink_to(tmp_path / "store" / "series")
    files = list(dicom_files._files_below(tmp_path / "scan"))
    assert len(files) == SHAPE[0]
    np.testing.assert_array_equal(read_volume(tmp_path / "scan").voxels, volume.voxels)


def moved(k, shift):
    def change(index, tags):
        x, y, z = map(float, tags["0020|0032"].split("\\"))
        return tags | {"0020|0032": f"{x}\\{y}\\{z + shift}"} if index == k else tags

    return change


def tilted(index, tags):
    x, y, z = map(float, tags["0020|0032"].split("\\"))
    return tags | {"0020|0032": f"{x}\\{y + 0.2 * index}\\{z}"}


def aside(index, tags):
    x, y, z = map(float, tags["0020|0032"].split("\\"))
    return tags | {"0020|0032": f"{x + 8 * (6 < index < 12)}\\{y}\\{z}"}


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
    "slices aside": (
        {"changes": aside},
        "lie up to 8 mm aside of the others",
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


def slice_files(folder):
    """The files of a series in the order of their slices (the instance UID ends in the slice's number)."""
    return sorted(folder.iterdir(), key=lambda path: int(re.search(rb"1\.2\.3\.4\.(\d+)", path.read_bytes())[1]))


def in_bytes(path, old, new):
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new))


def without_last_bytes(path):
    path.write_bytes(path.read_bytes()[:-400])


def header_alone(path):
    path.write_bytes(path.read_bytes()[:400])


def beginning_of_header(path):
    path.write_bytes(path.read_bytes()[:140])


def emptied(path):
    path.write_bytes(b"")


def fewer_pixels(path):
    """A file that ends as it says, with fewer pixels than its rows and columns."""
    size = 2 * SHAPE[1] * SHAPE[2]
    pixels = b"\xe0\x7f\x10\0"
    in_bytes(path, pixels + struct.pack("<I", size), pixels + struct.pack("<I", size - 200))
    path.write_bytes(path.read_bytes()[:-200])


@pytest.mark.parametrize("place", [0, 5, -1])
@pytest.mark.parametrize("damage", [without_last_bytes, header_alone, beginning_of_header, emptied, fewer_pixels])
def test_series_with_a_damaged_slice_is_refused_wherever_it_lies(tmp_path, capfd, damage, place):
    write_dicom(tmp_path / "scan", noisy_scan(shape=SHAPE))
    damage(slice_files(tmp_path / "scan")[place])
    assert "A file of the DICOM series in the folder scan cannot be read whole" in refused(tmp_path / "scan")
    assert capfd.readouterr().err == ""


def element(tag, text):
    """An element as the writer of these tests puts it: implicit VR, little-endian."""
    return struct.pack("<HHI", *tag, len(text)) + text


def rewritten(path, tag, text):
    """A file with another text in the last element of a tag."""
    content = path.read_bytes()
    start = content.rindex(struct.pack("<HH", *tag))
    length = struct.unpack("<I", content[start + 4 : start + 8])[0]
    padded = text.encode() + b" " * (len(text) % 2)
    path.write_bytes(content[:start] + element(tag, padded) + content[start + 8 + length :])


def test_what_is_no_slice_of_the_series_may_be_unreadable(tmp_path):
    """Contours name the series that they were drawn on; another series, and a copy of what was read, are not missed."""
    volume = noisy_scan(shape=SHAPE)
    write_dicom(tmp_path / "scan", volume)
    contours = element((8, 0x16), b"1.2.840.10008.5.1.4.1.1.481.3\0") + element((0x20, 0xE), b"1.2.3.4\0")
    (tmp_path / "scan" / "contours.dcm").write_bytes(bytes(128) + b"DICM" + contours)
    (tmp_path / "scan" / "._0001.dcm").write_bytes(b"Finder")
    (tmp_path / "scan" / "empty.txt").touch()
    write_dicom(tmp_path / "other", noisy_scan(shape=SHAPE), series="1.2.3.9")
    write_dicom(tmp_path / "copy", volume)
    for number, folder in enumerate(("other", "copy")):
        file = sorted((tmp_path / folder).iterdir())[3]
        without_last_bytes(file)
        file.rename(tmp_path / "scan" / f"damaged{number}.dcm")
    np.testing.assert_array_equal(read_volume(tmp_path / "scan").voxels, volume.voxels)


def test_inverted_greys_are_refused(tmp_path):
    write_dicom(tmp_path / "scan", noisy_scan(shape=SHAPE))
    in_bytes(slice_files(tmp_path / "scan")[3], b"MONOCHROME2 ", b"MONOCHROME1 ")
    assert "MONOCHROME1" in refused(tmp_path / "scan")


def test_slices_without_a_preamble_are_read(tmp_path):
    volume = noisy_scan(shape=SHAPE)
    write_dicom(tmp_path / "scan", volume)
    for path in (tmp_path / "scan").iterdir():
        path.write_bytes(path.read_bytes()[132:])
    np.testing.assert_array_equal(read_volume(tmp_path / "scan").voxels, volume.voxels)


def test_slices_of_one_instance_uid_lie_at_their_own_places(tmp_path):
    volume = noisy_scan(shape=SHAPE)
    write_dicom(tmp_path / "scan", volume, changes=tagged(t0008_0018="1.2.3.4.5"))
    np.testing.assert_array_equal(read_volume(tmp_path / "scan").voxels, volume.voxels)


def test_orientation_of_other_than_unit_length_does_not_change_distances(tmp_path):
    volume = noisy_scan(affine(), SHAPE)
    write_dicom(tmp_path / "scan", volume)
    for path in (tmp_path / "scan").iterdir():
        rewritten(path, (0x20, 0x37), "0.999\\0\\0\\0\\0.999\\0")
    assert np.abs(read_volume(tmp_path / "scan").grid.corners_lps() - volume.grid.corners_lps()).max() < 1e-6


@pytest.mark.parametrize(
    ("tag", "even", "odd"),
    [
        ((0x20, 0x37), "1\\0.0004999\\0\\-0.0004999\\1\\0", "1\\0.0005001\\0\\-0.0005001\\1\\0"),
        ((0x28, 0x30), "0.6000049\\0.5", "0.6000051\\0.5"),
    ],
    ids=["orientation", "pixel size"],
)
def test_a_last_digit_does_not_split_a_series(tmp_path, tag, even, odd):
    volume = noisy_scan(affine(), SHAPE)
    write_dicom(tmp_path / "scan", volume)
    for k, path in enumerate(slice_files(tmp_path / "scan")):
        rewritten(path, tag, odd if k % 2 else even)
    np.testing.assert_array_equal(read_volume(tmp_path / "scan").voxels, volume.voxels)


def test_series_number_is_a_number_however_it_is_written(tmp_path):
    volume = noisy_scan(shape=SHAPE)
    write_dicom(tmp_path / "scan", volume, number="007")
    np.testing.assert_array_equal(read_volume(tmp_path / "scan", 7).voxels, volume.voxels)


def test_series_of_one_number_are_not_told_apart_by_it(tmp_path):
    for name, series in (("a", "1.2.3.4"), ("b", "1.2.3.5")):
        write_dicom(tmp_path / "scan" / name, noisy_scan(shape=SHAPE), series=series)
    for arguments in ((), (4,)):
        sentence = refused(tmp_path / "scan", *arguments)
        assert "a folder of its own" in sentence
        assert "by its series number" not in sentence


def test_archive_is_not_taken_for_a_scan(tmp_path, monkeypatch):
    monkeypatch.setattr(dicom_files, "MOST_FILES", 5)
    write_dicom(tmp_path / "scan", noisy_scan(shape=SHAPE))
    assert "more than 5 files" in refused(tmp_path / "scan")


def test_multi_frame_file_is_refused(tmp_path):
    image = noisy_scan(shape=SHAPE).to_sitk()
    image.SetMetaData("0008|0060", "CT")
    sitk.WriteImage(image, str(tmp_path / "enhanced.dcm"))
    assert "multi-frame DICOM" in refused(tmp_path)


def test_multi_frame_file_is_not_hidden_by_a_few_previews(tmp_path):
    image = noisy_scan(shape=SHAPE).to_sitk()
    image.SetMetaData("0008|0060", "CT")
    sitk.WriteImage(image, str(tmp_path / "enhanced.dcm"))
    write_dicom(tmp_path, noisy_scan(shape=(3, *SHAPE[1:])), series="1.2.3.5", number="1")
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
