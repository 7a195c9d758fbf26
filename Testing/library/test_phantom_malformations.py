"""Malformed labyrinths: what each lacks, what it has instead, and that nothing is said of what is not there."""

import json

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from InnerEarAILib.landmarks import LANDMARK_NAMES
from InnerEarAILib.phantom.anatomy import COCHLEA, truth_at
from InnerEarAILib.phantom.command import write_manifest
from InnerEarAILib.phantom.head import sample_head
from InnerEarAILib.phantom.labyrinth import Labyrinth
from InnerEarAILib.phantom.labyrinth_malformations import WITH_CAVITIES
from InnerEarAILib.phantom.labyrinth_parameters import sample_labyrinth_parameters
from InnerEarAILib.phantom.phantom import PhantomOptions, draw_phantom, write_phantom
from InnerEarAILib.phantom.temporal_bone import sample_temporal_bone
from InnerEarAILib.volume import InputError

SPACING_MM = 0.4
LOW, HIGH = np.array([-10.0, -11.0, -10.0]), np.array([10.0, 12.0, 11.0])
SEEDS = range(4)
WITH_LUMEN = [kind for kind in WITH_CAVITIES if kind != "labyrinthine_aplasia"]

NAMED = {
    "labyrinthine_aplasia": set(),
    "cochlear_aplasia": {"oval window"},
    "common_cavity": {"oval window"},
    "incomplete_partition_1": {"oval window", "round window"},
    "lateral_canal_dysplasia": set(LANDMARK_NAMES),
}


def sampled(seed: int, kind: str) -> Labyrinth:
    return Labyrinth(sample_labyrinth_parameters(np.random.default_rng(seed), kind))


def lattice() -> tuple[torch.Tensor, tuple[int, int, int]]:
    x, y, z = (torch.arange(low, high, SPACING_MM) for low, high in zip(LOW, HIGH, strict=True))
    z, y, x = torch.meshgrid(z, y, x, indexing="ij")
    return torch.stack([x, y, z], -1).reshape(-1, 3).float(), tuple(x.shape)


def volume_mm3(distance: torch.Tensor) -> float:
    return float((0.5 - distance / SPACING_MM).clamp(0, 1).sum()) * SPACING_MM**3


def hypoplasia(cochlea: bool) -> Labyrinth:
    """A small cochlea that winds, or a bud."""
    drawn = (sampled(seed, "cochlear_hypoplasia") for seed in range(40))
    return next(one for one in drawn if one.parameters.malformation.cochlea == cochlea)


@pytest.mark.parametrize("kind", WITH_LUMEN)
@pytest.mark.parametrize("seed", SEEDS)
def test_what_there_is_of_a_lumen_is_one_piece(kind, seed):
    points, shape = lattice()
    inside = (sampled(seed, kind).distances(points).union < 0).numpy().reshape(shape).astype(np.uint8)
    pieces = sitk.GetArrayFromImage(sitk.ConnectedComponent(sitk.GetImageFromArray(inside)))
    assert pieces.max() == 1
    assert 60 < inside.sum() * SPACING_MM**3 < 400


@pytest.mark.parametrize("kind", NAMED)
def test_only_landmarks_that_there_are_are_named(kind):
    for seed in SEEDS:
        labyrinth = sampled(seed, kind)
        assert set(labyrinth.landmarks) == NAMED[kind]
        assert "helicotrema" in labyrinth.landmarks or not any("helicotrema" in name for name in labyrinth.measures)


@pytest.mark.parametrize("kind", WITH_LUMEN)
def test_windows_that_there_are_lie_on_the_wall_and_face_outwards(kind):
    for seed in SEEDS:
        labyrinth = sampled(seed, kind)
        for name, window in (
            ("oval window", labyrinth.frames.oval_window),
            ("round window", labyrinth.frames.round_window),
        ):
            line = torch.as_tensor(window.centre + np.array([[0.0], [-0.25], [0.25]]) * window.normal)
            at, inside, outside = labyrinth.distances(line).union.tolist()
            if name in labyrinth.landmarks:
                assert abs(at) < 0.02
                assert inside < 0 < outside
            else:  # its membrane lies in bone or on the wall, never within the fluid
                assert at > -0.02


def test_a_bone_without_labyrinth_has_no_ear_and_bone_in_its_place():
    bone = sample_temporal_bone(np.random.default_rng(0), "labyrinthine_aplasia")
    whole = sample_temporal_bone(np.random.default_rng(0), "normal")
    points, _ = lattice()
    assert bone.ears == ()
    assert float(truth_at(bone, points, SPACING_MM)[0].max()) == 0
    vestibule = points[points.norm(dim=1) < 1.2]
    assert float(bone.render(vestibule, 0.3).hounsfield.mean()) > 1000
    assert float(whole.render(vestibule, 0.3).hounsfield.mean()) < 300


