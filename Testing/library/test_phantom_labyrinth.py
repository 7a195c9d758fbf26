"""The labyrinth of the phantom: shape, landmarks, sides, variants."""

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from InnerEarAILib.landmarks import LANDMARK_NAMES
from InnerEarAILib.phantom.labyrinth import Labyrinth
from InnerEarAILib.phantom.labyrinth_parameters import VARIANTS, LabyrinthParameters, sample_labyrinth_parameters
from InnerEarAILib.phantom.labyrinth_shapes import unit

LOW = np.array([-9.5, -10.5, -9.5])
SHAPE_IJK = np.array([19.0, 22.0, 21.0])


def lattice(spacing_mm: float) -> tuple[torch.Tensor, tuple[int, int, int]]:
    counts = np.ceil(SHAPE_IJK / spacing_mm).astype(int)
    i, j, k = (torch.arange(n) * spacing_mm + low for n, low in zip(counts, LOW, strict=True))
    z, y, x = torch.meshgrid(k, j, i, indexing="ij")
    return torch.stack([x, y, z], -1).reshape(-1, 3).float(), tuple(counts[::-1].tolist())


def sampled(seed: int, variant: str = "normal") -> Labyrinth:
    return Labyrinth(sample_labyrinth_parameters(np.random.default_rng(seed), variant))


def volume_mm3(distance: torch.Tensor, spacing_mm: float) -> float:
    return float((0.5 - distance / spacing_mm).clamp(0, 1).sum()) * spacing_mm**3


def gradient(labyrinth: Labyrinth, points: torch.Tensor) -> torch.Tensor:
    steps = 0.03 * torch.eye(3)
    sides = [
        (labyrinth.distances(points + step).union - labyrinth.distances(points - step).union) / 0.06 for step in steps
    ]
    return torch.stack(sides, 1)


@pytest.fixture(scope="module")
def mean_labyrinth() -> Labyrinth:
    return Labyrinth(LabyrinthParameters())


@pytest.fixture(scope="module")
def wall_points(mean_labyrinth):
    points, _ = lattice(0.4)
    distance = mean_labyrinth.distances(points).union
    return points[distance.abs() < 0.4]


@pytest.mark.parametrize("variant", VARIANTS)
def test_lumen_of_every_variant_is_one_piece_with_a_closed_wall(variant):
    labyrinth = sampled(5, variant)
    points, shape = lattice(0.3)
    inside = (labyrinth.distances(points).union < 0).numpy().reshape(shape)
    edges = [inside.take(index, axis) for axis in range(3) for index in (0, -1)]
    assert not any(edge.any() for edge in edges)
    pieces = sitk.GetArrayFromImage(sitk.ConnectedComponent(sitk.GetImageFromArray(inside.astype(np.uint8))))
    assert pieces.max() == (0 if variant == "labyrinthine_aplasia" else 1)


def test_mean_labyrinth_is_as_large_as_measured(mean_labyrinth):
    points, _ = lattice(0.3)
    distances = mean_labyrinth.distances(points)
    assert volume_mm3(distances.union, 0.3) == pytest.approx(188, abs=0.3 * 24)
    assert volume_mm3(distances.cochlea, 0.3) == pytest.approx(70, abs=12)
    assert volume_mm3(distances.vestibule, 0.3) == pytest.approx(56, abs=11)
    assert volume_mm3(distances.canals, 0.3) == pytest.approx(58, abs=12)


def test_parts_tile_the_lumen(mean_labyrinth):
    points, _ = lattice(0.4)
    distances = mean_labyrinth.distances(points)
    parts = torch.stack([distances.cochlea, distances.vestibule, distances.canals])
    inside = distances.union < -1e-3
    assert torch.equal((parts < 0).any(0)[inside], torch.ones(int(inside.sum()), dtype=torch.bool))
    assert ((parts < -1e-3).sum(0) <= 1).all()
    assert (parts >= distances.union - 1e-6).all()


def test_distance_has_unit_slope_at_the_wall(mean_labyrinth, wall_points):
    slope = gradient(mean_labyrinth, wall_points).norm(dim=1)
    at_wall = mean_labyrinth.distances(wall_points).union.abs() < 0.2
    assert ((slope[at_wall] - 1).abs() < 0.15).float().mean() > 0.93
    assert slope[at_wall].median() == pytest.approx(1, abs=0.02)


def test_distance_is_true_outside(mean_labyrinth, wall_points):
    """Stepping outwards by the distance to the wall really gets there, to within a tenth of a millimetre."""
    distance = mean_labyrinth.distances(wall_points).union
    outside = distance > 0.1
    slope = gradient(mean_labyrinth, wall_points[outside])
    landed = wall_points[outside] - slope / slope.norm(dim=1, keepdim=True) * distance[outside, None]
    assert mean_labyrinth.distances(landed).union.abs().quantile(0.95) < 0.1


def test_far_points_get_a_lower_bound(mean_labyrinth):
    points = torch.tensor([[30.0, 0, 0], [0, -40, 0], [-20, 20, 25.0]])
    distance = mean_labyrinth.distances(points).union
    nearest = torch.cdist(points, torch.as_tensor(mean_labyrinth.frames.cochlear_centreline).float()).amin(1)
    assert (distance > 5).all()
    assert (distance <= nearest).all()


@given(seed=st.integers(0, 10_000))
@settings(max_examples=4, deadline=None)
def test_windows_lie_on_the_wall_and_face_outwards(seed):
    labyrinth = sampled(seed)
    for window in (labyrinth.frames.oval_window, labyrinth.frames.round_window):
        line = torch.as_tensor(window.centre + np.array([[0.0], [-0.3], [0.3]]) * window.normal)
        at, inside, outside = labyrinth.distances(line).union.tolist()
        assert abs(at) < 0.02
        assert inside < -0.1
        assert outside > 0.1
    assert labyrinth.frames.oval_window.normal[0] < -0.5  # towards the middle ear, lateral


