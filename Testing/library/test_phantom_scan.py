"""Phantom scans: drawn whole, written whole or not at all."""

import json

import numpy as np
import pytest
import torch

from InnerEarAILib.landmarks import LANDMARK_NAMES
from InnerEarAILib.phantom import phantom as phantoms
from InnerEarAILib.phantom.anatomy import COCHLEA, PhantomEar, Rendering
from InnerEarAILib.phantom.electrode import implant
from InnerEarAILib.phantom.given_landmarks import read_landmarks
from InnerEarAILib.phantom.phantom import PhantomOptions, draw_phantom, write_phantom
from InnerEarAILib.phantom.scanner import Scanner, Storage
from InnerEarAILib.phantom.segmentation_file import write_truth
from InnerEarAILib.progress import Cancelled, Progress
from InnerEarAILib.scan_files import read_volume
from InnerEarAILib.volume import InputError, Volume

SCANNER = Scanner("cone_beam", "plain", (0.5,) * 3, (1.0,) * 3, noise_hounsfield=30.0, storage=Storage(highest=15000))


class Ball:
    """A ball of lumen in bone, in place of a temporal bone."""

    radius = 4.0
    ears = (
        PhantomEar(
            "right",
            {
                name: np.array(p)
                for name, p in zip(LANDMARK_NAMES, ([0, -4.0, 0], [-4.0, 0, 0], [0, 0, -4.0]), strict=True)
            },
            {"a_value_mm": 8.0},
        ),
    )

    def render(self, points, edge_mm):
        share = (0.5 - (points.norm(dim=1) - self.radius) / edge_mm).clamp(0, 1)
        return Rendering(2000 - 2000 * share, share, (share >= 0.5).to(torch.uint8))


@pytest.fixture(autouse=True)
def simple_bone(monkeypatch):
    monkeypatch.setattr(phantoms, "sample_temporal_bone", lambda rng, variant, state: Ball())


def options(**changes):
    return PhantomOptions(**{"scanner": SCANNER, "side": "right", "field_mm": 16.0, **changes})


@pytest.mark.parametrize(("side", "sign"), [("right", -1), ("left", 1)])
def test_an_ear_lies_on_its_side_of_the_patient(side, sign):
    drawn = draw_phantom(3, options(side=side))
    assert set(drawn.landmarks) == {side}
    assert sign * drawn.landmarks[side]["oval window"][0] > 20
    assert sign * drawn.scan.grid.centre_lps[0] > 20


def test_scan_labels_and_landmarks_agree():
    drawn = draw_phantom(3, options())
    assert drawn.scan.voxels.dtype == np.int16
    assert drawn.scan.voxels.shape == drawn.labels.voxels.shape == drawn.parts.voxels.shape
    volume = drawn.labels.voxels.sum() * drawn.labels.spacing_mm.prod()
    assert volume == pytest.approx(4 / 3 * np.pi * Ball.radius**3, rel=0.05)
    inside = drawn.scan.voxels[drawn.labels.voxels == 1]
    assert np.median(inside) < 500 < 1500 < np.median(drawn.scan.voxels[drawn.labels.voxels == 0])
    k, j, i = np.argwhere(drawn.labels.voxels).mean(0)
    centre = drawn.labels.grid.to_lps(np.array([i, j, k]))
    for position in drawn.landmarks["right"].values():
        assert np.linalg.norm(position - centre) == pytest.approx(Ball.radius, abs=0.1)


def test_a_seed_gives_one_phantom_and_the_next_seed_another():
    first, again, other = (draw_phantom(seed, options()).scan.voxels for seed in (5, 5, 6))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_all_that_is_true_is_in_the_files(tmp_path):
    drawn = draw_phantom(7, options())
    files = write_phantom(tmp_path / "new", drawn)
    assert sorted(path.name for path in files) == sorted(path.name for path in (tmp_path / "new").iterdir())
    scan = read_volume(tmp_path / "new" / "phantom_000007.nrrd")
    assert np.array_equal(scan.voxels, drawn.scan.voxels)
    np.testing.assert_allclose(scan.affine_lps, drawn.scan.affine_lps, atol=1e-9)
    assert np.array_equal(read_volume(tmp_path / "new" / "phantom_000007_labels.nrrd").voxels, drawn.labels.voxels)
    marks = read_landmarks(tmp_path / "new" / "phantom_000007_right.mrk.json")
    for name, position in drawn.landmarks["right"].items():
        np.testing.assert_allclose(marks[name], position, atol=1e-6)
    parameters = json.loads((tmp_path / "new" / "phantom_000007.json").read_text(encoding="utf-8"))
    assert parameters["seed"] == 7
    assert parameters["scanner"]["fwhm_mm"] == [1.0, 1.0, 1.0]
    assert parameters["ears"]["right"]["measures"] == {"a_value_mm": 8.0}


def test_a_scan_of_the_other_ear_takes_the_place_of_the_whole_earlier_one(tmp_path):
    write_phantom(tmp_path, draw_phantom(7, options(side="left")))
    files = write_phantom(tmp_path, draw_phantom(7, options(side="right")))
    assert sorted(tmp_path.iterdir()) == sorted(files)
    assert [path.name for path in files if path.name.endswith(".mrk.json")] == ["phantom_000007_right.mrk.json"]


