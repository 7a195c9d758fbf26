"""Training samples from labelled real scans: prepared once as inference would see them, then cut into random tiles."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import numpy as np

from InnerEarAILib.landmarks import LANDMARK_NAMES
from InnerEarAILib.phantom.truth_lattice import FULL_SHARE
from InnerEarAILib.preprocessing import lattice_grid, normalise, resample
from InnerEarAILib.scan_checks import without_padding
from InnerEarAILib.training.augmentation import Augmentation, turned_points, turned_tile
from InnerEarAILib.training.manifest import Case
from InnerEarAILib.training.samples import TrainingSample
from InnerEarAILib.training.seen_scans import scan_sha256
from InnerEarAILib.volume import Volume

PLACES_KEPT = 20_000
"""Labyrinth voxels of a case that tiles may be cut round; more would only be neighbours of these."""

NEAR_SHARE_OF_TILE = 0.35
"""A tile that shows the labyrinth has one of its voxels within this share of its edge from the middle; ours."""

FIRST_VALIDATION_TILE = 2**32
"""Numbers of validation tiles begin where no training comes to."""

PREPARATION_VERSION = 2
"""Rises with every change of how a case is prepared: those prepared otherwise are prepared anew."""

SHA256_KEY = "scan_sha256"
"""Under this key a prepared case keeps what tells its scan from all others."""

ARRAYS = ("image", "labyrinth", "places", "landmarks")
"""Files of a prepared case, .npy."""


@dataclass(frozen=True)
class PreparedCase:
    """One ear on the model's grid; the arrays stay on disk and are read where a tile lies.

    Attributes:
        image: (k, j, i) float16, normalised over the region round the ear as inference does.
        labyrinth: (k, j, i) uint8, share of labyrinth, 0 to FULL_SHARE.
        places: (n, 3) int16, (k, j, i) of labyrinth voxels.
        landmarks_kji: (1, 3, 3) continuous voxel indices in the order of LANDMARK_NAMES; NaN where unmarked.
        darkest: value of the image beyond its edge, as inference fills it.
    """

    image: np.ndarray
    labyrinth: np.ndarray
    places: np.ndarray
    landmarks_kji: np.ndarray
    darkest: float

    def tile(self, centre_kji: np.ndarray, rotation: np.ndarray, edge: int) -> TrainingSample:
        """The tile round a place, turned; see augmentation.turned_tile."""
        image = turned_tile(self.image, centre_kji, rotation, edge, self.darkest)
        labyrinth = turned_tile(self.labyrinth, centre_kji, rotation, edge, 0.0) / np.float32(FULL_SHARE)
        landmarks = turned_points(self.landmarks_kji, centre_kji, rotation, edge)
        known = np.isfinite(self.landmarks_kji[0]).all(axis=1)
        return TrainingSample(image, labyrinth, landmarks, known)


@dataclass(frozen=True)
class ManifestSource:
    """Random tiles of prepared cases; a SampleSource. Sample n is always the same.

    Attributes:
        folders: the prepared cases.
        augmentation: how tiles are varied.
        labyrinth_share: share of tiles that show the labyrinth for certain; the others lie anywhere.
        tile_voxels: edge of a tile.
        seed: of everything.
        whole: every tile has the labyrinth in its middle, for networks that look at a whole ear.
    """

    folders: tuple[Path, ...]
    augmentation: Augmentation
    labyrinth_share: float
    tile_voxels: int
    seed: int
    whole: bool = False

    def sample(self, index: int) -> TrainingSample:
        """Sample number `index`."""
        rng = np.random.default_rng([self.seed, index])
        folder = self.folders[int(rng.integers(len(self.folders)))]
        case = load_case(folder)
        edge = self.tile_voxels
        if self.whole:
            focus = (case.places.min(0) + case.places.max(0)) / 2
        elif rng.random() < self.labyrinth_share:
            focus = case.places[int(rng.integers(len(case.places)))] + rng.uniform(-1, 1, 3) * NEAR_SHARE_OF_TILE * edge
        else:
            focus = rng.uniform(0, 1, 3) * np.array(case.image.shape)
        # On the voxels of the prepared scan, so that a tile that is not freely turned is cut out without blurring.
        centre = np.round(focus) + (edge - 1) % 2 / 2
        sample = case.tile(centre, self.augmentation.rotation(rng), edge)
        image = self.augmentation.change_intensities(sample.image, rng)
        same_as = str(folder) if self.whole and self.augmentation == Augmentation() else ""
        return TrainingSample(image, sample.labyrinth, sample.landmarks_kji, sample.known, same_as)


def prepare_case(case: Case, folder: Path, spacing_mm: float, region_mm: float) -> None:
    """Brings a case to the model's grid and writes it, if that has not been done.

    Args:
        case: has been checked.
        folder: where the prepared case goes.
        spacing_mm: the model's voxel edge.
        region_mm: edge of the cube round the labyrinth that is kept and normalised together.
    """
    if is_prepared(case, folder, spacing_mm, region_mm):
        return
    read = case.read()
    labyrinth = Volume(case.labyrinth(read.labels.voxels).astype(np.float32), read.labels.affine_lps)
    places = labyrinth.grid.to_lps(np.argwhere(labyrinth.voxels)[:, ::-1])
    middle = (places.min(0) + places.max(0)) / 2
    corners = read.scan.grid.corners_lps()
    low, high = np.maximum(corners.min(0), middle - region_mm / 2), np.minimum(corners.max(0), middle + region_mm / 2)
    grid = lattice_grid(low, high, spacing_mm)
    image = normalise(resample(without_padding(read.scan).volume, grid))
    share = np.nan_to_num(resample(labyrinth, grid)).clip(0, 1)
    inside = np.argwhere(share >= 0.5)
    inside = inside[:: max(1, len(inside) // PLACES_KEPT)]
    landmarks = np.full((3, 3), np.nan)
    for row, name in zip(landmarks, LANDMARK_NAMES, strict=True):
        if name in read.landmarks_lps and name not in case.unmarked:
            row[:] = grid.to_indices(read.landmarks_lps[name])[::-1]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "case.json").unlink(missing_ok=True)
    np.save(folder / "image.npy", image.astype(np.float16))
    np.save(folder / "labyrinth.npy", np.round(share * FULL_SHARE).astype(np.uint8))
    np.save(folder / "places.npy", inside.astype(np.int16))
    np.save(folder / "landmarks.npy", landmarks[None])
    # Written last: a folder without it was not finished.
    described = {**_origin(case, spacing_mm, region_mm), SHA256_KEY: scan_sha256(read.scan)}
    (folder / "case.json").write_text(json.dumps(described), encoding="utf-8")


def is_prepared(case: Case, folder: Path, spacing_mm: float, region_mm: float) -> bool:
    """Whether a folder holds this case, made from these very files, and whole."""
    try:
        described = json.loads((folder / "case.json").read_text(encoding="utf-8"))
        told = bool(described.pop(SHA256_KEY, "")) and described == _origin(case, spacing_mm, region_mm)
        return told and _is_whole(folder)
    except (OSError, ValueError):
        return False


def _is_whole(folder: Path) -> bool:
    """Whether the arrays of a prepared case can be read; none is cut off."""
    try:
        image, labyrinth, _, _ = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ARRAYS)
    except (OSError, ValueError, EOFError):
        return False
    return image.shape == labyrinth.shape


def prepared_sha256(folder: Path) -> str:
    """scan_sha256 of the scan that a prepared case was made from."""
    return json.loads((folder / "case.json").read_text(encoding="utf-8"))[SHA256_KEY]


def prepared_labels_sha256(folder: Path) -> str:
    """SHA-256 of a prepared case's scan with its labels and landmarks: the same wherever their files lie."""
    return _labels_sha256(folder, (folder / "case.json").stat().st_mtime_ns)


