"""Anatomies drawn once and kept on disk, to be scanned many times; a process in the background draws new ones."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from InnerEarAILib.phantom.rendered_anatomy import RenderedAnatomy, render_anatomy
from InnerEarAILib.volume import InputError
from InnerEarAILib.whole_files import replacing

TRAINING, VALIDATION = STAGES = "training", "validation"

RECIPE_FILE = "recipe.json"
"""In the folder of a pool: how its anatomies are drawn."""

ANATOMIES_HELD = 8
"""Loaded anatomies that a sample process keeps in memory."""

BACKGROUND_NICENESS = 10
"""How far drawing gives way to training on a busy machine."""

AIR_HOUNSFIELD = -1000.0
"""What lies beyond a drawn head or earless body: where the drawing ends, the scan ends."""

IMPLANTED_SHARE = 0.06
"""Share of the temporal bones with a cochlea that have an electrode in it; ours, as often as a disease."""

HEAD_EXTENT_MM = (170.0, 200.0, 120.0)
"""Drawn part of a head along x, y, z, round the level of the ears."""


@dataclass(frozen=True)
class AnatomyRecipe:
    """How the anatomies of a pool are drawn.

    Attributes:
        seed: anatomy n of a stage is drawn from (seed, stage, n) alone.
        shares: how often each kind is drawn: "temporal_bone", "head", "earless", by relative weight.
        spacing_mm: lattice of the drawings; no coarser than half the sharpest scanner's resolution.
        extent_mm: edge of the drawn cube; of a head HEAD_EXTENT_MM is drawn, whatever this says.
        truth_spacing_mm: lattice of a temporal bone's labyrinth; None: that of the drawing.
    """

    seed: int
    shares: Mapping[str, float]
    spacing_mm: float
    extent_mm: float
    truth_spacing_mm: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """What the anatomies are like, JSON-able; not which, since runs of other seeds may share a pool."""
        described = asdict(self)
        del described["seed"]
        return json.loads(json.dumps(described))

    def draw(self, stage: str, number: int) -> RenderedAnatomy:
        """Anatomy `number` of a stage (TRAINING or VALIDATION); the same arguments give the same anatomy."""
        rng = np.random.default_rng([self.seed, STAGES.index(stage), number])
        return _RECIPES[picked(self.shares, rng)](self, rng)


@dataclass(frozen=True)
class AnatomyPool:
    """A folder of drawn anatomies.

    Attributes:
        folder: where they lie.
        recipe: how they are drawn.
        size: training anatomies kept; a newer one replaces the oldest.
    """

    folder: Path
    recipe: AnatomyRecipe
    size: int

    def open(self) -> None:
        """Makes the folder, or sees to it that what lies there was drawn by such a recipe.

        Raises:
            InputError: if it was not, or nothing says so, or the folder cannot be written to.
        """
        path = self.folder / RECIPE_FILE
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if path.is_file():
                alike = json.loads(path.read_text(encoding="utf-8")) == self.recipe.to_dict()
            elif alike := not any(self.paths(stage) for stage in STAGES):
                with replacing(path) as unfinished:
                    unfinished.write_text(json.dumps(self.recipe.to_dict()), encoding="utf-8")
        except (OSError, ValueError) as error:
            raise InputError(f"{path} cannot be read or written ({error}).") from error
        if not alike:
            raise InputError(
                f"The anatomies in {self.folder} were drawn for other [data] settings (kinds, spacing or extent); name "
                "another folder with --anatomies."
            )

    def paths(self, stage: str = TRAINING) -> list[Path]:
        """What is there, oldest first."""
        return sorted(self.folder.glob(f"{stage}-*.safetensors"))

    def grow(self, stage: str, number: int) -> Path:
        """Draws anatomy `number` if it is not there, and lets go of the oldest if there are more than `size`."""
        path = self.folder / f"{stage}-{number:06d}.safetensors"
        if not path.is_file():
            with _one_thread():
                self.recipe.draw(stage, number).save(path)
        if stage == TRAINING:
            for old in self.paths()[: -self.size]:
                old.unlink(missing_ok=True)
        return path

    def next_number(self) -> int:
        """Number of the training anatomy to be drawn next."""
        paths = self.paths()
        return int(paths[-1].stem.split("-")[1]) + 1 if paths else 0

    def pick(self, group: int, slot: int) -> RenderedAnatomy:
        """The anatomy that a slot of a group of samples is taken of; any of those there now.

        Raises:
            FileNotFoundError: if the pool is empty.
        """
        rng = np.random.default_rng([self.recipe.seed, len(STAGES), group])
        for attempt in range(3):
            paths = self.paths()
            if not paths:
                raise FileNotFoundError(f"no anatomies in {self.folder}")
            order = rng.permutation(len(paths))
            try:
                return load_anatomy(paths[order[slot % len(paths)]])
            except FileNotFoundError:
                if attempt == 2:
                    raise
        raise AssertionError("unreachable")


def picked(weights: Mapping[str, float], rng: np.random.Generator) -> str:
    """One of the names, by relative weight; the order in which they are given does not matter."""
    names = sorted(weights)
    shares = np.array([weights[name] for name in names], float)
    return names[int(rng.choice(len(names), p=shares / shares.sum()))]


@lru_cache(maxsize=ANATOMIES_HELD)
def load_anatomy(path: Path) -> RenderedAnatomy:
    """A drawn anatomy, kept in memory for a while."""
    return RenderedAnatomy.load(path)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Drawing is many small steps: on a machine with other work, threads that wait for each other cost minutes."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class BackgroundGrowth:
    """A process that draws training anatomies until it is stopped; used as a context."""

    def __init__(self, pool: AnatomyPool, anatomies: int) -> None:
        """`anatomies` bounds how many training anatomies are drawn in all; at or below what is there: none."""
        self._pool, self._anatomies = pool, anatomies
        self._process: multiprocessing.process.BaseProcess | None = None

    def __enter__(self) -> BackgroundGrowth:
        if self._pool.next_number() < self._anatomies:
            context = multiprocessing.get_context("spawn")
            self._process = context.Process(target=_grow_until, args=(self._pool, self._anatomies), daemon=True)
            self._process.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.join()


def _grow_until(pool: AnatomyPool, anatomies: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the trainer, which ends this process itself
    if hasattr(os, "nice"):  # on Unix
        os.nice(BACKGROUND_NICENESS)
    for number in range(pool.next_number(), anatomies):
        pool.grow(TRAINING, number)


def _temporal_bone(recipe: AnatomyRecipe, rng: np.random.Generator) -> RenderedAnatomy:
    from InnerEarAILib.phantom.electrode import implant
    from InnerEarAILib.phantom.temporal_bone import sample_temporal_bone

    bone = anatomy = sample_temporal_bone(rng)
    if rng.random() < IMPLANTED_SHARE and bone.labyrinth.parameters.malformation.cochlea:
        anatomy = implant(bone, bone.labyrinth.frames.cochlear_centreline, rng)
    return render_anatomy(anatomy, recipe.spacing_mm, recipe.extent_mm, truth_spacing_mm=recipe.truth_spacing_mm)


def _head(recipe: AnatomyRecipe, rng: np.random.Generator) -> RenderedAnatomy:
    from InnerEarAILib.phantom.head import sample_head

    head = sample_head(rng)
    return render_anatomy(head, recipe.spacing_mm, HEAD_EXTENT_MM, outside_hounsfield=AIR_HOUNSFIELD)


def _earless(recipe: AnatomyRecipe, rng: np.random.Generator) -> RenderedAnatomy:
    from InnerEarAILib.phantom.head_earless import sample_earless

    earless = sample_earless(rng)
    return render_anatomy(earless, recipe.spacing_mm, recipe.extent_mm, outside_hounsfield=AIR_HOUNSFIELD)


_RECIPES = {"temporal_bone": _temporal_bone, "head": _head, "earless": _earless}

ANATOMY_KINDS = tuple(_RECIPES)
"""Kinds of anatomies that can be drawn."""
