"""Cases that the phantom draws: ears and heads of seeds that no training uses, scans without an ear, given anatomies.

Seeds: case number n is drawn from (EVALUATION_SEED, n) alone. Training draws from (seed of its configuration, stage,
n), with seeds that are small numbers, so that no evaluated ear was ever trained on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from InnerEarAILib.evaluation.cases import EvaluationCase, TrueEar
from InnerEarAILib.evaluation.given_truth import check_given_ear
from InnerEarAILib.landmarks import LANDMARK_NAMES
from InnerEarAILib.phantom.anatomy import Anatomy
from InnerEarAILib.phantom.pose import Pose, sample_pose
from InnerEarAILib.phantom.rendered_anatomy import RenderedAnatomy, render_anatomy
from InnerEarAILib.phantom.scanner import ScannerKind, sample_scanner
from InnerEarAILib.phantom.scanner_acquisition import scan_rendered, truth
from InnerEarAILib.preprocessing import PAPER_VOXEL_MM
from InnerEarAILib.training.phantom_dataset import coarsened
from InnerEarAILib.volume import Grid, InputError, Volume

EVALUATION_SEED = 20_231_107
"""Begins the seed of every evaluated phantom."""

TRUTH_SPACING_MM = 0.1
"""The truth's voxels: finer than the route's results (postprocessing.FINE_SPACING_MM). A truth of 0.15 mm has a Dice
of 0.98 with the exact labyrinth on the results' voxels."""

TRUTH_MARGIN_MM = 1.0
"""Room round the labyrinth in the truth."""

FIELD_MM = 36.0
"""Edge of the cube round an ear that is scanned: a little more than the region that a model looks at."""

DRAWN_MM = 44.0
"""Edge of the cube that is drawn, so that a tilted scan stays inside."""

HEAD_FIELD_MM, HEAD_DRAWN_MM = np.array([124.0, 90.0, 48.0]), np.array([136.0, 104.0, 64.0])
HEAD_LATTICE_MM = 0.35
"""Scanned and drawn part of a head along x, y, z: the skull base with both ears; lattice of its drawing."""

FINEST_MM, COARSEST_MM = PAPER_VOXEL_MM, 0.25
"""Scans and drawings are made no finer than the model's voxels, within these limits: what is finer costs much and is
averaged away on the model's own grid."""

COARSE_SCANNERS: tuple[ScannerKind, ...] = ("multi_slice", "thick_slice")
"""Scanners to which a lattice of COARSEST_MM shows all that they resolve (0.5 mm and more)."""

TILT_DEGREES = 8.0
"""Standard deviation of the patient's tilt about each axis."""

SCAN_CENTRE_MM = 2.0
"""How far off its middle an ear lies in a scan, at most, along each axis."""

EAR_REACH_MM = 14.0
"""A labyrinth ends within this distance of its landmarks' mean."""


@dataclass(frozen=True)
class PhantomRecipe:
    """One drawn scan.

    Attributes:
        number: of the seed.
        kind: "ear", "head" or "earless".
        scanner: kind of scanner.
        state: of the specimen.
        variant: of the anatomy; for a scan without an ear, what it shows.
        electrode: whether a cochlear implant lies in the ear.
        finest_mm: finer voxels are not made, see `finest_useful_mm`.
    """

    number: int
    kind: str
    scanner: ScannerKind
    state: str = "fresh"
    variant: str = "normal"
    electrode: bool = False
    finest_mm: float = COARSEST_MM


@dataclass(frozen=True)
class GivenRecipe:
    """One given anatomy in a drawn scanner.

    Attributes:
        number: of the seed.
        labyrinth: surface or label map.
        landmarks: its landmarks; None where nobody knows them.
        tissues: what the labels of a whole temporal bone are; None where the labyrinth comes alone.
        scanner: kind of scanner.
        finest_mm: as in PhantomRecipe.
    """

    number: int
    labyrinth: Path
    landmarks: Path | None
    tissues: Path | None
    scanner: ScannerKind
    finest_mm: float = COARSEST_MM


def finest_useful_mm(model_spacing_mm: float, scanner: ScannerKind) -> float:
    """Voxel edge below which scans of a scanner need not be drawn for a model of this spacing."""
    if scanner in COARSE_SCANNERS:
        return COARSEST_MM
    return float(np.clip(model_spacing_mm, FINEST_MM, COARSEST_MM))


def described(recipe: PhantomRecipe | GivenRecipe) -> dict:
    """What a recipe's case depends on, JSON-able; files by name alone."""
    values = {key: value.name if isinstance(value, Path) else value for key, value in asdict(recipe).items()}
    return {"seed": EVALUATION_SEED, **values}