def slicer_segments(path):
    """Name and number of voxels of each segment, as Slicer reads them."""
    slicer = pytest.importorskip("slicer")
    from vtk.util.numpy_support import vtk_to_numpy

    scene = slicer.vtkMRMLScene()
    node, storage = slicer.vtkMRMLSegmentationNode(), slicer.vtkMRMLSegmentationStorageNode()
    scene.AddNode(node)
    scene.AddNode(storage)
    storage.SetFileName(str(path))
    assert storage.ReadData(node)
    segmentation = node.GetSegmentation()
    found = {}
    for number in range(segmentation.GetNumberOfSegments()):
        segment = segmentation.GetNthSegment(number)
        voxels = vtk_to_numpy(segment.GetRepresentation("Binary labelmap").GetPointData().GetScalars())
        found[segment.GetName()] = int((voxels == segment.GetLabelValue()).sum())
    return found


def test_slicer_shows_the_labyrinth_and_its_parts_by_name(tmp_path):
    drawn = draw_phantom(7, options(side="left"))
    write_phantom(tmp_path, drawn)
    whole = int(drawn.labels.voxels.sum())
    segments = slicer_segments(tmp_path / "phantom_000007.seg.nrrd")
    assert segments == {"Left labyrinth": whole, "Left cochlea": int((drawn.parts.voxels == COCHLEA).sum())}


def test_the_segments_of_two_ears_hold_what_lies_at_each(tmp_path):
    voxels = np.zeros((4, 5, 12), np.uint8)
    voxels[1:3, 1:4, 1:3] = voxels[1:3, 1:3, 8:10] = 1
    labels = Volume(voxels, np.eye(4), "")
    ears = {"right": {"helicotrema": np.array([2.0, 2, 2])}, "left": {"helicotrema": np.array([9.0, 2, 2])}}
    write_truth(tmp_path / "two.seg.nrrd", labels, labels.with_voxels(0 * voxels), ears)
    assert slicer_segments(tmp_path / "two.seg.nrrd") == {"Right labyrinth": 12, "Left labyrinth": 8}


def test_a_failed_write_leaves_nothing_behind(tmp_path, monkeypatch):
    drawn = draw_phantom(1, options())

    def full(path, content):
        raise InputError(f"{path.name} cannot be written: the disk is full.")

    monkeypatch.setattr(phantoms, "write_json", full)
    with pytest.raises(InputError, match="disk is full"):
        write_phantom(tmp_path, drawn)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_told_of(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be made"):
        write_phantom(tmp_path / "file" / "folder", draw_phantom(1, options()))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"side": "upper"}, "no side 'upper'"),
        ({"scanner": "xray"}, "no scanner 'xray'"),
        ({"landmarks": "marks.json"}, "without a labyrinth"),
        ({"head": True, "state": "dry"}, "living"),
        ({"head": True, "electrode": True}, "leave out"),
        ({"head": True, "side": "left"}, "both ears"),
    ],
)
def test_what_cannot_be_drawn_is_refused_in_one_sentence(changes, sentence):
    with pytest.raises(InputError, match=sentence) as refused:
        draw_phantom(0, options(**changes))
    assert "\n" not in str(refused.value)


def test_drawing_stops_when_it_is_asked_to():
    with pytest.raises(Cancelled):
        draw_phantom(0, options(), progress=Progress(is_cancelled=lambda: True))


def test_an_electrode_is_metal_and_leaves_the_truth_as_it_is():
    turn = np.linspace(0, 4, 80)
    centreline = np.stack([2 * np.cos(turn), 2 * np.sin(turn), 0.2 * turn], 1)
    implanted = implant(Ball(), centreline, np.random.default_rng(0))
    on_it = torch.tensor(implanted.contacts, dtype=torch.float32)
    assert (implanted.render(on_it, 0.2).hounsfield > 3000).all()
    far = torch.tensor([[0.0, 0, -3.0], [10, 10, 10]])
    assert torch.equal(implanted.render(far, 0.2).hounsfield, Ball().render(far, 0.2).hounsfield)
    assert torch.equal(implanted.render(on_it, 0.2).labyrinth, Ball().render(on_it, 0.2).labyrinth)


def test_metal_throws_streaks_in_its_slice():
    from dataclasses import replace

    from InnerEarAILib.phantom.pose import Pose
    from InnerEarAILib.phantom.scanner import Artefacts
    from InnerEarAILib.phantom.scanner_acquisition import scan

    line = np.stack([np.linspace(-1, 1, 40), np.zeros(40), np.zeros(40)], 1)
    implanted = implant(Ball(), line, np.random.default_rng(0))
    quiet = replace(SCANNER, noise_hounsfield=0.0, fwhm_mm=(0.6,) * 3)
    grid = quiet.native_grid((0, 0, 0), 16.0)
    images = [
        scan(implanted, replace(quiet, artefacts=Artefacts(metal_streaks=s)), Pose(), grid, np.random.default_rng(0))
        for s in (0.0, 1.0)
    ]
    difference = (images[1] - images[0]).abs()
    assert difference[len(difference) // 2].max() > 30
    assert difference[2].max() == 0
