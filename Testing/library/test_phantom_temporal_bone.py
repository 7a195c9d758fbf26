"""The temporal bone of the phantom, probed at places that its own labyrinth names."""

import json
from dataclasses import asdict, replace
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
import torch

from InnerEarAILib.phantom.anatomy import NO_PART
from InnerEarAILib.phantom.point_tiles import tiles
from InnerEarAILib.phantom.temporal_bone import TemporalBone, sample_temporal_bone
from InnerEarAILib.phantom.temporal_bone_parameters import DISEASES, VARIANTS

SEEDS = (0, 1, 2, 3)


@cache
def bone_of(seed: int, variant: str = "normal", state: str = "fresh") -> TemporalBone:
    return sample_temporal_bone(np.random.default_rng(seed), variant, state)


def ball(centre: np.ndarray, radius: float, count: int = 4000) -> torch.Tensor:
    rng = np.random.default_rng(0)
    offsets = rng.normal(size=(count, 3))
    offsets *= (radius * rng.random(count) ** (1 / 3) / np.linalg.norm(offsets, axis=1))[:, None]
    return torch.tensor(centre + offsets, dtype=torch.float32)


def box(edge_mm: float, spacing_mm: float, centre=(0.0, 0.0, 0.0)) -> torch.Tensor:
    axis = torch.arange(-edge_mm / 2, edge_mm / 2, spacing_mm) + spacing_mm / 2
    return torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3) + torch.tensor(centre)


def near_surface(bone: TemporalBone, low: float, high: float) -> torch.Tensor:
    """Points between two distances from the lumen, away from windows, nerves and aqueducts."""
    frames = bone.labyrinth.frames
    points = box(20.0, 0.6)
    fields = bone.labyrinth.distances(points)
    keep = (fields.union > low) & (fields.union < high) & (fields.aqueducts > 1.0) & (fields.modiolus > 0.6)
    for place, reach in (
        (frames.oval_window.centre, 3.2),
        (frames.round_window.centre, 3.5),
        *((gate, 3.0) for gate in frames.fundus.values()),
    ):
        keep &= (points - points.new_tensor(place)).norm(dim=1) > reach
    return points[keep]


@pytest.mark.parametrize("seed", SEEDS)
def test_lumen_lies_in_dense_bone_away_from_windows_and_nerves(seed):
    bone = bone_of(seed)
    around = bone.render(near_surface(bone, 0.15, 0.3), 0.05).hounsfield
    assert (around > 1100).float().mean() > 0.97
    assert around.median() == pytest.approx(bone.parameters.tissue.capsule, rel=0.08)


@pytest.mark.parametrize(("state", "low", "high"), [("fresh", -60, 110), ("dry", -1000, -900), ("embedded", 40, 340)])
def test_lumen_has_the_number_of_its_state(state, low, high):
    bone = bone_of(1, "normal", state)
    inside = ball(np.zeros(3), 1.2)
    seen = bone.render(inside[bone.labyrinth.distances(inside).union < -0.2], 0.1)
    assert low <= float(seen.hounsfield.median()) <= high
    assert seen.labyrinth.min() == 1


@pytest.mark.parametrize("seed", SEEDS)
def test_footplate_closes_the_oval_window_and_crura_stand_on_it(seed):
    bone = bone_of(seed)
    window, figures = bone.labyrinth.frames.oval_window, bone.parameters.neighbours
    plate = window.centre + 0.5 * figures.footplate_thickness * window.normal
    across = np.cross(window.normal, window.long_axis)
    steps = [(a, b) for a in (-0.6, 0, 0.6) for b in (-0.5, 0, 0.5)]
    spots = [
        plate + a * window.half_axes_mm[0] * window.long_axis + b * window.half_axes_mm[1] * across for a, b in steps
    ]
    seen = bone.render(torch.tensor(np.array(spots), dtype=torch.float32), 0.05)
    assert seen.hounsfield.min() > 900
    foot = bone.bodies.stapes_struts[0].nodes[0]
    assert np.abs((foot - plate) @ window.normal) < 0.2
    assert np.linalg.norm(foot - plate) < window.half_axes_mm[0]


