"""Names that are not UTF-8, which would end the process within SimpleITK, are refused in words."""

import os
import sys
from pathlib import Path

import pytest

from InnerEarAILib.phantom.given_surface import read_surface
from InnerEarAILib.result_files import check_folder
from InnerEarAILib.scan_files import read_labels, read_volume, write_volume
from library.refusals import refused
from library.scans import noisy_scan, write_dicom

LATIN_1 = "M\udcfcller"
"""“Müller” as Python reads it from a file system where somebody wrote it in Latin-1."""

WAYS = {
    "scan": lambda folder: read_volume(folder / f"{LATIN_1}.nrrd"),
    "folder of the scan": lambda folder: read_volume(folder / LATIN_1 / "scan.nii.gz"),
    "DICOM folder": lambda folder: read_volume(folder / LATIN_1),
    "labels": lambda folder: read_labels(folder / f"{LATIN_1}.nrrd"),
    "surface": lambda folder: read_surface(folder / f"{LATIN_1}.ply"),
    "written volume": lambda folder: write_volume(folder / f"{LATIN_1}.nrrd", noisy_scan()),
    "folder of results": lambda folder: check_folder(folder / LATIN_1 / "results"),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_name_that_is_not_utf_8_is_refused(tmp_path, way):
    assert "“M?ller" in refused(WAYS[way], tmp_path)
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(sys.platform != "linux", reason="other systems let no such file be made")
def test_a_slice_whose_name_is_not_utf_8_is_refused(tmp_path):
    write_dicom(tmp_path, noisy_scan())
    one = next(iter(tmp_path.iterdir()))
    one.rename(tmp_path / f"{LATIN_1}.dcm")
    assert "“M?ller.dcm”" in refused(read_volume, tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems let no such file be made")
def test_other_files_of_a_dicom_folder_may_be_called_anything(tmp_path):
    write_dicom(tmp_path, noisy_scan())
    (tmp_path / f"{LATIN_1}.txt").write_text("a note")
    assert read_volume(tmp_path).voxels.shape == noisy_scan().voxels.shape


def test_letters_of_any_language_are_names(tmp_path):
    path = tmp_path / "Müller 内耳 'a' \"b\".nrrd" if os.name != "nt" else tmp_path / "Müller 内耳.nrrd"
    write_volume(path, noisy_scan())
    assert read_volume(path).name == path.stem


def test_a_link_that_leads_nowhere_is_said_to_be_one(tmp_path):
    path = Path(tmp_path / "scan.nrrd")
    path.symlink_to(tmp_path / "not fetched.nrrd")
    assert "is a link that leads nowhere" in refused(read_volume, path)
