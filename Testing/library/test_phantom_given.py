"""Given anatomies: surfaces, label maps and landmarks of an ear become something to scan, or one clear sentence."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import vtk
from scipy import ndimage
from vtk.util.numpy_support import vtk_to_numpy

from development_data import development_data
from InnerEarAILib.phantom.anatomy import CANALS, COCHLEA, VESTIBULE, PhantomEar, Rendering
from InnerEarAILib.phantom.given_anatomy import GivenTissue, anatomy_from_label_map
from InnerEarAILib.phantom.given_files import given_anatomy, read_tissues
from InnerEarAILib.phantom.given_labyrinth import anatomy_from_labyrinth_labels, anatomy_from_mesh
from InnerEarAILib.phantom.given_landmarks import read_landmarks
from InnerEarAILib.phantom.given_surface import crossing_edges, read_surface
from InnerEarAILib.phantom.pose import Pose
from InnerEarAILib.phantom.rendered_anatomy import render_anatomy
from InnerEarAILib.phantom.scanner import GE_BONEPLUS
from InnerEarAILib.phantom.scanner_acquisition import scan_rendered, truth
from InnerEarAILib.phantom.temporal_bone import sample_temporal_bone
from InnerEarAILib.scan_files import read_volume, write_volume
from InnerEarAILib.volume import Grid, InputError, Volume

CENTRE = np.array([-40.0, 12.0, 55.0])
RADII = np.array([6.0, 3.2, 2.4])
VOLUME = 4 / 3 * np.pi * RADII.prod()
MARKS = {
    "helicotrema": CENTRE + np.array([RADII[0], 0, 0]),
    "oval window": CENTRE + np.array([0, RADII[1], 0]),
    "round window": CENTRE + np.array([0, 0, -RADII[2]]),
}
TISSUES = {0: GivenTissue(-1000, "air"), 1: GivenTissue(1300, "bone"), 5: GivenTissue(20, "fluid")}


def ellipsoid(scale=1.0, resolution=32):
    sphere, transform, moved = vtk.vtkSphereSource(), vtk.vtkTransform(), vtk.vtkTransformPolyDataFilter()
    sphere.SetRadius(1)
    sphere.SetThetaResolution(resolution)
    sphere.SetPhiResolution(resolution)
    transform.Scale(scale, scale, scale)
    transform.Translate(*CENTRE)
    transform.Scale(*RADII)
    moved.SetInputConnection(sphere.GetOutputPort())
    moved.SetTransform(transform)
    moved.Update()
    return moved.GetOutput()


def write_surface(path, surface, space=""):
    """`space` as Slicer writes it into the file: "LPS" or "RAS"."""
    writer = {".ply": vtk.vtkPLYWriter, ".stl": vtk.vtkSTLWriter, ".vtk": vtk.vtkPolyDataWriter}[path.suffix]()
    writer.SetFileName(str(path))
    writer.SetInputData(surface)
    if space:
        (writer.AddComment if path.suffix == ".ply" else writer.SetHeader)(f"3D Slicer output. SPACE={space}")
    writer.Write()
    return path


def label_map(spacing=0.3, label=5, around=1):
    grid = Grid.axis_aligned((44, 48, 64), spacing, CENTRE - np.array([63, 47, 43]) / 2 * spacing)
    indices = np.stack(np.meshgrid(*[np.arange(n) for n in grid.shape], indexing="ij"), -1)[..., ::-1]
    inside = (((grid.to_lps(indices) - CENTRE) / RADII) ** 2).sum(-1) < 1
    return Volume(np.where(inside, label, around).astype(np.uint8), grid.affine_lps)


@pytest.mark.parametrize("suffix", [".ply", ".stl", ".vtk"])
def test_a_surface_keeps_its_volume_and_landmarks(tmp_path, suffix):
    path = write_surface(tmp_path / f"ear{suffix}", ellipsoid())
    anatomy = anatomy_from_mesh(path, MARKS, "right")
    rendered = render_anatomy(anatomy, 0.2, 18.0)
    volume = rendered.labyrinth.float().sum().item() / 255 * 0.2**3
    assert volume == pytest.approx(VOLUME, rel=0.02)
    back = Pose(translation_lps=CENTRE).landmarks_lps(anatomy.ears[0])
    for name, position in MARKS.items():
        np.testing.assert_allclose(back[name], position, atol=0.05)


@pytest.mark.parametrize("suffix", [".ply", ".stl", ".vtk"])
def test_a_surface_lies_at_the_same_place_whichever_frame_slicer_wrote_it_in(tmp_path, suffix):
    turn, turned = vtk.vtkTransform(), vtk.vtkTransformPolyDataFilter()
    turn.Scale(-1, -1, 1)
    turned.SetInputData(ellipsoid())
    turned.SetTransform(turn)
    turned.Update()
    lps, _ = read_surface(write_surface(tmp_path / f"lps{suffix}", ellipsoid(), "LPS"))
    ras, _ = read_surface(write_surface(tmp_path / f"ras{suffix}", turned.GetOutput(), "RAS"))
    np.testing.assert_allclose(ras, lps, atol=1e-4)
    np.testing.assert_allclose((lps.min(0) + lps.max(0)) / 2, CENTRE, atol=0.01)


def test_a_left_ear_becomes_a_right_one_and_mirrors_back_to_its_place(tmp_path):
    path = write_surface(tmp_path / "ear.ply", ellipsoid())
    anatomy = anatomy_from_mesh(path, MARKS, "left")
    assert anatomy.ears[0].side == "right"
    pose = Pose(translation_lps=CENTRE, mirror=True)
    assert pose.side(anatomy.ears[0]) == "left"
    np.testing.assert_allclose(pose.landmarks_lps(anatomy.ears[0])["helicotrema"], MARKS["helicotrema"], atol=0.05)
    back = pose.inverse_affine
    beside = MARKS["helicotrema"] + np.array([[-0.5, 0, 0], [0.5, 0, 0]])
    points = torch.tensor(beside @ back[:3, :3].T + back[:3, 3], dtype=torch.float32)
    assert anatomy.render(points, 0.1).labyrinth.tolist() == [1.0, 0.0]


def test_inside_a_surface_is_fluid_and_round_it_is_the_capsule(tmp_path):
    anatomy = anatomy_from_mesh(write_surface(tmp_path / "ear.ply", ellipsoid()), {}, "right")
    heights = (0.0, RADII[2] + 0.8, RADII[2] + 3.5)
    drawn = anatomy.render(torch.tensor([[0, 0, z] for z in heights], dtype=torch.float32), 0.2)
    fluid, capsule, bone = drawn.hounsfield.tolist()
    assert fluid < 60
    assert capsule > 1800
    assert 1000 < bone < capsule - 300


class Host:
    """Soft tissue everywhere, with a labyrinth of its own that is a ball."""

    def __init__(self):
        marks = {name: position - CENTRE for name, position in MARKS.items()}
        self.ears = (PhantomEar("right", marks, {}),)

    def render(self, points, edge_mm):
        share = (0.5 - (points.norm(dim=1) - 5.0) / edge_mm).clamp(0, 1)
        return Rendering(torch.full((len(points),), 50.0) - 30 * share, share, (share > 0.5).to(torch.uint8))


def test_a_surface_replaces_the_labyrinth_of_its_host(tmp_path):
    anatomy = anatomy_from_mesh(write_surface(tmp_path / "ear.ply", ellipsoid()), MARKS, "right", Host())
    inside, filled, wall, beyond = [[0.0, 0, 0]], [[0.0, 0, 4.2]], [[-6.5, 0, 0]], [[0.0, 12.0, 0]]
    drawn = anatomy.render(torch.tensor(inside + filled + wall + beyond), 0.2)
    assert drawn.labyrinth.tolist() == [1, 0, 0, 0]
    assert drawn.hounsfield[0] < 60
    assert drawn.hounsfield[1] > 1800
    assert drawn.hounsfield[2] > 1800
    assert drawn.hounsfield[3] == 50


class LaminaHost(Host):
    """Shows bone within its lumen, as at the spiral lamina."""

    def render(self, points, edge_mm):
        drawn = super().render(points, edge_mm)
        return replace(drawn, hounsfield=torch.where(points.norm(dim=1) < 3, 1600.0, drawn.hounsfield))


def test_bone_in_the_lumen_of_the_host_becomes_no_denser_than_the_capsule(tmp_path):
    anatomy = anatomy_from_mesh(write_surface(tmp_path / "ear.ply", ellipsoid()), MARKS, "right", LaminaHost())
    points = torch.from_numpy(np.random.default_rng(0).uniform(-6, 6, (4000, 3))).float()
    assert anatomy.render(points, 0.2).hounsfield.max() <= 2061


def test_the_lumen_of_a_surface_in_a_dry_bone_is_as_dry(tmp_path):
    host = sample_temporal_bone(np.random.default_rng(0), state="dry")
    anatomy = anatomy_from_mesh(write_surface(tmp_path / "ear.ply", ellipsoid()), MARKS, "right", host)
    points = torch.from_numpy(np.random.default_rng(0).uniform(-8, 8, (4000, 3))).float()
    deepest = points[anatomy.distances.at(points).argmin()][None]
    drawn = anatomy.render(deepest, 0.2)
    assert drawn.labyrinth.item() == 1
    assert drawn.hounsfield.item() == pytest.approx(host.parameters.tissue.fluid)
    assert drawn.hounsfield.item() < -900


def broken(kind):
    surface = ellipsoid(resolution=24)
    if kind == "open":
        surface.BuildLinks()
        surface.DeleteCell(5)
        surface.RemoveDeletedCells()
    if kind == "crossing":
        append, other, shift, moved = (
            vtk.vtkAppendPolyData(),
            ellipsoid(resolution=24),
            vtk.vtkTransform(),
            vtk.vtkTransformPolyDataFilter(),
        )
        shift.Translate(1.0, 1.0, 0.5)
        moved.SetInputData(other)
        moved.SetTransform(shift)
        moved.Update()
        append.AddInputData(surface)
        append.AddInputData(moved.GetOutput())
        append.Update()
        surface = append.GetOutput()
    scale = {"metres": 1e-3, "microns": 1e3}.get(kind)
    return ellipsoid(scale, 24) if scale else surface


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("open", r"is not closed \(3 open edges\); fill"),
        ("crossing", r"crosses itself"),
        ("metres", r"seems to be in metres; scale it"),
        ("microns", r"seems to be in microns; scale it"),
    ],
)
def test_an_impossible_surface_is_refused_in_one_sentence(tmp_path, kind, sentence):
    path = write_surface(tmp_path / "ear.ply", broken(kind))
    with pytest.raises(InputError, match=sentence) as refused:
        anatomy_from_mesh(path, {}, "right")
    assert "\n" not in str(refused.value)
    assert "ear.ply" in str(refused.value)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("ear.obj", "v 0 0 0", "no surface file"),
        ("ear.ply", "not a mesh", "no surface that can be read"),
        ("ear.stl", "", "no surface that can be read"),
    ],
)
def test_a_file_without_a_surface_is_refused(tmp_path, capfd, name, content, sentence):
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=sentence):
        anatomy_from_mesh(tmp_path / name, {}, "right")


def test_a_smooth_closed_surface_crosses_itself_nowhere():
    surface = ellipsoid(resolution=24)
    vertices = vtk_to_numpy(surface.GetPoints().GetData()).astype(float)
    triangles = vtk_to_numpy(surface.GetPolys().GetConnectivityArray()).reshape(-1, 3)
    assert crossing_edges(vertices, triangles) == 0


def test_a_landmark_far_from_the_labyrinth_is_refused_with_its_distance(tmp_path):
    path = write_surface(tmp_path / "ear.ply", ellipsoid())
    reversed_axes = {"oval window": MARKS["oval window"] * [-1, -1, 1]}
    with pytest.raises(InputError, match=r"'oval window' lies .* mm from the labyrinth.*RAS"):
        anatomy_from_mesh(path, reversed_axes, "right")


def test_a_label_map_keeps_its_volume_and_has_smooth_walls():
    anatomy = anatomy_from_label_map(label_map(), TISSUES, {5: 0}, MARKS, "right", np.random.default_rng(0))
    rendered = render_anatomy(anatomy, 0.15, 14.0)
    share = rendered.labyrinth.float() / 255
    assert share.sum().item() * 0.15**3 == pytest.approx(VOLUME, rel=0.03)
    indices = np.stack(np.meshgrid(*[np.arange(n) for n in share.shape], indexing="ij"), -1)[..., ::-1]
    places = indices * 0.15 + rendered.origin
    unit_radius = np.sqrt(((places / RADII) ** 2).sum(-1))
    # A staircase of 0.3 mm voxels would be wrong up to 0.15 mm from the wall; 5 % of the smallest radius is 0.12 mm.
    assert (share.numpy()[unit_radius < 0.95] > 0.5).mean() > 0.999
    assert (share.numpy()[unit_radius > 1.05] < 0.5).mean() > 0.999


def test_bone_next_to_the_labyrinth_is_denser_than_bone_far_away():
    anatomy = anatomy_from_label_map(label_map(), TISSUES, {5: 0}, MARKS, "right", np.random.default_rng(0))
    near = torch.tensor([[x, 0.0, RADII[2] + 0.7] for x in np.linspace(-1, 1, 50)], dtype=torch.float32)
    far = near + torch.tensor([0.0, 0.0, 3.0])
    assert anatomy.render(near, 0.2).hounsfield.mean() > anatomy.render(far, 0.2).hounsfield.mean() + 400


def test_parts_of_a_label_map_stay_where_they_are():
    labels = label_map(label=COCHLEA, around=0)
    voxels = labels.voxels.copy()
    place = labels.grid.to_lps(np.argwhere(voxels > 0)[:, ::-1])[:, 0] - CENTRE[0]
    voxels[voxels > 0] = np.where(place > 2, COCHLEA, np.where(place < -2, CANALS, VESTIBULE))
    anatomy = anatomy_from_labyrinth_labels(labels.with_voxels(voxels), MARKS, "right")
    drawn = anatomy.render(torch.tensor([[4.0, 0, 0], [0, 0, 0], [-4, 0, 0], [0, 0, 5]]), 0.2)
    assert drawn.part.tolist() == [COCHLEA, VESTIBULE, CANALS, 0]
    rendered = render_anatomy(anatomy, 0.2, 16.0)
    assert rendered.labyrinth.float().sum().item() / 255 * 0.2**3 == pytest.approx(VOLUME, rel=0.03)


@pytest.mark.parametrize(
    ("labels", "labyrinth", "sentence"),
    [
        (label_map(label=1), {5: 0}, r"no labyrinth: none of the labels \[5\]"),
        (label_map(label=9), {5: 0}, r"labels \[9\] without a tissue"),
        (replace(label_map(), affine_lps=np.diag([0.03, 0.03, 0.03, 1.0])), {5: 0}, r"volume of 0\.19\d mm³"),
    ],
)
def test_an_unusable_label_map_is_refused(labels, labyrinth, sentence):
    with pytest.raises(InputError, match=sentence):
        anatomy_from_label_map(labels, TISSUES, labyrinth, {}, "right", np.random.default_rng(0))


def test_an_empty_label_map_is_refused():
    with pytest.raises(InputError, match="empty"):
        anatomy_from_labyrinth_labels(label_map(label=0, around=0), {}, "right")


@pytest.mark.parametrize("system", ["LPS", "RAS"])
def test_markups_of_either_frame_give_the_same_landmarks(tmp_path, system):
    turn = np.array([-1, -1, 1]) if system == "RAS" else np.ones(3)
    points = [
        {"label": label, "position": (turn * MARKS[name]).tolist(), "positionStatus": "defined"}
        for label, name in (("Apex", "helicotrema"), ("OvalWindow", "oval window"), ("round_window", "round window"))
    ]
    points.append({"label": "something else", "position": [0, 0, 0]})
    path = tmp_path / "ear.mrk.json"
    path.write_text(json.dumps({"markups": [{"coordinateSystem": system, "controlPoints": points}]}))
    found = read_landmarks(path)
    assert set(found) == set(MARKS)
    for name, position in MARKS.items():
        np.testing.assert_allclose(found[name], position)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"markups": 3}', '{"helicotrema": [1, 2]}', '{"markups": [{}]}'])
def test_a_file_without_landmarks_is_refused(tmp_path, content):
    path = tmp_path / "marks.json"
    path.write_text(content)
    with pytest.raises(InputError, match=r"marks\.json"):
        read_landmarks(path)


def test_files_of_a_temporal_bone_become_an_anatomy(tmp_path):
    rows = {
        "0": {"name": "air", "hounsfield": -1000, "tissue": "air"},
        "1": {"name": "temporal bone", "hounsfield": 1300, "tissue": "bone"},
        "5": {"name": "bony labyrinth", "hounsfield": 20, "tissue": "fluid"},
        "note": "free text",
    }
    (tmp_path / "tissues.json").write_text(json.dumps(rows))
    (tmp_path / "marks.json").write_text(json.dumps({name: p.tolist() for name, p in MARKS.items()}))
    write_volume(tmp_path / "ear.nrrd", label_map())
    anatomy, side = given_anatomy(
        tmp_path / "ear.nrrd",
        tmp_path / "marks.json",
        tmp_path / "tissues.json",
        "left",
        np.random.default_rng(0),
        None,
    )
    assert side == "left"
    assert anatomy.render(torch.zeros(1, 3), 0.2).labyrinth.item() > 0.99


def test_the_side_must_be_known(tmp_path):
    path = write_surface(tmp_path / "ear.ply", ellipsoid())
    with pytest.raises(InputError, match="--side left or right"):
        given_anatomy(path, None, None, "random", np.random.default_rng(0), None)


def test_tissues_need_a_labyrinth(tmp_path):
    path = tmp_path / "tissues.json"
    path.write_text(json.dumps({"1": {"name": "bone", "hounsfield": 1300, "tissue": "bone"}}))
    with pytest.raises(InputError, match="labyrinth"):
        read_tissues(path)


@pytest.mark.slow
@pytest.mark.parametrize(("ear", "side"), [("labyrinth_13", "left"), ("labyrinth_01", "right")])
def test_landmarks_tell_the_side_of_a_real_labyrinth(tmp_path, ear, side):
    folder = development_data("labyrinth_meshes")
    case = json.loads((folder / "landmarks.json").read_text(encoding="utf-8"))["cases"][ear]
    (tmp_path / "marks.json").write_text(json.dumps(case))
    anatomy, found = given_anatomy(
        folder / f"{ear}.ply", tmp_path / "marks.json", None, "random", np.random.default_rng(0), None
    )
    assert found == side
    share = render_anatomy(anatomy, 0.25, 24.0).labyrinth.float().sum().item() / 255 * 0.25**3
    assert share == pytest.approx(case["volume_mm3"], rel=0.02)


@pytest.mark.slow
@pytest.mark.parametrize(("specimen", "side"), [("RT138", "right"), ("LT151", "left")])
def test_a_real_label_map_scanned_as_a_clinical_scanner_does_looks_like_the_real_scan(specimen, side):
    folder = development_data("temporal_bones")
    anatomy, _ = given_anatomy(
        folder / f"{specimen}_labels.nrrd",
        folder / f"{specimen}_landmarks.mrk.json",
        folder / "labels.json",
        side,
        np.random.default_rng(0),
        None,
    )
    rendered = render_anatomy(anatomy, 0.2, 30.0)
    grid = GE_BONEPLUS.native_grid((0, 0, 0), 24.0)
    image = scan_rendered(rendered, GE_BONEPLUS, Pose(), grid, np.random.default_rng(0)).numpy()
    labyrinth = truth(rendered, Pose(), grid).labyrinth.numpy() > 0.5
    real = read_volume(development_data("head_ct") / "head_ct_right_ear_ct.nrrd")
    reference = read_volume(development_data("head_ct") / "head_ct_right_ear_labels.nrrd")
    ours, theirs = edges_near(image, labyrinth), edges_near(real.voxels.astype(float), reference.voxels > 0)
    np.testing.assert_allclose(ours, theirs, rtol=0.15)


def edges_near(image, labyrinth):
    """90th and 98th percentile of the slope along x, y and z round the labyrinth: how sharp its walls are."""
    near = ndimage.binary_dilation(labyrinth, iterations=4)
    slopes = [np.abs(slope)[near] for slope in np.gradient(image)]
    return [np.percentile(slope, share) for slope in slopes for share in (90, 98)]