@cache  # since an ablation asks for the same scans again and again
def _labels_sha256(folder: Path, prepared_ns: int) -> str:
    del prepared_ns  # tells a case from the one that was prepared in its place
    digest = hashlib.sha256(prepared_sha256(folder).encode())
    for plane in np.load(folder / "labyrinth.npy", mmap_mode="r"):
        digest.update(np.ascontiguousarray(plane))
    digest.update(np.round(np.load(folder / "landmarks.npy"), 3).tobytes())
    return digest.hexdigest()


@cache
def load_case(folder: Path) -> PreparedCase:
    """A prepared case; its voxels stay on disk until they are asked for."""
    image = np.load(folder / "image.npy", mmap_mode="r")
    return PreparedCase(
        image,
        np.load(folder / "labyrinth.npy", mmap_mode="r"),
        np.load(folder / "places.npy"),
        np.load(folder / "landmarks.npy"),
        float(image[:: max(1, len(image) // 32)].min()),
    )


def validation_tiles(
    folders: Sequence[Path], per_case: int, tile_voxels: int, seed: int, whole: bool = False
) -> list[TrainingSample]:
    """Fixed tiles of held-out cases, as they are; each shows some of the labyrinth, or one of them all of it."""
    count = 1 if whole else per_case
    return [
        ManifestSource((folder,), Augmentation(noise_share=0.0), 1.0, tile_voxels, seed, whole).sample(
            FIRST_VALIDATION_TILE + place * count + number
        )
        for place, folder in enumerate(folders)
        for number in range(count)
    ]


def _origin(case: Case, spacing_mm: float, region_mm: float) -> dict:
    """What a prepared case was made from, JSON-able."""
    files = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in case.files]
    described = {**asdict(case), "files": files, "model_spacing_mm": spacing_mm, "region_mm": region_mm}
    described["preparation"] = PREPARATION_VERSION
    del described["patient"]  # changes splits alone
    return json.loads(json.dumps(described))
