"""A phantom scan: a random ear or head in a random scanner, with everything that is true of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from InnerEarAILib.ear_result import LandmarkResult, Side
from InnerEarAILib.landmark_files import write_json, write_landmarks
from InnerEarAILib.landmarks import LANDMARK_NAMES
from InnerEarAILib.phantom.anatomy import Anatomy
from InnerEarAILib.phantom.electrode import implant
from InnerEarAILib.phantom.head import sample_head
from InnerEarAILib.phantom.pose import Pose, sample_pose
from InnerEarAILib.phantom.scanner import GE_BONEPLUS, Scanner, ScannerKind, sample_scanner
from InnerEarAILib.phantom.scanner_acquisition import scan, truth
from InnerEarAILib.phantom.segmentation_file import write_truth
from InnerEarAILib.phantom.temporal_bone import sample_temporal_bone
from InnerEarAILib.progress import Progress
from InnerEarAILib.scan_files import write_volume
from InnerEarAILib.volume import InputError, Volume
from InnerEarAILib.whole_files import replacing_set

SideChoice = Literal["left", "right", "random"]
SIDE_CHOICES: tuple[SideChoice, ...] = get_args(SideChoice)

EAR_FROM_MIDLINE_MM = 42.0
"""How far the vestibule lies from the midsagittal plane."""

FIELD_MM: Mapping[ScannerKind, float] = {
    "flat_panel": 28.0,
    "cone_beam": 32.0,
    "multi_slice": 50.0,
    "thick_slice": 50.0,
    "micro": 14.0,
}
"""Edge of the cubic field round an ear: what these scanners are used at, less where their voxels are many."""

HEAD_FIELD_MM = np.array([160.0, 100.0, 50.0])
"""Field of a head scan along x, y, z: the skull base with both ears."""

EMBEDDED_SEED = 11
"""The sample scan of the demonstration."""


@dataclass(frozen=True)
class PhantomOptions:
    """What is wanted; everything else is drawn at random.

    Attributes:
        scanner: kind of scanner, or one scanner.
        state: how the specimen was kept, one of tissue.STATES.
        side: of a single ear.
        variant: "normal", a malformation or a disease, one of temporal_bone_parameters.VARIANTS.
        head: both ears in a head instead of one ear.
        electrode: a cochlear implant lies in the (first) ear.
        field_mm: edge lengths of the scan along x, y, z, or one for all; None takes FIELD_MM or HEAD_FIELD_MM.
        tilt_degrees: standard deviation of the head's tilt about each axis; 180 gives any orientation.
        labyrinth: file of a labyrinth's surface or of a label map that gives the anatomy; None draws it.
        landmarks: file of that labyrinth's landmarks.
        tissues: file that says what each label of a label map of a whole temporal bone is.
    """

    scanner: ScannerKind | Scanner = "multi_slice"
    state: str = "fresh"
    side: SideChoice = "random"
    variant: str = "normal"
    head: bool = False
    electrode: bool = False
    field_mm: float | tuple[float, float, float] | None = None
    tilt_degrees: float = 8.0
    labyrinth: Path | None = None
    landmarks: Path | None = None
    tissues: Path | None = None


@dataclass(frozen=True)
class PhantomScan:
    """A scan and its truth.

    Attributes:
        scan: stored values, int16 or uint16.
        labels: uint8 on the scan's grid, 1 where at least half of the voxel is labyrinth.
        parts: uint8 on the scan's grid: the part of each labelled voxel (anatomy.COCHLEA, VESTIBULE, CANALS).
        landmarks: (3,) LPS mm by name, by side.
        parameters: JSON-able: seed, options, scanner, pose, and the exact measures of each ear.
    """

    scan: Volume
    labels: Volume
    parts: Volume
    landmarks: Mapping[Side, Mapping[str, np.ndarray]]
    parameters: Mapping[str, Any]


def draw_phantom(
    seed: int, options: PhantomOptions = PhantomOptions(), device: str = "cpu", progress: Progress = Progress()
) -> PhantomScan:
    """Draws an anatomy and a scanner and scans the one with the other.

    Args:
        seed: the same seed and options give the same phantom on the same device.
        options: what is wanted.
        device: where the work is done.
        progress: told what is going on.

    Raises:
        InputError: if an option is unknown, contradicts another, or its file cannot be used.
        Cancelled: if the caller wants no more of it.
    """
    rng = np.random.default_rng(seed)
    scanner = options.scanner if isinstance(options.scanner, Scanner) else sample_scanner(rng, options.scanner)
    progress.step("Drawing the anatomy", 0.0)
    anatomy, side = _anatomy(rng, options)
    pose = sample_pose(rng, side == "left", options.tilt_degrees, 0.0)
    centre = rng.normal(0.0, 2.0, 3)
    if options.head:
        pose = replace(pose, translation_lps=centre)
        field = HEAD_FIELD_MM
    else:
        # LPS: the patient's left is +x.
        centre[0] += EAR_FROM_MIDLINE_MM * (1 if side == "left" else -1)
        pose = replace(pose, translation_lps=centre + rng.uniform(-2.0, 2.0, 3))
        field = FIELD_MM[scanner.kind]
    grid = scanner.native_grid(centre, np.asarray(field if options.field_mm is None else options.field_mm, float))
    progress.step("Scanning", 0.1)
    image = scan(anatomy, scanner, pose, grid, rng, device).cpu().numpy().astype(scanner.storage.dtype)
    progress.step("Labelling", 0.8)
    exact = truth(anatomy, pose, grid, device)
    labels = (exact.labyrinth >= 0.5).cpu().numpy().astype(np.uint8)
    name = f"phantom_{seed:06d}"
    return PhantomScan(
        scan=Volume(image, grid.affine_lps, name),
        labels=Volume(labels, grid.affine_lps, f"{name}_labels"),
        parts=Volume(exact.part.cpu().numpy() * labels, grid.affine_lps, f"{name}_parts"),
        landmarks=exact.landmarks,
        parameters=_described(seed, options, scanner, anatomy, pose, exact.landmarks),
    )


def write_phantom(directory: Path, phantom: PhantomScan) -> tuple[Path, ...]:
    """Writes a phantom: scan, labels and parts (.nrrd), landmarks of each ear (.mrk.json), parameters (.json).

    Labels and parts are written once more as a segmentation (.seg.nrrd) whose segments Slicer shows by name. The parts
    of a labyrinth that was given as a surface are not known: the file of the parts is empty then, and the segmentation
    holds the whole alone.

    All files or none are there afterwards.

    Args:
        directory: made where it does not exist; what an earlier phantom of the same name has left there is replaced.
        phantom: what is written; the scan's name begins the names of the files.

    Returns:
        The files.

    Raises:
        InputError: if something cannot be written there.
    """
    name = phantom.scan.name
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"The folder {directory} cannot be made ({error.strerror}); choose another.") from error
    # Also the landmarks of the other ear: an earlier scan of the same name may have shown that one, or both.
    ears = [f"{name}_{side}.mrk.json" for side in get_args(Side)]
    volumes = [f"{name}.nrrd", f"{name}_labels.nrrd", f"{name}_parts.nrrd", f"{name}.seg.nrrd"]
    files = [f"{name}.json", *volumes, *ears]
    try:
        with replacing_set(directory, files) as unfinished:
            _write_files(unfinished, phantom)
    except OSError as error:
        raise InputError(
            f"The phantom cannot be written to {directory} ({error.strerror}); choose another folder."
        ) from error
    return tuple(directory / file for file in files if (directory / file).exists())


def _write_files(unfinished: Path, phantom: PhantomScan) -> None:
    name = phantom.scan.name
    write_volume(unfinished / f"{name}.nrrd", phantom.scan)
    write_volume(unfinished / f"{name}_labels.nrrd", phantom.labels)
    write_volume(unfinished / f"{name}_parts.nrrd", phantom.parts)
    write_truth(unfinished / f"{name}.seg.nrrd", phantom.labels, phantom.parts, phantom.landmarks)
    for side, positions in phantom.landmarks.items():
        # A landmark that the given anatomy does not know stays in the list, undefined.
        exact = [LandmarkResult(one, positions.get(one), float(one in positions)) for one in LANDMARK_NAMES]
        write_landmarks(unfinished / f"{name}_{side}.mrk.json", exact)
    write_json(unfinished / f"{name}.json", dict(phantom.parameters))


def embedded_phantom(progress: Progress = Progress()) -> PhantomScan:
    """The sample scan: a normal right ear in a clinical CT, 46 mm at 0.32 × 0.32 × 0.4 mm."""
    scanner = replace(GE_BONEPLUS, spacing_mm=(0.32, 0.32, 0.4), noise_correlation=(0.1, 0.3, 0.3))
    return draw_phantom(EMBEDDED_SEED, PhantomOptions(scanner, side="right", field_mm=46.0), progress=progress)


def embedded_head_phantom(progress: Progress = Progress()) -> PhantomScan:
    """The other sample scan: the skull base with both ears in a clinical CT, 0.55 × 0.55 × 0.6 mm."""
    scanner = replace(GE_BONEPLUS, spacing_mm=(0.55, 0.55, 0.6), fwhm_mm=(0.9, 0.9, 1.0))
    return draw_phantom(EMBEDDED_SEED, PhantomOptions(scanner, head=True), progress=progress)


def _anatomy(rng: np.random.Generator, options: PhantomOptions) -> tuple[Anatomy, Side]:
    """The anatomy, and the side that its (right) ear is to have in the scan."""
    if options.side not in SIDE_CHOICES:
        raise InputError(f"There is no side '{options.side}'; choose one of {', '.join(SIDE_CHOICES)}.")
    side: Side = ("right", "left")[int(rng.integers(2))] if options.side == "random" else options.side
    if options.labyrinth is None and (options.landmarks or options.tissues):
        raise InputError("Landmarks or tissues were given without a labyrinth; give its file as well.")
    if options.head and (options.labyrinth or options.electrode or options.state != "fresh"):
        raise InputError(
            "A head is a living one with its own ears: leave out labyrinth, electrode and state, or the head."
        )
    if options.head and options.side != "random":
        raise InputError("A head has both ears: leave out the side, or the head.")
    try:
        if options.head:
            return sample_head(rng, options.variant), "right"
        bone = sample_temporal_bone(rng, variant=options.variant, state=options.state)
    except ValueError as error:
        raise InputError(f"{str(error).capitalize()}.") from error
    if options.labyrinth is not None:
        # Brings in VTK, which nothing else here needs.
        from InnerEarAILib.phantom.given_files import given_anatomy

        return given_anatomy(options.labyrinth, options.landmarks, options.tissues, options.side, rng, host=bone)
    if options.electrode:
        if not bone.labyrinth.parameters.malformation.cochlea:
            raise InputError(f"The variant '{options.variant}' has no cochlea for an electrode; choose another.")
        return implant(bone, bone.labyrinth.frames.cochlear_centreline, rng), side
    return bone, side


def _described(
    seed: int, options: PhantomOptions, scanner: Scanner, anatomy: Anatomy, pose: Pose, landmarks: Mapping
) -> dict[str, Any]:
    described = {key: str(value) if isinstance(value, Path) else value for key, value in vars(options).items()}
    # Paths of a person's computer do not belong into a data set: the names of the files do.
    described |= {
        key: getattr(options, key).name for key in ("labyrinth", "landmarks", "tissues") if getattr(options, key)
    }
    described["scanner"] = scanner.kind
    ears = {
        pose.side(ear): {
            "measures": dict(ear.measures),
            "landmarks_lps": {n: np.round(p, 4).tolist() for n, p in landmarks[pose.side(ear)].items()},
        }
        for ear in anatomy.ears
    }
    return {
        "seed": seed,
        "options": described,
        "scanner": asdict(scanner),
        "pose": {"affine_lps": np.round(pose.affine, 6).tolist(), "mirror": pose.mirror},
        "ears": ears,
    }
