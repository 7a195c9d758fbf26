"""What no ear scan can be is refused, whatever file it came from; any scaling and orientation passes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from InnerEarAILib.scan_checks import FEWEST_DISTINCT_VALUES, check_scan, check_size, check_spacing
from InnerEarAILib.volume import InputError, Volume
from library.refusals import refused
from library.scans import affine, affines, noisy_scan


def scan_of(voxels, spacing=0.5):
    return Volume(voxels, affine(spacing=(spacing,) * 3))


def noise(dtype=np.int16):
    return np.random.default_rng(0).integers(-1000, 2000, (24, 26, 28)).astype(dtype)


def with_one(value):
    voxels = noise(np.float32)
    voxels[3, 4, 5] = value
    return voxels


BAD_SCANS = {
    "empty": (scan_of(np.zeros((0, 26, 28))), "no voxels"),
    "NaN": (scan_of(with_one(np.nan)), "not numbers"),
    "infinite": (scan_of(with_one(np.inf)), "not numbers"),
    "constant": (scan_of(np.full((24, 26, 28), 7)), "same value (7)"),
    "double": (scan_of(noise(np.float64) * 1e36), "lost in 32-bit numbers"),
    "infinitesimal": (scan_of(noise(np.float64) * 1e-40), "lost in 32-bit numbers"),
    "far from nought": (scan_of(noise(np.int64) + 10**15), "lost in 32-bit numbers"),
    "complex": (scan_of(noise(np.complex64)), "not real numbers"),
    "metres": (scan_of(noise(), 0.0005), "metres"),
    "microns": (scan_of(noise(), 500.0), "too coarse"),
    "thick": (Volume(noise(), affine(spacing=(0.5, 0.5, 5))), "thin-slice"),
    "small": (scan_of(noise()[:10]), "too small"),
    "labels": (scan_of((noise() > 0).astype(np.uint8)), "segmentation"),
    "many labels": (scan_of(np.clip(noise(), 0, FEWEST_DISTINCT_VALUES - 1).astype(np.float32)), "segmentation"),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("case", BAD_SCANS)
def test_what_cannot_be_an_ear_scan_is_refused_in_one_sentence(case):
    scan, words = BAD_SCANS[case]
    assert words in refused(check_scan, scan)


@pytest.mark.parametrize(
    "voxels",
    [
        noise(),
        noise(np.float32),
        (noise() + 1024).clip(0).astype(np.uint16),
        (noise() // 12 + 84).clip(0, 255).astype(np.uint8),
        np.clip(noise(), -1000, -990),
        noise().astype(np.float64) / 1000,
        noise().astype(np.float64) * 1e-9,
        noise().astype(np.float64) * 1e30,
        noise().astype(np.float16),
        np.where(np.arange(28) < 14, 0, noise().clip(0)),
    ],
    ids=[
        "int16",
        "float32",
        "offset",
        "8 bit",
        "narrow window",
        "attenuation",
        "tiny",
        "large",
        "half",
        "half of it padding",
    ],
)
def test_a_scan_of_any_scaling_is_let_through(voxels):
    check_scan(scan_of(voxels))


@pytest.mark.skipif(np.dtype(np.longdouble).itemsize == 8, reason="no longer floats on this computer")
def test_floats_that_no_library_below_takes_are_refused():
    assert "save it in 32-bit numbers" in refused(check_scan, scan_of(noise(np.longdouble)))


@given(affines())
def test_no_orientation_is_refused(matrix):
    check_scan(noisy_scan(matrix))


@given(
    shape=st.tuples(*[st.integers(8, 40)] * 3),
    spacing=st.tuples(*[st.floats(0.3, 1.2)] * 3),
    axes=st.permutations(range(3)),
)
def test_a_scan_is_ten_millimetres_wide_along_every_axis(shape, spacing, axes):
    scan = noisy_scan(affine(spacing=spacing, axes=axes), shape)
    if min(n * edge for n, edge in zip(shape[::-1], scan.spacing_mm, strict=True)) < 10:
        assert "too small" in refused(check_scan, scan)
    else:
        check_scan(scan)


@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize(("edge_mm", "words"), [(0.0049, "metres"), (0.005, ""), (3.0, ""), (3.01, "too coarse")])
def test_voxels_have_the_size_of_a_scanners_along_every_axis(axis, edge_mm, words):
    spacing_mm = np.full(3, 0.5)
    spacing_mm[axis] = edge_mm
    if words:
        assert words in refused(check_spacing, spacing_mm)
    else:
        check_spacing(spacing_mm)


@pytest.mark.parametrize(
    ("values", "are_labels"),
    [
        (np.arange(32), True),
        (np.arange(33), False),
        (np.arange(32) * 1000.0, True),
        (np.arange(1, 5), False),
        (np.arange(-1, 4), False),
        (np.arange(5) / 2, False),
    ],
    ids=["32", "33", "far apart", "from one", "from below nought", "halves"],
)
def test_labels_are_at_most_32_whole_numbers_from_nought(values, are_labels):
    scan = scan_of(np.resize(values, (24, 26, 28)))
    if are_labels:
        with pytest.raises(InputError, match="segmentation"):
            check_scan(scan)
    else:
        check_scan(scan)


def test_a_value_between_rare_labels_saves_a_scan_too():
    voxels = np.zeros((130, 130, 130), np.float32)
    voxels[3, 4, 5] = 0.5
    check_scan(scan_of(voxels))


def test_rare_other_values_save_a_scan_from_being_taken_for_labels():
    voxels = np.zeros((130, 130, 130), np.int16)
    voxels[64, :40, 64] = np.arange(40)
    check_scan(scan_of(voxels))


def test_size_is_bounded():
    assert "1025 × 1024 × 1024" in refused(check_size, (1024, 1024, 1025))
    check_size((1024, 1024, 1024))