def drawn_phantom(recipe: PhantomRecipe, name: str, group: str, device: str = "cpu") -> EvaluationCase:
    """Draws the anatomy of a recipe and scans it.

    Args:
        recipe: what is wanted.
        name, group: of the case.
        device: where the work is done.
    """
    from InnerEarAILib.phantom.electrode import implant
    from InnerEarAILib.phantom.head import sample_head
    from InnerEarAILib.phantom.head_earless import sample_earless
    from InnerEarAILib.phantom.temporal_bone import sample_temporal_bone

    rng = np.random.default_rng([EVALUATION_SEED, recipe.number])
    if recipe.kind == "head":
        anatomy: Anatomy = sample_head(rng, recipe.variant)
        rendered = render_anatomy(anatomy, HEAD_LATTICE_MM, HEAD_DRAWN_MM, device=device)
        return _scanned(rendered, anatomy, recipe, rng, HEAD_FIELD_MM, mirror=False, case=(name, group))
    if recipe.kind == "earless":
        anatomy = sample_earless(rng, recipe.variant)
    else:
        anatomy = bone = sample_temporal_bone(rng, recipe.variant, recipe.state)
        if recipe.electrode:
            anatomy = implant(bone, bone.labyrinth.frames.cochlear_centreline, rng)
    rendered = render_anatomy(anatomy, recipe.finest_mm, DRAWN_MM, device=device)
    field = np.full(3, FIELD_MM)
    return _scanned(rendered, anatomy, recipe, rng, field, mirror=bool(rng.random() < 0.5), case=(name, group))


def drawn_given(recipe: GivenRecipe, name: str, group: str, device: str = "cpu") -> EvaluationCase:
    """Scans an anatomy that files give, as `drawn_phantom` scans one of the phantom's.

    A labyrinth that comes alone is put into a drawn temporal bone.

    Raises:
        InputError: a file cannot be used, or the landmarks do not lie at the labyrinth.
    """
    from InnerEarAILib.phantom.given_files import given_anatomy
    from InnerEarAILib.phantom.temporal_bone import sample_temporal_bone

    rng = np.random.default_rng([EVALUATION_SEED, recipe.number])
    host = sample_temporal_bone(rng, "normal", "fresh") if recipe.tissues is None else None
    anatomy, side = given_anatomy(recipe.labyrinth, recipe.landmarks, recipe.tissues, "random", rng, host)
    rendered = render_anatomy(anatomy, recipe.finest_mm, DRAWN_MM, device=device)
    field = np.full(3, FIELD_MM)
    case = _scanned(rendered, anatomy, recipe, rng, field, mirror=side == "left", case=(name, group))
    for ear in case.ears:
        check_given_ear(case.scan, ear.labyrinth, ear.labyrinth, ear.landmarks)
    return case


def _scanned(
    rendered: RenderedAnatomy,
    anatomy: Anatomy,
    recipe: PhantomRecipe | GivenRecipe,
    rng: np.random.Generator,
    field_mm: np.ndarray,
    mirror: bool,
    case: tuple[str, str],
) -> EvaluationCase:
    scanner = coarsened(sample_scanner(rng, recipe.scanner), recipe.finest_mm)
    pose = sample_pose(rng, mirror, TILT_DEGREES, 0.0)
    pose = Pose(pose.rotation, rng.normal(0.0, 30.0, 3), mirror)
    centre = pose.to_lps(np.zeros(3)) + rng.uniform(-SCAN_CENTRE_MM, SCAN_CENTRE_MM, 3)
    grid = scanner.native_grid(centre, field_mm)
    stored = scan_rendered(rendered, scanner, pose, grid, rng).cpu().numpy().astype(scanner.storage.dtype)
    ears = tuple(_true_ear(rendered, anatomy, pose, number) for number in range(len(rendered.ears)))
    if isinstance(recipe, PhantomRecipe):  # of a given one nobody may have marked a landmark that is there
        ears = tuple(replace(ear, absent=tuple(n for n in LANDMARK_NAMES if n not in ear.landmarks)) for ear in ears)
    name, group = case
    return EvaluationCase(name, group, Volume(stored, grid.affine_lps, name), ears)


def _true_ear(rendered: RenderedAnatomy, anatomy: Anatomy, pose: Pose, number: int) -> TrueEar:
    """The ear's exact truth, drawn from the anatomy itself in the smallest box that holds its labyrinth."""
    ear = rendered.ears[number]
    marked = torch.nonzero(rendered.labyrinth > 0).cpu().numpy()[:, ::-1] * rendered.spacing_mm + rendered.origin
    if len(rendered.ears) > 1:
        middle = np.mean(list(ear.landmarks.values()), axis=0)
        marked = marked[np.linalg.norm(marked - middle, axis=1) < EAR_REACH_MM]
    if not len(marked):
        raise InputError("The anatomy to be scanned has no labyrinth within the scan.")
    places = pose.to_lps(marked)
    lower, upper = places.min(0) - TRUTH_MARGIN_MM, places.max(0) + TRUTH_MARGIN_MM
    counts: Sequence[int] = np.ceil((upper - lower) / TRUTH_SPACING_MM).astype(int) + 1
    grid = Grid.axis_aligned(counts[::-1], TRUTH_SPACING_MM, lower)
    share = truth(anatomy, pose, grid, rendered.device).labyrinth
    mask = (share >= 0.5).cpu().numpy().astype(np.uint8)
    return TrueEar(pose.side(ear), Volume(mask, grid.affine_lps), pose.landmarks_lps(ear))
