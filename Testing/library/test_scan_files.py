"""Scans on disk: the place in space survives every format; what is wrong with a file is said in one sentence."""

import gzip
import os
import re
import struct

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from InnerEarAILib.progress import Progress
from InnerEarAILib.scan_files import SCAN_SUFFIXES, read_labels, read_volume, scan_suffix, write_volume
from InnerEarAILib.volume import Grid
from library.refusals import refused
from library.scans import SHAPE, affine, affines, noisy_scan, write_dicom

few_files = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def outermost_position_difference(one: Grid, other: Grid) -> float:
    return np.abs(one.corners_lps() - other.corners_lps()).max()


@few_files
@given(matrix=affines(), seed=st.integers(0, 1000))
@pytest.mark.parametrize(
    ("suffix", "tolerance_mm"),
    # NIfTI keeps positions as 32-bit floats.
    [(".nrrd", 1e-9), (".mha", 1e-9), (".nii", 1e-4), (".nii.gz", 1e-4)],
)
def test_written_volume_is_read_back_at_its_place(tmp_path, suffix, tolerance_mm, matrix, seed):
    volume = noisy_scan(matrix, seed=seed, name="ear")
    write_volume(tmp_path / f"ear{suffix}", volume)
    again = read_volume(tmp_path / f"ear{suffix}")
    np.testing.assert_array_equal(again.voxels, volume.voxels)
    assert outermost_position_difference(again.grid, volume.grid) < tolerance_mm
    assert again.name == "ear"
    assert [file.name for file in tmp_path.iterdir()] == [f"ear{suffix}"]
    (tmp_path / f"ear{suffix}").unlink()


@pytest.mark.parametrize("suffix", [".nhdr", ".mhd"])
def test_headers_with_voxels_in_another_file_are_read(tmp_path, suffix):
    volume = noisy_scan(affine((10, 20, 30), flips=(1, -1, 1)))
    sitk.WriteImage(volume.to_sitk(), str(tmp_path / f"ear{suffix}"))
    again = read_volume(tmp_path / f"ear{suffix}")
    np.testing.assert_array_equal(again.voxels, volume.voxels)
    assert outermost_position_difference(again.grid, volume.grid) < 1e-9


def test_a_file_in_ras_lies_where_one_in_lps_does(tmp_path):
    volume = noisy_scan(affine((10, 20, 30), origin=(30, -20, 10)))
    path = tmp_path / "scan.nrrd"
    sitk.WriteImage(volume.to_sitk(), str(path))
    header, gap, voxels = path.read_bytes().partition(b"\n\n")
    header = header.replace(b"left-posterior-superior", b"right-anterior-superior")

    def turned(vector):
        x, y, z = map(float, vector[1].split(b","))
        return f"({-x!r},{-y!r},{z!r})".encode()

    path.write_bytes(re.sub(rb"\(([^()]*,[^()]*,[^()]*)\)", turned, header) + gap + voxels)
    assert outermost_position_difference(read_volume(path).grid, volume.grid) < 1e-9


def test_suffix_is_known_in_capitals_and_with_dots_in_the_name(tmp_path):
    write_volume(tmp_path / "Ear.left.2.NRRD", noisy_scan())
    assert read_volume(tmp_path / "Ear.left.2.NRRD").name == "Ear.left.2"


def test_four_dimensions_of_which_one_is_single_are_a_volume(tmp_path):
    volume = noisy_scan(affine((5, 6, 7)))
    image = sitk.JoinSeries([volume.to_sitk()])
    sitk.WriteImage(image, str(tmp_path / "one.nrrd"))
    again = read_volume(tmp_path / "one.nrrd")
    np.testing.assert_array_equal(again.voxels, volume.voxels)
    assert outermost_position_difference(again.grid, volume.grid) < 1e-6


def written(path, image):
    sitk.WriteImage(image, str(path), useCompression=path.suffix == ".nrrd")
    return path


def cut_off(path, share=0.6):
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path


def with_header(path, pattern, replacement):
    sitk.WriteImage(noisy_scan().to_sitk(), str(path))
    path.write_bytes(re.sub(pattern, replacement, path.read_bytes(), count=1))
    return path


def with_nifti_bytes(path, start, values):
    sitk.WriteImage(noisy_scan().to_sitk(), str(path))
    content = bytearray(path.read_bytes())
    content[start : start + len(values)] = values
    path.write_bytes(content)
    return path


def nifti_forms(path, qform, sform, mirrored=False):
    """A NIfTI file with these codes; its sform turns one axis the other way, if wanted."""
    content = bytearray(written(path, noisy_scan().to_sitk()).read_bytes())
    content[252:256] = struct.pack("<2h", qform, sform)
    rows = np.array(struct.unpack("<12f", content[280:328]))
    content[280:328] = struct.pack("<12f", *(rows * ([-1] * 4 + [1] * 8 if mirrored else 1)))
    path.write_bytes(content)
    return path


