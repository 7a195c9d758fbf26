"""Names of results: they tell patients apart, and are the same in whatever order the scans are given."""

from itertools import permutations
from pathlib import Path

import pytest

from InnerEarAILib.scan_names import named

ROOT = Path(Path.cwd().anchor)


def names(*scans):
    """The names by path, after making sure that the order does not matter."""
    paths = [ROOT / scan for scan in scans]
    given = named(paths)
    assert [path for path, _ in given] == list(dict.fromkeys(paths))
    for order in permutations(paths):
        assert dict(named(order)) == dict(given)
    return [name for _, name in given]


@pytest.mark.parametrize(
    ("scans", "expected"),
    [
        (["d/one.nrrd", "d/two.nii.gz", "d/one.nrrd"], ["one", "two"]),
        (["P01/CT/SE0001", "P02/CT/SE0001"], ["P01_CT_SE0001", "P02_CT_SE0001"]),
        (["left/scan.nrrd", "right/scan.nrrd", "right/other.mha"], ["left_scan", "right_scan", "other"]),
        (["d/scan.nrrd", "d/scan.nii.gz", "d/scan"], ["scan_nrrd", "scan_nii_gz", "scan"]),
        (["P1/scan.nrrd", "P1/scan.mha", "P2/scan.nrrd"], ["P1_scan_nrrd", "P1_scan_mha", "P2_scan"]),
        (["scan.nrrd", "d/scan.nrrd"], ["scan", "d_scan"]),
        (["t/a/x.nrrd", "t/b/x.nrrd", "a_x.nrrd"], ["t_a_x", "t_b_x", "a_x"]),
        (["d/scan.nrrd", "d/scan.mha", "d/scan_mha.nrrd"], ["d_scan_nrrd", "d_scan_mha", "scan_mha"]),
    ],
)
def test_as_many_folders_as_tell_scans_apart_come_before_the_stem(scans, expected):
    assert names(*scans) == expected


@pytest.mark.parametrize(
    "scans",
    [
        ["a/scan.nrrd", "A/scan.nrrd"],
        ["a/scan.nrrd", "a/SCAN.nrrd", "a/scan_nrrd.nrrd"],
        ["a_b/c/scan", "a/b_c/scan"],
        ["a/x.nrrd", "b/x.nrrd", "a_x.nrrd", "b_x.nrrd"],
    ],
)
def test_names_differ_also_where_capitals_do_not_count(scans):
    assert len({name.casefold() for name in names(*scans)}) == len(scans)