@given(seed=st.integers(0, 10_000))
@settings(max_examples=4, deadline=None)
def test_helicotrema_is_the_blind_end_of_the_lumen(seed):
    labyrinth = sampled(seed)
    helicotrema, course = labyrinth.landmarks["helicotrema"], labyrinth.frames.cochlear_centreline
    assert abs(float(labyrinth.distances(torch.as_tensor(helicotrema)[None]).union)) < 0.01
    # No other place of the centreline is as near to it as the last.
    assert np.argmin(np.linalg.norm(course - helicotrema, axis=1)) == len(course) - 1
    beyond = unit(helicotrema - course[-1])
    assert beyond @ unit(course[-1] - course[-2]) > 0.5
    assert beyond @ labyrinth.frames.modiolar_axis > 0.5


def test_right_cochlea_winds_right_handed_towards_its_apex(mean_labyrinth):
    """Chirality: seen from the apex a right cochlea climbs counter-clockwise; that of its mirror image clockwise."""
    assert _winding(mean_labyrinth.frames.cochlear_centreline, mean_labyrinth.frames) > 2
    mirror = np.array([-1.0, 1, 1])
    frames = mean_labyrinth.frames
    offsets = (frames.cochlear_centreline - frames.modiolar_origin) * mirror
    assert _turns(offsets, frames.modiolar_axis * mirror) < -2


def _winding(course, frames) -> float:
    return _turns(course - frames.modiolar_origin, frames.modiolar_axis)


def _turns(offsets, axis) -> float:
    first = np.cross(axis, [0.0, 0.0, 1.0])
    second = np.cross(axis, first)
    angle = np.unwrap(np.arctan2(offsets @ second, offsets @ first))
    return (angle[-1] - angle[0]) / (2 * np.pi)


def test_parts_lie_where_a_right_ear_has_them(mean_labyrinth):
    frames = mean_labyrinth.frames
    cochlea = frames.cochlear_centreline.mean(0)
    assert cochlea[0] > 2  # medial
    assert cochlea[1] < -2  # anterior
    middles = {name: (line.min(0) + line.max(0)) / 2 for name, line in frames.canal_centrelines.items()}
    assert middles["lateral"][0] == min(middle[0] for middle in middles.values())
    assert middles["anterior"][2] == max(middle[2] for middle in middles.values())
    assert middles["posterior"][1] == max(middle[1] for middle in middles.values())
    assert mean_labyrinth.landmarks["round window"][2] < mean_labyrinth.landmarks["oval window"][2] - 2
    assert tuple(mean_labyrinth.landmarks) == LANDMARK_NAMES


def test_bony_septum_parts_the_turns(mean_labyrinth):
    """Between neighbouring turns, in the half plane across the axis, there is bone."""
    course = mean_labyrinth.frames.cochlear_centreline
    offsets = course - mean_labyrinth.frames.modiolar_origin
    axis = mean_labyrinth.frames.modiolar_axis
    first = np.cross(axis, [0.0, 0.0, 1.0])
    angle = np.unwrap(np.arctan2(offsets @ np.cross(axis, first), offsets @ first))
    for turns in np.arange(0.25, 1.3, 0.1):
        lower = course[np.searchsorted(angle, angle[0] + 2 * np.pi * turns)]
        upper = course[np.searchsorted(angle, angle[0] + 2 * np.pi * (turns + 1))]
        line = lower + np.linspace(0, 1, 60)[:, None] * (upper - lower)
        assert mean_labyrinth.distances(torch.as_tensor(line)).union.max() > 0.03


def test_spiral_lamina_is_thin_and_lies_within_the_cochlea(mean_labyrinth):
    points, _ = lattice(0.3)
    distances = mean_labyrinth.distances(points)
    lamina = volume_mm3(distances.bone_within, 0.3)
    assert 0.5 < lamina < 4
    assert (distances.union[distances.bone_within < 0] <= 0).all()


def test_same_seed_gives_same_shape_and_another_seed_another():
    points = torch.rand(500, 3, generator=torch.Generator().manual_seed(1)) * 12 - 6
    first, again, other = (sampled(seed).distances(points).union for seed in (7, 7, 8))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other, atol=0.05)


def test_incomplete_partition_loses_the_septum_of_the_apical_turns():
    normal, cystic = sampled(3), sampled(3, "incomplete_partition")
    assert cystic.measures["cochlear_turns"] < normal.measures["cochlear_turns"] - 0.4
    points, _ = lattice(0.3)
    lamina = [volume_mm3(one.distances(points).bone_within, 0.25) for one in (normal, cystic)]
    assert lamina[1] < 0.8 * lamina[0]


def test_enlarged_vestibular_aqueduct_is_wider_than_a_normal_one():
    points, _ = lattice(0.4)
    normal, wide = (
        volume_mm3(sampled(3, v).distances(points).aqueducts, 0.4) for v in ("normal", "enlarged_vestibular_aqueduct")
    )
    assert wide > 2.5 * normal


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: LabyrinthParameters(variant="conical"),
        lambda: LabyrinthParameters(size=1000.0),
        lambda: sample_labyrinth_parameters(np.random.default_rng(0), "conical"),
    ],
)
def test_impossible_parameters_are_refused_in_words(wrong):
    with pytest.raises(ValueError, match=r"variant|size"):
        wrong()
