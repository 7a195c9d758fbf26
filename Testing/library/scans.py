"""Scans, results and a route of our own making, for tests of what stands round the route."""

from types import SimpleNamespace

import numpy as np
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

from InnerEarAILib.ear_result import EarResult, LandmarkResult, Quality, ScanResult
from InnerEarAILib.landmarks import LANDMARK_NAMES
from InnerEarAILib.volume import Grid, InputError, Volume

SHAPE = (24, 26, 28)
"""Voxels (k, j, i), all different, so that a permutation of axes shows."""


def affine(rotation_degrees=(0, 0, 0), spacing=(0.5, 0.6, 0.7), origin=(0, 0, 0), axes=(0, 1, 2), flips=(1, 1, 1)):
    """An affine of any direction: Euler angles, voxel edges, origin, and which axes run which way."""
    directions = Rotation.from_euler("xyz", rotation_degrees, degrees=True).as_matrix()[:, list(axes)] * np.array(flips)
    matrix = np.eye(4)
    matrix[:3, :3] = directions * spacing
    matrix[:3, 3] = origin
    return matrix


def affines():
    """Random oblique, permuted, flipped and anisotropic affines of either handedness."""
    from hypothesis import strategies as st  # not for the child processes of test_worker

    return st.builds(
        affine,
        rotation_degrees=st.tuples(*[st.floats(-180, 180)] * 3),
        spacing=st.tuples(*[st.floats(0.45, 1.2)] * 3),
        origin=st.tuples(*[st.floats(-500, 500)] * 3),
        axes=st.permutations([0, 1, 2]),
        flips=st.tuples(*[st.sampled_from([-1, 1])] * 3),
    )


def noisy_scan(matrix=None, shape=SHAPE, seed=0, name="scan"):
    """A scan of noise, int16, of which every voxel is likely to differ from its neighbour."""
    voxels = np.random.default_rng(seed).integers(-1000, 2000, shape).astype(np.int16)
    return Volume(voxels, affine() if matrix is None else matrix, name)


def write_dicom(folder, volume, leave_out=(), changes=None, series="1.2.3.4", seed=0, number="4"):
    """A volume as a series of CT slices, in files whose names say nothing of their order.

    Args:
        folder: made if absent.
        volume: of right-handed axes, since slices are stacked along their normal.
        leave_out: indices of slices not written.
        changes: from slice index and its tags to other tags.
        series: its UID.
        seed: of the file names.
        number: its series number.
    """
    folder.mkdir(exist_ok=True, parents=True)
    names = np.random.default_rng(seed).permutation(len(volume.voxels))
    grid = volume.grid
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for k in range(len(volume.voxels)):
        if k in leave_out:
            continue
        image = sitk.GetImageFromArray(volume.voxels[k : k + 1])
        position = grid.to_lps([0, 0, k])
        image.SetSpacing(grid.spacing_mm.tolist())
        image.SetOrigin(position.tolist())
        image.SetDirection(grid.directions.ravel().tolist())
        tags = {
            "0008|0060": "CT",
            "0010|0010": "Doe^Jane",
            "0020|000d": "1.2.3",
            "0020|000e": series,
            "0020|0011": number,
            "0008|0018": f"{series}.{k + 1}",
            "0020|0013": str(int(names[k])),
            "0020|0032": "\\".join(f"{x:.10g}" for x in position),
            "0020|0037": "\\".join(f"{x:.12f}" for x in grid.directions[:, :2].T.ravel()),
        }
        tags = changes(k, tags) if changes else tags
        image.SetOrigin([float(x) for x in tags["0020|0032"].split("\\")])
        for tag, value in tags.items():
            image.SetMetaData(tag, value)
        writer.SetFileName(str(folder / f"{names[k]:04d}.dcm"))
        writer.Execute(image)


def painted_ear(side, centre_lps, spacing_mm=0.2, uncertain=True, origin_shift=0.0, unfound=()):
    """An ear result: an ellipsoid of 3 × 4 × 5 mm half-axes, with landmarks at known places."""
    shape = np.array([60, 60, 60])
    grid = Grid.axis_aligned(
        shape, spacing_mm, np.round(np.array(centre_lps) / spacing_mm) * spacing_mm - 30 * spacing_mm + origin_shift
    )
    k, j, i = np.indices(shape)
    places = grid.to_lps(np.stack([i, j, k], -1))
    mask = (((places - centre_lps) / (3, 4, 5)) ** 2).sum(-1) <= 1
    landmarks = tuple(
        LandmarkResult(name, None, 0.0)
        if name in unfound
        else LandmarkResult(name, np.asarray(centre_lps, float) + n / 3, 0.9 - n / 10, 0.07)
        for n, name in enumerate(LANDMARK_NAMES)
    )
    deviation = Volume((0.5 * np.exp(-0.1 * (places - centre_lps) ** 2).prod(-1)).astype(np.float32), grid.affine_lps)
    deviations = (deviation, deviation.with_voxels(deviation.voxels / 2)) if uncertain else (None, None)
    quality = Quality(
        float(mask.sum() * spacing_mm**3), {"helicotrema–oval window": 6.5}, 0.012 if uncertain else None, ("Unusual.",)
    )
    return EarResult(side, Volume(mask.astype(np.uint8), grid.affine_lps), landmarks, *deviations, quality)


def scan_result(ears, name="scan", grid=None):
    """A result with these ears, of a scan that reaches ± 60 mm."""
    grid = grid or Grid.axis_aligned((40, 41, 42), 3.0, (-60, -60, -60))
    return ScanResult(
        name,
        grid,
        tuple(ears),
        {"model": "painted", "views": 10, "seconds.predicting": 1.25, "located": True},
        ("A note.",),
    )


class FakeSegmenter(SimpleNamespace):
    """Offers what the module segmenter does: `SegmenterOptions` and `segment`; answers as it is told to."""

    def __init__(self, answer):
        super().__init__(answer=answer, asked=[])

    def SegmenterOptions(self, **options):  # noqa: N802
        if "bad" in options.values():
            raise InputError("There is no such option.")
        return options

    def segment(self, volume, options, progress):
        self.asked.append((volume, options))
        progress.step("Predicting", 0.5)
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer(volume, progress) if callable(self.answer) else self.answer
