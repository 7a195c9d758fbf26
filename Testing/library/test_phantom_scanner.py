"""The scanner: resolution, noise, storage and poses hold what they state."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import curve_fit
from scipy.spatial.transform import Rotation
from scipy.special import erf

from InnerEarAILib.phantom.anatomy import PhantomEar, Rendering
from InnerEarAILib.phantom.artefacts import add_artefacts
from InnerEarAILib.phantom.noise import correlated_noise, scanner_noise
from InnerEarAILib.phantom.pose import Pose, sample_pose
from InnerEarAILib.phantom.rendered_anatomy import render_anatomy
from InnerEarAILib.phantom.scanner import GE_BONEPLUS, SCANNER_KINDS, Artefacts, Scanner, Storage, sample_scanner
from InnerEarAILib.phantom.scanner_acquisition import scan, scan_rendered, truth
from InnerEarAILib.volume import Grid, InputError

angles = st.floats(-180, 180)
places = st.floats(-80, 80)
sizes = st.floats(0.8, 1.25)
WIDE = Storage(lowest=-30000, highest=30000)


class HalfSpace:
    """Bone of 2000 HU beyond the plane through the origin with this normal, water before it."""

    ears = ()

    def __init__(self, normal):
        self.normal = torch.tensor(normal, dtype=torch.float32)

    def render(self, points, edge_mm):
        share = (points @ self.normal / edge_mm + 0.5).clamp(0, 1)
        return Rendering(2000 * share, torch.zeros(len(points)), torch.zeros(len(points), dtype=torch.uint8))


class Ball:
    """A ball of lumen in bone, with the ball's centre and two points on its surface as landmarks."""

    def __init__(self, centre=(2.0, -1.0, 3.0), radius=3.5):
        self.centre, self.radius = np.array(centre), radius
        marks = {
            "helicotrema": self.centre,
            "oval window": self.centre + np.array([0, radius, 0]),
            "round window": self.centre + np.array([0, 0, radius]),
        }
        self.ears = (PhantomEar("right", marks, {}),)

    def render(self, points, edge_mm):
        distance = (points - torch.tensor(self.centre, dtype=torch.float32)).norm(dim=1) - self.radius
        share = (0.5 - distance / edge_mm).clamp(0, 1)
        return Rendering(2000 - 2000 * share, share, (share >= 0.5).to(torch.uint8))


def edge_width(profile, step_mm):
    spread = np.gradient(profile, step_mm)
    top = spread.argmax()
    fine = np.arange(len(spread))
    above = np.interp(np.linspace(0, len(spread) - 1, 20001), fine, spread) >= spread[top] / 2
    return above.sum() * (len(spread) - 1) / 20001 * step_mm


@pytest.mark.parametrize("overshoot", [0.0, 0.3])
@pytest.mark.parametrize(("axis", "fwhm"), [(0, 0.6), (1, 0.6), (2, 0.9)])
def test_a_step_edge_is_as_wide_as_the_scanner_states(axis, fwhm, overshoot):
    scanner = Scanner("multi_slice", "", (0.1, 0.1, 0.1), (0.6, 0.6, 0.9), overshoot, storage=WIDE)
    grid = Grid.axis_aligned((41, 41, 41), 0.1, (-2, -2, -2))
    image = scan(HalfSpace(np.eye(3)[axis]), scanner, Pose(), grid, np.random.default_rng(0)).numpy()
    profile = np.moveaxis(image, 2 - axis, 0)[:, 20, 20]
    assert edge_width(profile, 0.1) == pytest.approx(fwhm, rel=0.1)


def test_a_rendered_anatomy_keeps_the_stated_width():
    rendered = render_anatomy(HalfSpace([1, 0, 0]), 0.15, 10.0, outside_hounsfield=0)
    scanner = Scanner("multi_slice", "", (0.1, 0.1, 0.1), (0.6, 0.6, 0.6), storage=WIDE)
    grid = Grid.axis_aligned((5, 5, 41), 0.1, (-2, 0, 0))
    image = scan_rendered(rendered, scanner, Pose(), grid, np.random.default_rng(0)).numpy()
    assert edge_width(image[2, 2], 0.1) == pytest.approx(0.6, rel=0.1)