def nifti_2(path):
    path.write_bytes(struct.pack("<i", 540) + b"n+2\0\r\n\x1a\n" + bytes(3000))
    return path


def empty_file(path):
    path.touch()
    return path


def text_file(path):
    path.write_text("This is no scan. " * 100)
    return path


def huge_header(path):
    path.write_text(
        "NRRD0004\ntype: short\ndimension: 3\nsizes: 9100 9000 8000\n"
        "spacings: 0.1 0.1 0.1\nendian: little\nencoding: raw\n\n"
    )
    return path


def long_time_series(path):
    """As perfusion CT: more voxels than a scan may have, in volumes that are none too large."""
    sitk.WriteImage(sitk.Image([16, 16, 16, 2], sitk.sitkInt16), str(path))
    content = bytearray(path.read_bytes())
    content[40:50] = struct.pack("<5h", 4, 256, 256, 256, 100)
    with path.open("wb") as file:
        file.write(content)
        file.truncate(352 + 2 * 256**3 * 100)
    return path


def segmentation_file(path):
    image = sitk.Cast(noisy_scan().to_sitk() > 0, sitk.sitkUInt8)
    image.SetMetaData("Segment0_ID", "labyrinth")
    return written(path, image)


SHEAR = struct.pack("<2h", 0, 1) + bytes(24) + struct.pack("<12f", 1, 0.3, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0)