@pytest.mark.parametrize("seed", SEEDS)
def test_round_window_faces_an_open_niche(seed):
    bone = bone_of(seed)
    dry_ear = TemporalBone(
        bone.labyrinth,
        replace(bone.parameters, neighbours=replace(bone.parameters.neighbours, effusion_level=-99.0)),
    )
    window = bone.labyrinth.frames.round_window
    heights = torch.tensor(np.array([window.centre + t * window.normal for t in (0.6, 1.0, 1.4)]), dtype=torch.float32)
    assert dry_ear.render(heights, 0.05).hounsfield.max() < -800
    inside = torch.tensor((window.centre - 0.4 * window.normal)[None], dtype=torch.float32)
    assert dry_ear.render(inside, 0.05).hounsfield.item() > -100


def test_effusion_fills_the_middle_ear_below_its_level():
    bone = bone_of(2)
    neighbours = replace(bone.parameters.neighbours, effusion_level=60.0)
    filled = TemporalBone(bone.labyrinth, replace(bone.parameters, neighbours=neighbours))
    place = bone.labyrinth.frames.oval_window.centre + np.array(neighbours.cavities["mesotympanum"].centre)
    seen = filled.render(ball(place, 1.0, 400), 0.1).hounsfield
    assert seen.median() == pytest.approx(bone.parameters.tissue.effusion, abs=5)


def test_internal_canal_leads_from_the_fossa_to_the_modiolus():
    for seed in SEEDS:
        bone = bone_of(seed)
        course = bone.bodies.canal.nodes
        path = np.concatenate([np.linspace(a, b, 12) for a, b in pairwise(course[:4])])
        path = np.concatenate([np.linspace(bone.labyrinth.frames.cochlear_base, course[0], 12), path])
        seen = bone.render(torch.tensor(path, dtype=torch.float32), 0.05).hounsfield
        assert seen.max() < 400, seed


def test_same_seed_gives_same_voxels():
    points = box(30.0, 2.0)
    first = sample_temporal_bone(np.random.default_rng(5)).render(points, 1.0)
    second = sample_temporal_bone(np.random.default_rng(5)).render(points, 1.0)
    other = sample_temporal_bone(np.random.default_rng(6)).render(points, 1.0)
    assert torch.equal(first.hounsfield, second.hounsfield)
    assert torch.equal(first.labyrinth, second.labyrinth)
    assert not torch.allclose(first.hounsfield, other.hounsfield)


def test_rendering_in_pieces_equals_rendering_at_once():
    bone = bone_of(3)
    points = box(24.0, 0.75)
    whole = bone.render(points, 0.6)
    order = torch.randperm(len(points), generator=torch.Generator().manual_seed(0))
    for piece in order.split(6000)[:2]:
        part = bone.render(points[piece], 0.6)
        assert torch.allclose(part.hounsfield, whole.hounsfield[piece], atol=0.5)
        assert torch.allclose(part.labyrinth, whole.labyrinth[piece], atol=1e-4)
        assert torch.equal(part.part, whole.part[piece])


def test_coarse_voxel_is_the_mean_of_its_parts():
    bone = bone_of(1)
    edge, splits = 0.4, 4
    coarse = box(6.0, edge, (-0.6, -0.7, -0.2))
    offsets = box(edge, edge / splits)
    seen = bone.render(coarse, edge)
    fine = bone.render((coarse[:, None] + offsets[None]).reshape(-1, 3), edge / splits)
    labyrinth = fine.labyrinth.view(len(coarse), -1).mean(1)
    hounsfield = fine.hounsfield.view(len(coarse), -1).mean(1)
    assert (seen.labyrinth - labyrinth).abs().mean() < 0.02
    assert seen.labyrinth.mean() == pytest.approx(float(labyrinth.mean()), rel=0.02)
    assert (seen.hounsfield - hounsfield).abs().mean() < 80
    assert seen.hounsfield.mean() == pytest.approx(float(hounsfield.mean()), abs=40)


@pytest.mark.parametrize("canal", ["lateral", "posterior"])
@pytest.mark.parametrize("seed", [*SEEDS, 777000, 777001, 777003])
def test_the_bone_that_a_canal_winds_round_is_solid(seed, canal):
    bone = bone_of(seed)
    points = ball(bone.labyrinth.frames.canal_centrelines[canal].mean(0), 1.0)
    points = points[bone.labyrinth.distances(points).union > 0.3]
    seen = bone.render(points, 0.1).hounsfield
    assert seen.median() > 1200
    assert seen.min() > -200  # the facial canal may touch it, air does not