def test_a_slanted_edge_on_the_scanner_s_own_voxels_is_as_wide_as_stated():
    normal = np.array([0.98, 0.17, 0.11]) / np.linalg.norm([0.98, 0.17, 0.11])
    scanner = replace(GE_BONEPLUS, noise_hounsfield=0.0, overshoot=0.0, fwhm_mm=(0.65, 0.65, 0.65))
    grid = scanner.native_grid((0, 0, 0), 14.0)
    image = scan(HalfSpace(normal), scanner, Pose(), grid, np.random.default_rng(0)).numpy()
    indices = np.argwhere(np.ones(grid.shape))[:, ::-1]
    distance = grid.to_lps(indices) @ normal
    near = np.abs(distance) < 2
    sigma = curve_fit(lambda d, s: 1000 * (1 + erf(d / (s * 2**0.5))), distance[near], image.ravel()[near], 0.3)[0][0]
    assert 2.355 * sigma == pytest.approx(0.65, rel=0.1)


def test_an_edge_enhancing_kernel_overshoots_and_a_plain_one_does_not():
    grid = Grid.axis_aligned((3, 3, 61), 0.2, (-6, 0, 0))
    plain = replace(GE_BONEPLUS, noise_hounsfield=0.0, overshoot=0.0)
    enhancing = replace(plain, overshoot=0.3)
    rng = np.random.default_rng(0)
    assert scan(HalfSpace([1, 0, 0]), plain, Pose(), grid, rng).max() <= 2001
    assert scan(HalfSpace([1, 0, 0]), enhancing, Pose(), grid, rng).max() > 2020


@settings(max_examples=8, deadline=None)
@given(st.floats(1, 300), st.floats(-0.2, 0.6), st.floats(0, 0.6), st.floats(0, 0.6), st.integers(0, 2**31))
def test_noise_has_the_stated_deviation_and_correlations(deviation, along_i, along_j, along_k, seed):
    generator = torch.Generator().manual_seed(seed)
    noise = correlated_noise((60, 60, 60), deviation, (along_i, along_j, along_k), generator).numpy()
    assert noise.std() == pytest.approx(deviation, rel=0.03)
    for axis, wanted in ((2, along_i), (1, along_j), (0, along_k)):
        near, far = np.moveaxis(noise, axis, 0)[:-1], np.moveaxis(noise, axis, 0)[1:]
        assert (near * far).mean() / noise.var() == pytest.approx(wanted, abs=0.03)


def test_noise_of_the_bone_kernel_is_that_of_the_real_scanner():
    noise = correlated_noise(
        (64, 96, 96),
        70,
        GE_BONEPLUS.noise_correlation,
        torch.Generator().manual_seed(1),
        GE_BONEPLUS.noise_diagonal,
        GE_BONEPLUS.noise_ramp,
    ).numpy()
    x, y, z = ((np.moveaxis(noise, a, 0)[:-1] * np.moveaxis(noise, a, 0)[1:]).mean() / noise.var() for a in (2, 1, 0))
    assert noise.std() == pytest.approx(70, rel=0.03)
    assert -0.1 < x < 0.05
    assert 0.19 < y < 0.35
    assert 0.25 < z < 0.33
    assert (noise[:, 1:, 1:] * noise[:, :-1, :-1]).mean() / noise.var() < -0.1


def test_noise_on_coarser_voxels_is_that_of_their_mean():
    scanner = Scanner("flat_panel", "", (0.1,) * 3, (0.2,) * 3, noise_hounsfield=100, noise_correlation=(0.4,) * 3)
    own = scanner_noise(scanner, Grid.axis_aligned((120,) * 3, 0.1, (0,) * 3), torch.Generator().manual_seed(1))
    coarse = scanner_noise(scanner, Grid.axis_aligned((60,) * 3, 0.2, (0,) * 3), torch.Generator().manual_seed(2))
    averaged = torch.nn.functional.avg_pool3d(own[None, None], 2)
    assert coarse.std().item() == pytest.approx(averaged.std().item(), rel=0.04)


