"""What NAME_result.json says of the scan."""

import numpy as np
from hypothesis import given, settings

from InnerEarAILib.result_files import result_summary
from InnerEarAILib.volume import Grid
from library.scans import SHAPE, affines, scan_result


@settings(max_examples=10, deadline=None)
@given(matrix=affines())
def test_the_grid_of_the_scan_can_be_made_again_from_the_summary(matrix):
    said = result_summary(scan_result([], grid=Grid(SHAPE, matrix)))["scan"]
    again = np.eye(4)
    again[:3, :3] = np.array(said["directions_lps"]) * said["spacing_mm"]
    again[:3, 3] = said["origin_lps"]
    np.testing.assert_allclose(again, matrix, atol=1e-9)
    assert tuple(said["voxels_ijk"][::-1]) == SHAPE