@pytest.mark.parametrize("kind", ["cochlear_aplasia", "common_cavity"])
def test_where_there_is_no_cochlea_no_part_is_called_so_and_it_has_no_figures(kind):
    bone = sample_temporal_bone(np.random.default_rng(1), kind)
    points, _ = lattice()
    _, part = truth_at(bone, points, SPACING_MM)
    assert not (part == COCHLEA).any()
    assert not any("cochlear" in name or name.endswith("value_mm") for name in bone.labyrinth.measures)


def test_a_cystic_cochlea_is_empty_where_others_have_their_modiolus():
    points, _ = lattice()
    for seed in SEEDS:
        normal, cystic = sampled(seed, "normal"), sampled(seed, "incomplete_partition_1")
        fields = normal.distances(points)
        core = points[(fields.modiolus < -0.3) & (fields.union > 0.1)]
        core = core[(core - torch.as_tensor(normal.frames.modiolar_origin).float()).norm(dim=1) < 2.2]
        assert len(core) > 10
        assert float((cystic.distances(core).union < 0).float().mean()) > 0.7
        assert volume_mm3(cystic.distances(points).bone_within) < 0.3 * volume_mm3(normal.distances(points).bone_within)


def test_a_hypoplastic_cochlea_is_small_or_a_bud():
    points, _ = lattice()
    normal = volume_mm3(sampled(0, "normal").distances(points).cochlea)
    small, bud = hypoplasia(True), hypoplasia(False)
    assert volume_mm3(small.distances(points).cochlea) < 0.6 * normal
    assert small.measures["cochlear_turns"] < 1.7
    assert set(small.landmarks) == set(LANDMARK_NAMES)
    assert 2 < volume_mm3(bud.distances(points).cochlea) < 0.5 * normal
    assert set(bud.landmarks) == {"oval window"}


def test_a_pouch_stands_in_place_of_the_lateral_canal():
    """It is filled where the canal winds round bone."""
    for seed in SEEDS:
        normal, pouch = sampled(seed, "normal"), sampled(seed, "lateral_canal_dysplasia")
        arc = normal.frames.canal_centrelines["lateral"]
        hole = torch.as_tensor((arc.min(0) + arc.max(0)) / 2 + np.array([0.5, 0, 0]))[None]
        assert float(normal.distances(hole).union) > 0.3
        assert float(pouch.distances(hole).union) < -0.3
        assert not any("lateral" in name for name in pouch.measures)
        assert "anterior_posterior_angle_deg" in pouch.measures


def test_a_malformed_ear_differs_from_the_normal_one_of_its_seed_by_the_malformation_alone():
    normal, malformed = (sampled(3, kind).parameters for kind in ("normal", "lateral_canal_dysplasia"))
    assert malformed.canals == normal.canals
    assert malformed.cochlea == normal.cochlea
    assert malformed.warp == normal.warp


def test_a_head_of_ears_without_labyrinths_has_no_ears():
    assert sample_head(np.random.default_rng(0), "labyrinthine_aplasia").ears == ()
    ears = sample_head(np.random.default_rng(0), "cochlear_aplasia").ears
    assert [ear.side for ear in ears] == ["right", "left"]
    assert [list(ear.landmarks) for ear in ears] == [["oval window"]] * 2


def test_a_phantom_without_ear_is_written_and_stands_in_no_list(tmp_path):
    for kind in ("labyrinthine_aplasia", "cochlear_aplasia"):
        drawn = draw_phantom(3, PhantomOptions(variant=kind, side="left", field_mm=26.0))
        assert bool(drawn.labels.voxels.any()) == (kind == "cochlear_aplasia")
        folder = tmp_path / kind
        files = write_phantom(folder, drawn)
        marks = [path for path in files if path.name.endswith(".mrk.json")]
        assert write_manifest(folder) == []
        if kind == "labyrinthine_aplasia":
            assert not marks
            assert json.loads((folder / "phantom_000003.json").read_text(encoding="utf-8"))["ears"] == {}
            assert not (folder / "phantoms.toml").exists()
        else:
            (points,) = json.loads(marks[0].read_text(encoding="utf-8"))["markups"]
            placed = [one["label"] for one in points["controlPoints"] if one["positionStatus"] == "defined"]
            assert placed == ["oval window"]
            assert 'unmarked = ["helicotrema", "round window"]' in (folder / "phantoms.toml").read_text(
                encoding="utf-8"
            )


def test_an_electrode_needs_a_cochlea():
    with pytest.raises(InputError, match="'common_cavity' has no cochlea"):
        draw_phantom(0, PhantomOptions(variant="common_cavity", electrode=True))