@pytest.mark.parametrize("kind", SCANNER_KINDS)
def test_same_seed_gives_the_same_voxels_and_another_seed_others(kind):
    scanner = sample_scanner(np.random.default_rng(3), kind)
    grid = scanner.native_grid((0, 0, 0), 24 * np.array(scanner.spacing_mm))
    first, again, other = (scan(Ball(), scanner, Pose(), grid, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(SCANNER_KINDS))
def test_sampled_scanners_stay_within_their_kind(seed, kind):
    scanner = sample_scanner(np.random.default_rng(seed), kind)
    low, high = {
        "flat_panel": (0.09, 0.11),
        "cone_beam": (0.12, 0.2),
        "multi_slice": (0.2, 0.7),
        "thick_slice": (0.35, 1.6),
        "micro": (0.02, 0.06),
    }[kind]
    assert all(low <= edge <= high for edge in scanner.spacing_mm)
    assert all(width >= edge for width, edge in zip(scanner.fwhm_mm, scanner.spacing_mm, strict=True))
    assert all(abs(value) <= 0.66 for value in scanner.noise_correlation)


def test_an_unknown_scanner_is_refused_with_the_known_ones():
    with pytest.raises(InputError, match=r"no scanner 'xray'.*cone_beam"):
        sample_scanner(np.random.default_rng(0), "xray")


@pytest.mark.parametrize(
    "storage",
    [
        Storage(),
        Storage(
            lowest=-1500, highest=4000, slope=5500 * 0.9 / 65535, intercept=-1230, dtype="uint16", gain=0.9, bias=120
        ),
        Storage(gain=1.2, bias=-80.0),
    ],
)
def test_stored_values_turn_back_into_hounsfield_units(storage):
    scanner = Scanner("cone_beam", "", (0.4,) * 3, (0.8,) * 3)
    grid = Grid.axis_aligned((24, 24, 24), 0.4, (-4, -5, -2))
    true = scan(Ball(), replace(scanner, storage=WIDE), Pose(), grid, np.random.default_rng(0)).numpy()
    stored = scan(Ball(), replace(scanner, storage=storage), Pose(), grid, np.random.default_rng(0)).numpy()
    limits = np.iinfo(storage.dtype)
    assert limits.min <= stored.min() <= stored.max() <= limits.max
    assert np.array_equal(stored, np.round(stored))
    hounsfield = (stored * storage.slope + storage.intercept - storage.bias) / storage.gain
    np.testing.assert_allclose(hounsfield, true, atol=1.1)


def test_the_field_of_view_is_a_cylinder_round_the_grid():
    scanner = Scanner("cone_beam", "", (0.5,) * 3, (1.0,) * 3, field_diameter_mm=8.0, outside_hounsfield=-1000)
    grid = Grid.axis_aligned((5, 41, 41), 0.5, (-10, -10, -1))
    image = scan(HalfSpace([0, 0, 1]), scanner, Pose(), grid, np.random.default_rng(0)).numpy()
    radius = np.hypot(*np.meshgrid(np.arange(41) * 0.5 - 10, np.arange(41) * 0.5 - 10))
    assert (image[:, radius > 4.1] == -1000).all()
    assert (image[:, radius < 3.9] >= -1).all()


@pytest.mark.parametrize(
    "artefacts",
    [
        Artefacts(ring_hounsfield=50),
        Artefacts(cupping_hounsfield=200),
        Artefacts(bar_hounsfield=150),
        Artefacts(motion_mm=0.8, motion_share=0.3),
    ],
)
def test_every_artefact_changes_the_image_and_leaves_it_finite(artefacts):
    clean = Scanner("cone_beam", "", (0.4,) * 3, (0.8,) * 3, storage=WIDE)
    grid = Grid.axis_aligned((30, 32, 34), 0.4, (-4, -7, -3))
    first = scan(Ball(), clean, Pose(), grid, np.random.default_rng(0))
    second = scan(Ball(), replace(clean, artefacts=artefacts), Pose(), grid, np.random.default_rng(0))
    assert torch.isfinite(second).all()
    assert 5 < (first - second).abs().max() < 2500


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_what_moves_at_one_face_of_a_scan_does_not_come_in_at_the_other(axis):
    grid = Grid.axis_aligned((12, 12, 12), 0.4, (0, 0, 0))
    image = torch.zeros(12, 12, 12)
    image.select(axis, 0).fill_(1000.0)
    for seed in range(8):
        generator = torch.Generator().manual_seed(seed)
        moved = add_artefacts(image.clone(), Artefacts(motion_mm=0.6, motion_share=0.4), grid, generator)
        assert moved.select(axis, 11).abs().max() < 1e-3
        assert moved.max() <= 1000


@settings(max_examples=25, deadline=None)
@given(angles, angles, angles, places, places, places, st.booleans(), sizes)
def test_a_pose_and_its_inverse_give_the_same_point(a, b, c, x, y, z, mirror, size):
    pose = Pose(Rotation.from_euler("xyz", (a, b, c), degrees=True).as_matrix(), np.array([x, y, z]), mirror, size)
    points = np.random.default_rng(0).normal(0, 30, (5, 3))
    back = pose.inverse_affine
    np.testing.assert_allclose(pose.to_lps(points) @ back[:3, :3].T + back[:3, 3], points, atol=1e-9)


def test_mirroring_twice_is_the_identity_and_once_is_the_other_side():
    mirror = Pose(mirror=True)
    points = np.random.default_rng(0).normal(0, 30, (5, 3))
    np.testing.assert_allclose(mirror.to_lps(mirror.to_lps(points)), points)
    assert mirror.side(Ball().ears[0]) == "left"
    assert Pose().side(Ball().ears[0]) == "right"


def test_a_reflecting_rotation_is_refused():
    with pytest.raises(ValueError, match="mirror=True"):
        Pose(np.diag([-1.0, 1.0, 1.0]))


def test_a_pose_without_a_size_is_refused():
    with pytest.raises(ValueError, match="positive"):
        Pose(size=0.0)


def test_an_edge_is_as_sharp_in_a_patient_of_any_size():
    scanner = Scanner("cone_beam", "", (0.2,) * 3, (0.5,) * 3, storage=WIDE)
    rendered = render_anatomy(HalfSpace([1, 0, 0]), 0.2, 24.0)
    grid = Grid.cube_round((0, 0, 0), 0.2, 41)
    widths = []
    for size in (0.8, 1.0, 1.25):
        image = scan_rendered(rendered, scanner, Pose(size=size), grid, np.random.default_rng(0)).numpy()
        widths.append(edge_width(image[20, 20], 0.2))
    np.testing.assert_allclose(widths, widths[1], rtol=0.05)


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 10**6), st.booleans(), sizes)
def test_label_and_landmarks_move_with_the_pose(seed, mirror, size):
    rng = np.random.default_rng(seed)
    pose, ball = replace(sample_pose(rng, mirror, 180), size=size), Ball()
    grid = oblique_grid(rng, pose.to_lps(ball.centre), (30, 36, 40), (0.3, 0.35, 0.4))
    exact = truth(render_anatomy(ball, 0.15, 14.0), pose, grid)
    share = exact.labyrinth.numpy()
    centroid = grid.to_lps((np.argwhere(share >= 0)[:, ::-1] * share.ravel()[:, None]).sum(0) / share.sum())
    landmarks = exact.landmarks["left" if mirror else "right"]
    np.testing.assert_allclose(centroid, landmarks["helicotrema"], atol=0.05)
    direction = landmarks["oval window"] - landmarks["helicotrema"]
    assert np.linalg.norm(direction) == pytest.approx(size * ball.radius, abs=1e-6)


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 10**6), st.tuples(*[st.floats(0.1, 0.7)] * 3), sizes)
def test_labyrinth_volume_is_the_same_on_every_grid(seed, spacing, size):
    rng = np.random.default_rng(seed)
    pose, ball = replace(sample_pose(rng, False, 180), size=size), Ball()
    shape = tuple(int(10 / s) + 1 for s in spacing[::-1])
    grid = oblique_grid(rng, pose.to_lps(ball.centre), shape, spacing)
    volume = truth(ball, pose, grid).labyrinth.sum().item() * grid.spacing_mm.prod()
    assert volume == pytest.approx(4 / 3 * np.pi * (size * ball.radius) ** 3, rel=0.02)


