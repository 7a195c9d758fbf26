"""One bit that flipped on the disk is no anatomy: compressed voxels are those that were written, or are refused."""

import gzip
import io
import zlib

import numpy as np
import pytest
import SimpleITK as sitk

from InnerEarAILib import compressed_files
from InnerEarAILib.compressed_files import decompressed_bytes
from InnerEarAILib.scan_files import read_volume
from InnerEarAILib.volume import InputError
from library.scans import noisy_scan

FILES = {
    ".nrrd": ".nrrd",
    ".nhdr": ".raw.gz",
    ".mha": ".mha",
    ".mhd": ".zraw",
    ".nii.gz": ".nii.gz",
}
"""By the suffix of the scan, that of the file which holds its voxels."""


@pytest.fixture(params=FILES)
def compressed(request, tmp_path):
    """A scan, the path of its file, and the path of its voxels."""
    volume = noisy_scan()
    path = tmp_path / f"scan{request.param}"
    sitk.WriteImage(volume.to_sitk(), str(path), useCompression=True)
    return volume, path, tmp_path / f"scan{FILES[request.param]}"


def flip_bit(path, place):
    content = bytearray(path.read_bytes())
    content[place] ^= 4
    path.write_bytes(content)


# In a noisy scan the stream ends with the voxels and a checksum of 4 bytes (zlib) or 8 (gzip, with the length).
@pytest.mark.parametrize("place", [-3, -6, -20, -5000])
def test_a_flipped_bit_is_noticed(compressed, place):
    _, path, voxels = compressed
    flip_bit(voxels, place)
    with pytest.raises(InputError, match="damaged"):
        read_volume(path)


def test_a_missing_checksum_is_noticed(compressed):
    _, path, voxels = compressed
    voxels.write_bytes(voxels.read_bytes()[:-2])
    with pytest.raises(InputError, match="cut off"):
        read_volume(path)


def test_what_follows_the_voxels_is_left_aside(compressed):
    volume, path, voxels = compressed
    voxels.write_bytes(voxels.read_bytes() + b"\0 a note of the archive")
    np.testing.assert_array_equal(read_volume(path).voxels, volume.voxels)


def test_line_breaks_of_windows_hide_no_damage(tmp_path):
    path = tmp_path / "scan.nrrd"
    sitk.WriteImage(noisy_scan().to_sitk(), str(path), useCompression=True)
    header, _, voxels = path.read_bytes().partition(b"\n\n")
    path.write_bytes(header.replace(b"\n", b"\r\n") + b"\r\n\r\n" + voxels)
    assert read_volume(path).voxels.shape == noisy_scan().voxels.shape
    flip_bit(path, -3)
    with pytest.raises(InputError, match="damaged"):
        read_volume(path)


@pytest.mark.parametrize("named", [b"part%d.gz 1 2 1 3", b"LIST 3\npart1.gz\npart2.gz"], ids=["pattern", "list"])
def test_voxels_in_several_files_are_all_looked_at(tmp_path, named):
    volume = noisy_scan()
    for number, half in enumerate(np.split(volume.voxels, 2), 1):
        (tmp_path / f"part{number}.gz").write_bytes(gzip.compress(half.tobytes()))
    header = b"NRRD0004\ntype: short\ndimension: 3\nsizes: 28 26 24\nspacings: 0.5 0.6 0.7\nendian: little\n"
    (tmp_path / "scan.nhdr").write_bytes(header + b"encoding: gzip\ndata file: " + named + b"\n")
    np.testing.assert_array_equal(read_volume(tmp_path / "scan.nhdr").voxels, volume.voxels)
    flip_bit(tmp_path / "part2.gz", -3)
    with pytest.raises(InputError, match="damaged"):
        read_volume(tmp_path / "scan.nhdr")


@pytest.mark.parametrize("compress", [gzip.compress, zlib.compress])
def test_all_that_is_compressed_is_counted_in_small_pieces(compress, monkeypatch):
    monkeypatch.setattr(compressed_files, "BLOCK_BYTES", 10)
    content = bytes(3000) + np.random.default_rng(0).bytes(500)
    assert decompressed_bytes(io.BytesIO(compress(content))) == 3500


def test_parts_of_a_gzip_file_are_taken_together():
    parts = gzip.compress(b"one") + gzip.compress(b"three")
    assert decompressed_bytes(io.BytesIO(parts)) == 8
    with pytest.raises(EOFError):
        decompressed_bytes(io.BytesIO(parts[:-1]))
    with pytest.raises(zlib.error):
        decompressed_bytes(io.BytesIO(parts[:-1] + b"\1"))