def test_parts_tile_the_lumen():
    bone = bone_of(0)
    points = box(20.0, 0.5)
    seen = bone.render(points, 0.5)
    union = bone.labyrinth.distances(points).union
    assert torch.equal(seen.part != NO_PART, union < 0)
    assert set(seen.part.unique().tolist()) == {0, 1, 2, 3}


def test_otosclerosis_softens_the_capsule_before_the_oval_window():
    bone = bone_of(4, "otosclerosis")
    healthy = TemporalBone(bone.labyrinth, replace(bone.parameters, bone_foci=()))
    focus = bone.parameters.bone_foci[0]
    points = ball(np.array(focus.centre), 0.6 * focus.radius)
    points = points[bone.labyrinth.distances(points).union > 0.2]
    before, after = (anatomy.render(points, 0.1).hounsfield for anatomy in (healthy, bone))
    solid = before > 1500
    assert solid.any()
    assert after[solid].mean() < before[solid].mean() - 200


def test_ossification_hardens_the_lumen_but_not_the_label():
    bone = bone_of(4, "ossification")
    clear = TemporalBone(bone.labyrinth, replace(bone.parameters, lumen_foci=()))
    focus = bone.parameters.lumen_foci[0]
    points = ball(np.array(focus.centre), 0.6 * focus.radius)
    points = points[bone.labyrinth.distances(points).union < -0.15]
    before, after = clear.render(points, 0.1), bone.render(points, 0.1)
    assert after.hounsfield.median() > 600
    assert before.hounsfield.median() < 200
    assert torch.equal(before.labyrinth, after.labyrinth)


def test_dehiscent_canal_has_no_bone_over_it():
    bone = bone_of(0, "dehiscent_superior_canal")
    centreline = bone.labyrinth.frames.canal_centrelines["anterior"]
    top = centreline[np.argmax(centreline[:, 2])]
    above = torch.tensor(top + np.outer(np.linspace(0.0, 1.4, 15), [0, 0, 1.0]), dtype=torch.float32)
    assert bone.render(above, 0.05).hounsfield.max() < 300
    roofed = TemporalBone(bone.labyrinth, replace(bone.parameters, dehiscent=False))
    assert roofed.render(above, 0.05).hounsfield.max() > 1000


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_renders_finite_numbers_and_json(variant):
    bone = sample_temporal_bone(np.random.default_rng(0), variant, "embalmed")
    seen = bone.render(box(40.0, 4.0), 4.0)
    assert torch.isfinite(seen.hounsfield).all()
    assert seen.hounsfield.min() >= -1100
    assert seen.hounsfield.max() < 3500
    assert json.dumps(asdict(bone.parameters))
    assert variant not in DISEASES or bone.parameters.bone_foci or bone.parameters.lumen_foci


def test_unknown_variant_and_state_are_named():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="mondini"):
        sample_temporal_bone(rng, "mondini")
    with pytest.raises(ValueError, match="frozen"):
        sample_temporal_bone(rng, "normal", "frozen")


@pytest.mark.parametrize("points", [box(10.0, 0.5), box(30.0, 0.5)[:3600], torch.zeros(5000, 3)])
def test_tiles_hold_every_point_once(points):
    pieces = tiles(points, 700)
    assert torch.equal(torch.cat(pieces).sort().values, torch.arange(len(points)))
    assert max(len(piece) for piece in pieces) <= 1400


def test_two_bones_of_one_texture_do_not_show_it_at_the_same_places():
    """Else a network could know an ear's place by the bone round it."""
    one = bone_of(0)
    points = near_surface(one, 1.5, 3.0)

    def bone_value(shift):
        parameters = replace(one.parameters, texture_shift=shift)
        return TemporalBone(one.labyrinth, parameters).render(points, 0.3).hounsfield.numpy()

    here, again, shifted = (bone_value(shift) for shift in ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0), (71.0, 113.0, 29.0)))
    assert np.array_equal(here, again)
    smooth = np.corrcoef(here, shifted)[0, 1]
    assert np.abs(here - shifted).mean() > 20
    assert smooth < 0.95
    shifts = {sample_temporal_bone(np.random.default_rng(seed)).parameters.texture_shift for seed in range(3)}
    assert len(shifts) == 3