def test_image_and_truth_lie_at_the_same_place():
    scanner = Scanner("cone_beam", "", (0.2,) * 3, (0.4,) * 3, storage=WIDE)
    grid = oblique_grid(np.random.default_rng(1), np.array([2.0, -1, 3]), (50, 45, 48), (0.2, 0.2, 0.3))
    rendered = render_anatomy(Ball(), 0.15, 20.0, outside_hounsfield=2000)
    image = scan_rendered(rendered, scanner, Pose(), grid, np.random.default_rng(0)).numpy()
    share = truth(rendered, Pose(), grid).labyrinth.numpy()
    darkness = np.clip(1 - image / 2000, 0, None)
    places = np.argwhere(share >= 0)
    shift = (places * darkness.ravel()[:, None]).sum(0) / darkness.sum() - (places * share.ravel()[:, None]).sum(
        0
    ) / share.sum()
    np.testing.assert_allclose(shift, 0, atol=0.1)


def test_a_rendered_anatomy_survives_the_disk(tmp_path):
    rendered = render_anatomy(Ball(), 0.4, (8.0, 9.0, 10.0))
    rendered.save(tmp_path / "ball.safetensors")
    loaded = type(rendered).load(tmp_path / "ball.safetensors")
    assert torch.equal(loaded.hounsfield, rendered.hounsfield)
    assert torch.equal(loaded.labyrinth, rendered.labyrinth)
    np.testing.assert_allclose(loaded.ears[0].landmarks["oval window"], rendered.ears[0].landmarks["oval window"])
    assert [path.name for path in tmp_path.iterdir()] == ["ball.safetensors"]


