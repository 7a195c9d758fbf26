"""NIfTI says in two ways how a scan lies: where they differ, one is not taken in silence."""

import struct

import numpy as np
import pytest
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

from InnerEarAILib.progress import Progress
from InnerEarAILib.scan_files import read_volume
from InnerEarAILib.volume import InputError
from library.scans import affine, noisy_scan

MATRIX = affine((10, -20, 30), (0.5, 0.6, 0.7), (5, -40, 100), flips=(1, -1, 1))


def with_sform(path, turn_degrees=0.0, shift_mm=0.0, scale=1.0, codes=(1, 1)):
    """A NIfTI file whose sform is turned about x, moved along x and enlarged; its qform is as written."""
    sitk.WriteImage(noisy_scan(MATRIX).to_sitk(), str(path))
    content = bytearray(path.read_bytes())
    content[252:256] = struct.pack("<2h", *codes)
    rows = np.reshape(struct.unpack("<12f", content[280:328]), (3, 4)).copy()
    rows[:, :3] = scale * Rotation.from_euler("x", turn_degrees, degrees=True).as_matrix() @ rows[:, :3]
    rows[0, 3] += shift_mm
    content[280:328] = struct.pack("<12f", *rows.ravel())
    path.write_bytes(content)
    return path


def notes_of(path):
    notes = []
    read_volume(path, progress=Progress(on_note=notes.append))
    return notes


@pytest.mark.parametrize("changes", [{}, {"shift_mm": 0.2}, {"turn_degrees": 0.3}, {"scale": 1.005}])
def test_forms_within_half_a_voxel_of_each_other_are_one(tmp_path, changes):
    assert notes_of(with_sform(tmp_path / "scan.nii", **changes)) == []


@pytest.mark.parametrize("changes", [{"shift_mm": 3.0}, {"turn_degrees": 20.0}])
@pytest.mark.parametrize(("codes", "used"), [((1, 1), "sform"), ((1, 2), "qform")])
def test_forms_that_differ_are_said_to_with_the_one_that_was_taken(tmp_path, changes, codes, used):
    (note,) = notes_of(with_sform(tmp_path / "scan.nii", codes=codes, **changes))
    assert f"the {used} was taken" in note
    if "shift_mm" in changes:
        assert "up to 3 mm apart" in note


def test_the_form_that_was_taken_is_told_by_where_the_scan_lies(tmp_path):
    volume = read_volume(with_sform(tmp_path / "scan.nii", shift_mm=3.0, codes=(1, 2)))
    np.testing.assert_allclose(volume.grid.corners_lps(), noisy_scan(MATRIX).grid.corners_lps(), atol=1e-4)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"turn_degrees": 60}, r"turned by \d+° against each other"),
        ({"turn_degrees": 180}, "turned by"),
        ({"scale": 1.02}, r"two sizes, 0\.5 × 0\.6 × 0\.7 mm \(pixdim\) and 0\.51 × 0\.612 × 0\.714 mm"),
        ({"scale": 2, "codes": (0, 1)}, "two sizes"),
    ],
)
def test_forms_that_contradict_are_refused(tmp_path, changes, words):
    with pytest.raises(InputError, match=words):
        read_volume(with_sform(tmp_path / "scan.nii", **changes))


def test_a_form_that_is_not_there_contradicts_nothing(tmp_path):
    assert notes_of(with_sform(tmp_path / "scan.nii", turn_degrees=60, scale=2, codes=(1, 0))) == []