BAD_FILES = {
    "compressed by bzip2": (
        "scan.nrrd",
        lambda p: with_header(p, rb"encoding: \w+", b"encoding: bzip2"),
        "is compressed by bzip2",
    ),
    "missing": ("no.nrrd", lambda p: p, "no file or folder"),
    "unknown format": ("scan.stl", text_file, "no known format"),
    "no format": ("scan", text_file, "no known format"),
    "empty": ("scan.nrrd", empty_file, "is empty"),
    "text": ("scan.nii.gz", text_file, "damaged"),
    "text in mha": ("scan.mha", text_file, "damaged"),
    "2D": ("scan.nrrd", lambda p: written(p, sitk.Image(30, 30, sitk.sitkInt16)), "flat image"),
    "one slice": ("scan.nii", lambda p: written(p, sitk.Image(30, 30, 1, sitk.sitkInt16)), "flat image"),
    "4D": ("scan.nii.gz", lambda p: written(p, sitk.Image([30, 30, 30, 3], sitk.sitkInt16)), "time series"),
    "4D nrrd": ("scan.nrrd", lambda p: written(p, sitk.Image([30, 30, 30, 3], sitk.sitkInt16)), "time series"),
    "RGB": ("scan.mha", lambda p: written(p, sitk.Image([30, 30, 30], sitk.sitkVectorUInt8, 3)), "3 values per voxel"),
    "segmentation": ("scan.seg.nrrd", segmentation_file, "is a segmentation"),
    "nrrd cut off": ("scan.nrrd", lambda p: cut_off(written(p, noisy_scan().to_sitk())), "cut off"),
    "mha cut off": ("scan.mha", lambda p: cut_off(written(p, noisy_scan().to_sitk())), "cut off"),
    "nii cut off": ("scan.nii", lambda p: cut_off(written(p, noisy_scan().to_sitk())), "cut off"),
    "nii short of one byte": ("scan.nii", lambda p: cut_off(written(p, noisy_scan().to_sitk()), 0.99999), "cut off"),
    "nii.gz cut off": ("scan.nii.gz", lambda p: cut_off(written(p, noisy_scan().to_sitk())), "cut off"),
    "nrrd header alone": ("scan.nrrd", lambda p: cut_off(written(p, noisy_scan().to_sitk()), 0.01), "."),
    "huge": ("scan.nrrd", huge_header, "has 9100 × 9000 × 8000 voxels, more than the"),
    "zero spacing": ("scan.nrrd", lambda p: with_header(p, rb"\(0\.5,0,0\)", b"(0,0,0)"), "spacing of zero"),
    "zero spacing in nifti": ("scan.nii", lambda p: with_nifti_bytes(p, 80, bytes(4)), "spacing of zero"),
    "negative spacing in nifti": ("scan.nii", lambda p: with_nifti_bytes(p, 80, struct.pack("<f", -1)), "zero or less"),
    "NaN spacing in nifti": ("scan.nii", lambda p: with_nifti_bytes(p, 80, struct.pack("<f", np.nan)), "zero or less"),
    "zero spacing in mha": (
        "scan.mha",
        lambda p: with_header(p, rb"ElementSpacing = 0.5", b"ElementSpacing = 0"),
        "zero",
    ),
    "no spacing": ("scan.nrrd", lambda p: with_header(p, rb"space directions:.*\n", b""), "how large its voxels"),
    "unknown spacing": (
        "scan.nrrd",
        lambda p: with_header(p, rb"\(0,0,[^)]*\)", b"(nan,nan,nan)"),
        "how large its voxels",
    ),
    "centimetres": (
        "scan.nrrd",
        lambda p: with_header(p, rb"space: left", b'space units: "cm" "cm" "cm"\nspace: left'),
        "gives its lengths in cm",
    ),
    "centimetres in mha": (
        "scan.mha",
        lambda p: with_header(p, rb"ElementSpacing", b"DistanceUnits = cm\nElementSpacing"),
        "gives its lengths in cm",
    ),
    "offset that is no number": ("scan.nii", lambda p: with_nifti_bytes(p, 108, struct.pack("<f", np.nan)), "damaged"),
    "endless offset": ("scan.nii", lambda p: with_nifti_bytes(p, 108, struct.pack("<f", np.inf)), "damaged"),
    "long time series": ("scan.nii", long_time_series, "time series"),
    "no spacing in mha": ("scan.mha", lambda p: with_header(p, rb"ElementSpacing.*\n", b""), "how large its voxels"),
    "unknown space": (
        "scan.nrrd",
        lambda p: with_header(p, rb"space: left-posterior-superior", b"space: right-posterior-superior"),
        "is in the space “right-posterior-superior”, which NRRD does not know",
    ),
    "left-handed space": (
        "scan.nrrd",
        lambda p: with_header(p, rb"space: left-posterior-superior", b"space: 3D-left-handed"),
        "is in the space 3D-left-handed",
    ),
    "mirrored nifti": ("scan.nii", lambda p: nifti_forms(p, 1, 1, mirrored=True), "left and right"),
    "NIfTI-2": ("scan.nii", nifti_2, "is NIfTI-2"),
    "name too long": ("n" * 256, lambda p: p, "no file or folder"),
    "sheared": ("scan.nrrd", lambda p: with_header(p, rb"\(0,0\.5\d*,0\)", b"(0.2,0.5,0)"), "onto a straight volume"),
    "sheared nifti": ("scan.nii", lambda p: with_nifti_bytes(p, 252, SHEAR), "onto a straight volume"),
    "voxels gone": (
        "scan.mhd",
        lambda p: (written(p, noisy_scan().to_sitk()), p.with_suffix(".raw").unlink(), p)[-1],
        ".",
    ),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_file_is_refused_in_one_sentence(tmp_path, capfd, case):
    name, make, words = BAD_FILES[case]
    path = make(tmp_path / name)
    assert words in refused(read_volume, path)
    assert capfd.readouterr() == ("", "")


SPACELESS = rb"space: left-posterior-superior", b"space dimension: 3"

LIES = {
    "NRRD": ("scan.nrrd", lambda p: written(p, noisy_scan().to_sitk()), True),
    "NRRD of the scanner": (
        "scan.nrrd",
        lambda p: with_header(p, rb"space: left-posterior-superior", b"space: scanner-xyz"),
        False,
    ),
    "NRRD in RAS": ("scan.nrrd", lambda p: with_header(p, rb"space: left-posterior-superior", b"space: RAS"), True),
    "NRRD without a space": ("scan.nrrd", lambda p: with_header(p, *SPACELESS), False),
    "NIfTI": ("scan.nii", lambda p: nifti_forms(p, 1, 1), True),
    "NIfTI with qform alone": ("scan.nii", lambda p: nifti_forms(p, 1, 0), True),
    "NIfTI with sform alone": ("scan.nii", lambda p: nifti_forms(p, 0, 1), True),
    "NIfTI without forms": ("scan.nii", lambda p: nifti_forms(p, 0, 0), False),
    "MetaImage": ("scan.mha", lambda p: written(p, noisy_scan().to_sitk()), True),
    "MetaImage without a matrix": ("scan.mha", lambda p: with_header(p, rb"TransformMatrix.*\n", b""), False),
}


@pytest.mark.parametrize("case", LIES)
def test_a_file_that_does_not_say_how_the_scan_lies_is_read_with_a_note(tmp_path, case):
    name, make, says_so = LIES[case]
    notes = []
    assert read_volume(make(tmp_path / name), progress=Progress(on_note=notes.append)).voxels.shape == SHAPE
    assert notes == ([] if says_so else ["The file does not say how the scan lies: check the side of each ear."])


def test_a_segmentation_is_read_where_labels_are_wanted(tmp_path):
    path = segmentation_file(tmp_path / "labyrinth.seg.nrrd")
    np.testing.assert_array_equal(read_labels(path).voxels, noisy_scan().voxels > 0)
    path = written(tmp_path / "layers.seg.nrrd", sitk.Image([30, 30, 30], sitk.sitkVectorUInt8, 2))
    content = path.read_bytes().replace(b"\n\n", b"\nSegment0_ID:=a\n\n", 1)
    path.write_bytes(content)
    assert "holds segments that overlap, in 2 layers" in refused(read_labels, path)
    assert "damaged" in refused(read_labels, text_file(tmp_path / "labels.nrrd"))


def test_an_empty_path_is_not_the_current_folder():
    assert "path of the scan is empty" in refused(read_volume, "")


def test_a_path_that_no_file_can_have_is_refused(tmp_path):
    assert "no file or folder" in refused(read_volume, tmp_path / "a\0b.nrrd")


def test_linked_scans_keep_the_names_of_their_links(tmp_path):
    volume = noisy_scan()
    write_volume(tmp_path / "scan.nrrd", volume)
    (tmp_path / "scan.nrrd").rename(tmp_path / "5f3e")
    (tmp_path / "patient 7.nrrd").symlink_to(tmp_path / "5f3e")
    assert read_volume(tmp_path / "patient 7.nrrd").name == "patient 7"
    write_dicom(tmp_path / "0b1c", volume)
    (tmp_path / "right ear").symlink_to(tmp_path / "0b1c")
    assert read_volume(tmp_path / "right ear").name == "right ear"


def test_damage_within_compressed_voxels_is_noticed(tmp_path):
    sitk.WriteImage(noisy_scan().to_sitk(), str(tmp_path / "whole.nii"))
    content = bytearray(gzip.compress((tmp_path / "whole.nii").read_bytes()))
    content[len(content) // 2 : len(content) // 2 + 50] = bytes(50)
    (tmp_path / "scan.nii.gz").write_bytes(content)
    assert "damaged" in refused(read_volume, tmp_path / "scan.nii.gz")


def test_no_byte_of_a_cut_nifti_is_made_up(tmp_path):
    """The NIfTI reader itself fills what is missing with zeros."""
    path = written(tmp_path / "scan.nii", noisy_scan().to_sitk())
    assert path.stat().st_size == 352 + 2 * np.prod(SHAPE)
    assert read_volume(path).voxels.shape == SHAPE
    path.write_bytes(path.read_bytes()[:-1])
    assert "cut off" in refused(read_volume, path)


def test_single_dicom_file_asks_for_its_folder(tmp_path):
    (tmp_path / "slice").write_bytes(bytes(128) + b"DICM" + bytes(100))
    assert "single DICOM file" in refused(read_volume, tmp_path / "slice")


def test_a_series_cannot_be_chosen_from_a_file(tmp_path):
    write_volume(tmp_path / "ear.nrrd", noisy_scan(affine()))
    assert "has no series" in refused(lambda: read_volume(tmp_path / "ear.nrrd", 2))


def test_unreadable_file_is_said_to_be_so(tmp_path, monkeypatch):
    path = written(tmp_path / "scan.nrrd", noisy_scan().to_sitk())

    def denied(*arguments, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(path), "open", denied)
    assert "Permission denied" in refused(read_volume, path)


def test_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    write_volume(tmp_path / "ear.nrrd", noisy_scan(seed=1))
    before = (tmp_path / "ear.nrrd").read_bytes()

    def interrupted(image, path, **options):
        with open(path, "wb") as file:
            file.write(b"NRRD half")
        raise RuntimeError("disk full")

    monkeypatch.setattr(sitk, "WriteImage", interrupted)
    assert "cannot be written" in refused(write_volume, tmp_path / "ear.nrrd", noisy_scan(seed=2))
    assert [file.name for file in tmp_path.iterdir()] == ["ear.nrrd"]
    assert (tmp_path / "ear.nrrd").read_bytes() == before


def test_an_existing_file_is_replaced(tmp_path):
    for seed in (1, 2):
        write_volume(tmp_path / "ear.nrrd", noisy_scan(seed=seed))
    np.testing.assert_array_equal(read_volume(tmp_path / "ear.nrrd").voxels, noisy_scan(seed=2).voxels)


def test_only_files_of_one_piece_are_written(tmp_path):
    assert ".mha" in refused(write_volume, tmp_path / "ear.mhd", noisy_scan())
    assert "cannot be written" in refused(write_volume, tmp_path / "no folder" / "ear.nrrd", noisy_scan())


def test_standard_error_speaks_again_after_a_read(tmp_path, capfd):
    refused(read_volume, text_file(tmp_path / "scan.mha"))
    os.write(2, b"heard")
    assert capfd.readouterr().err == "heard"


@pytest.mark.parametrize("suffix", SCAN_SUFFIXES)
def test_every_suffix_is_told(tmp_path, suffix):
    assert scan_suffix(tmp_path / f"a.b{suffix}") == suffix