def oblique_grid(rng, centre, shape, spacing):
    affine = np.eye(4)
    affine[:3, :3] = Rotation.random(random_state=rng).as_matrix() @ np.diag(spacing)
    affine[:3, 3] = centre - affine[:3, :3] @ ((np.array(shape[::-1]) - 1) / 2)
    return Grid(shape, affine)


def test_a_finer_truth_is_sharper_and_survives_the_disk_and_the_image_stays_the_same(tmp_path):
    plain = render_anatomy(Ball(), 0.5, 18.0)
    fine = render_anatomy(Ball(), 0.5, 18.0, truth_spacing_mm=0.1)
    fine.save(tmp_path / "ball.safetensors")
    grid = Grid.axis_aligned((90, 90, 90), 0.1, np.array([2.0, -1, 3]) - 4.45)
    exact = truth(Ball(), Pose(), grid).labyrinth
    errors = [
        float((anatomy.truth_on(grid.shape, grid.affine_lps)[0] - exact).abs().mean())
        for anatomy in (plain, fine, type(fine).load(tmp_path / "ball.safetensors"))
    ]
    assert errors[1] < 0.3 * errors[0]
    assert errors[2] == errors[1]
    assert torch.equal(fine.hounsfield, plain.hounsfield)


def test_a_finer_truth_gives_coarse_voxels_the_share_of_their_own_volume():
    fine = render_anatomy(Ball(), 0.5, 18.0, truth_spacing_mm=0.1)
    grid = oblique_grid(np.random.default_rng(0), np.array([2.0, -1, 3]), (40, 40, 40), (0.4, 0.4, 0.4))
    exact = truth(Ball(), Pose(), grid).labyrinth
    share = fine.truth_on(grid.shape, grid.affine_lps)[0]
    at_the_wall = (exact > 0.05) & (exact < 0.95)
    assert (share - exact)[at_the_wall].abs().mean() < 0.06
    assert float(share.sum()) == pytest.approx(float(exact.sum()), rel=0.01)


def test_an_anatomy_without_a_labyrinth_has_no_finer_truth():
    beside = render_anatomy(Ball(), 0.5, 4.0, centre=(20.0, 0, 0), truth_spacing_mm=0.1)
    assert beside.fine_truth is None
    share, _ = beside.truth_on((4, 4, 4), np.eye(4))
    assert not share.any()
