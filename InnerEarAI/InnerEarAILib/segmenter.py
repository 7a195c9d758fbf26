"""The route of a scan: Volume in, ScanResult out. The only place where the steps are put in order.

1. check_scan            refuses what cannot be an ear CT; what was not measured counts as air
2. choose the model      by name, or by the scan's resolution and the device
3. locate                where are the ears? (or: the whole volume, as the paper does)
4. resample, normalise   onto the model's lattice
5. predict               tiles × views: mean and standard deviation
6. postprocess           labyrinth mask on a fine grid, three landmarks
7. assess                side, plausibility, flags
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from InnerEarAILib import __version__
from InnerEarAILib.contrast_matching import DRAWN_EARS, ContrastReference, match_contrast
from InnerEarAILib.ear_result import EarResult, ScanResult
from InnerEarAILib.inference.chirality import side_of_ear
from InnerEarAILib.inference.device import choose_device, why_no_gpu
from InnerEarAILib.inference.locator import SAME_EAR_MM, EarCandidate, gather_candidates, locate_ears
from InnerEarAILib.inference.postprocessing import (
    THRESHOLD,
    fine_probability,
    labyrinth_mask,
    landmark_results,
    on_voxels_of,
)
from InnerEarAILib.inference.predictor import Prediction, predict
from InnerEarAILib.inference.quality import (
    assess,
    beyond_scan,
    is_beside_unmeasured,
    is_inner_ear,
    mean_standard_deviation,
    reaches_end,
    volume_mm3,
)
from InnerEarAILib.inference.sides import DrawnEar, with_sides
from InnerEarAILib.inference.uncertainty import label_deviation
from InnerEarAILib.inference.warm_up import warm_up
from InnerEarAILib.model_card import ModelError
from InnerEarAILib.model_store import LOCATOR, choose_model, find_card, list_models, load_card, load_network
from InnerEarAILib.preprocessing import lattice_grid, normalise, resample_measured
from InnerEarAILib.progress import Progress
from InnerEarAILib.scan_checks import measured_scan
from InnerEarAILib.segmenter_options import SegmenterOptions
from InnerEarAILib.volume import Grid, InputError, Volume

WHOLE_EAR_MM = 3.5
"""A labyrinth (15 mm) this far off the middle of the smallest region (22 mm) is still whole in it; further off, the
part that is seen has another middle than the whole, and one looks again; ours."""

MOST_LOOKS = 3
"""Looks at most for the middle of an ear; ours."""

MOST_MARKS = 4
"""Places of the whole scan at most that are drawn to find two ears; ours."""

NEAR_END_MM = 0.6
"""A labyrinth that ends nearer to the end of a scan may go on beyond it: where it does, the networks stop drawing 0.3
to 0.4 mm before; ours."""

NEAR_END_VOXELS = 1.5
"""The same of the region that was looked at, beyond which the scan goes on, in the model's voxels; ours."""

LEAST_LABYRINTH_MM3 = 60.0
"""A smaller segmentation is no labyrinth (smallest of 71 real ones: 140 mm³)."""


def segment(
    volume: Volume,
    options: SegmenterOptions = SegmenterOptions(),
    progress: Progress = Progress(),
    models_directory: Path | None = None,
) -> ScanResult:
    """The inner ears of a scan.

    Args:
        volume: a CT of a temporal bone or head, any scaling of its values.
        options: see SegmenterOptions.
        progress: told of every step; asked between tiles whether to stop.
        models_directory: where the models are; None for the shipped ones.

    Returns:
        The result; without ears where no inner ear was found.

    Raises:
        InputError: the scan or an option cannot be used.
        DeviceError: the device that was asked for is not there or does not work.
        ModelError: a model is missing, damaged or does not fit its card.
        Cancelled: the caller wanted it to stop.
    """
    route = _Route(volume, options, progress, models_directory)
    with route.timed("checking"):
        route.check()
    with route.timed("loading the model"):
        route.choose_model()
    if route.preset.locate:
        with route.timed("finding the ears"):
            candidates = route.locate()
        ears = route.ears_at(candidates)
    else:
        ears = route.ears_of_the_whole_scan()
    return route.result(ears)


@dataclass
class _Route:
    """One scan on its way: what every step needs to know, and what was noted."""

    volume: Volume
    options: SegmenterOptions
    progress: Progress
    models_directory: Path | None
    seconds: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    provenance: dict[str, str | float | int | bool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.preset = self.options.resolved()
        self.device = choose_device(self.options.device)
        self.progress = replace(self.progress, on_note=self._note(self.progress))
        if self.options.device == "auto" and torch.cuda.is_available() and self.device.type == "cpu":
            self.progress.note(f"The GPU is not used: {why_no_gpu()}.")

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        begin = time.perf_counter()
        yield
        self.seconds[step] = self.seconds.get(step, 0.0) + time.perf_counter() - begin

    def check(self) -> None:
        self.scan = measured_scan(self.volume)
        self.volume = self.scan.volume
        if self.scan.note:
            self.progress.note(self.scan.note)

    def choose_model(self) -> None:
        if self.options.model == "auto":
            spacing_mm = float(self.volume.spacing_mm.min())
            self.card = choose_model(spacing_mm, self.device, list_models(self.models_directory))
        else:
            self.card = find_card(self.options.model, self.models_directory)
        if self.card.role != "segmenter":
            raise ModelError(f"The model {self.card.name} is a {self.card.role}; choose one that draws the labyrinth.")
        if self.card.network.get("heads") == "heatmaps":
            raise ModelError(f"The model {self.card.name} finds landmarks alone; choose one that draws the labyrinth.")
        asked, self.preset = self.preset.views, self.options.resolved(self.card.views_taught)
        if self.preset.views < asked:
            self.progress.note(f"The model {self.card.name} was taught no quarter turns: it looks once.")
        self.progress.step(f"Loading the model {self.card.name}")
        # On the CPU: each prediction takes its own copy to where memory suffices.
        self.network = load_network(self.card, "cpu")
        warm_up(self.network, self.card, self.device)

    def locate(self) -> tuple[EarCandidate, ...]:
        locator = load_card(LOCATOR, self.models_directory)
        self.provenance["locator.sha256"] = locator.weights_sha256
        network = load_network(locator, "cpu")
        return locate_ears(self.volume, network, locator, self.device, self.progress)

    def ears_at(self, candidates: Sequence[EarCandidate]) -> list[DrawnEar]:
        """The ears round places, at most two, each once: a mark beside an ear leads to it again."""
        ears: list[DrawnEar] = []
        middles: list[np.ndarray] = []
        for candidate in candidates:
            if len(ears) == 2:
                break
            grid = self._region_centred_on_ear(candidate)
            if grid is None or any(np.linalg.norm(grid.centre_lps - middle) < SAME_EAR_MM for middle in middles):
                continue
            ear = self._composed(*self._predicted(grid), grid)
            if ear is not None:
                _take_in(ears, ear)
                middles.append(grid.centre_lps)
        return ears

    def _region_centred_on_ear(self, candidate: EarCandidate) -> Grid | None:
        """The region for all views to look at: the ear near a place in its middle, as one view shows it.

        The locator sees voxels many times as large; an ear in the middle of its tile is seen whole. The cube follows
        the middle exactly: on a lattice it would jump by a whole voxel where the middle moves by a hair.
        """
        grid = self._region_round(candidate.centre_lps)
        for _ in range(MOST_LOOKS):
            before_lps = grid.centre_lps
            try:
                seen, known = self._predicted(grid, only_middle=True)
            except InputError:  # the same value everywhere there
                return None
            marked = np.argwhere((seen.probability >= THRESHOLD) & known)
            if len(marked) == 0:
                return None
            grid = self._region_round(grid.to_lps(marked.mean(0)[::-1]))
            if np.linalg.norm(grid.centre_lps - before_lps) < WHOLE_EAR_MM:
                break
        return grid

    def ears_of_the_whole_scan(self) -> list[DrawnEar]:
        """The paper's way: everything is looked at; each ear is what is found in the region round it."""
        corners = self.volume.grid.corners_lps()
        grid = lattice_grid(corners.min(0), corners.max(0), self.card.spacing_mm, self.card.tile_voxels)
        prediction, known = self._predicted(grid)
        prediction.probability[~known] = 0
        marks = gather_candidates(prediction.probability, grid, LEAST_LABYRINTH_MM3, MOST_MARKS)
        ears: list[DrawnEar] = []
        for mark in marks:
            if len(ears) == 2:
                break
            window = _window(grid, mark.centre_lps, self.card.region_voxels)
            part = _part(prediction, window, alone=len(marks) == 1)
            start_ijk = [axis.start for axis in window][::-1]
            part_grid = Grid.axis_aligned(part.probability.shape, grid.spacing_mm, grid.to_lps(start_ijk))
            ear = self._composed(part, known[window], part_grid)
            if ear is not None:
                _take_in(ears, ear)
        return ears

    def result(self, drawn: list[DrawnEar]) -> ScanResult:
        ears = self._wanted(with_sides(drawn, self.options.ear))
        self.provenance |= {
            "model": self.card.name,
            "model.version": self.card.version,
            "model.sha256": self.card.weights_sha256,
            "model.trained_on": self.card.trained_on,
            "library.version": __version__,
            "torch.version": torch.__version__,
            "device": str(self.device),
            "preset": self.options.preset,
            "views": self.preset.views,
            "located": self.preset.locate,
            "postprocessed": self.preset.postprocess,
            "output_grid": self.options.output_grid,
            "contrast_matched": self.options.contrast_matching,
        }
        self.provenance |= {f"seconds.{step}": round(value, 3) for step, value in self.seconds.items()}
        ordered = sorted(ears, key=lambda ear: ear.side, reverse=True)
        return ScanResult(self.volume.name, self.volume.grid, tuple(ordered), self.provenance, tuple(self.notes))

    def _predicted(self, grid: Grid, only_middle: bool = False) -> tuple[Prediction, np.ndarray]:
        """What the network says about a region, and where the scan has values.

        Where only the middle of an ear is wanted, one view without landmarks does; it is always computed in float32, so
        that a faster number format looks at the same region: a hair's breadth off, the surface changes more than by
        rounding.
        """
        with self.timed("resampling"):
            self.progress.step("Resampling the scan")
            values, known = resample_measured(self.scan, grid)
            normalised = self._matched(values) if self.options.contrast_matching else normalise(values)
            del values  # of a whole scan they take as much memory as the scan
        with self.timed("predicting"):
            prediction = predict(
                self.network,
                normalised,
                tile=self.card.tile_voxels,
                overlap=self.card.overlap_voxels,
                views=1 if only_middle else self.preset.views,
                device=self.device,
                progress=self.progress,
                precision="float32" if only_middle else "auto",
                agreeing_precisions=self.card.agreeing_precisions,
                heatmaps=not only_middle,
            )
        if not only_middle:
            self._record(prediction.execution)
        return prediction, known

    def _matched(self, values: np.ndarray) -> np.ndarray:
        """A region with the contrast of the scans that the model was trained on; the shipped ones saw drawn ears."""
        return match_contrast(values, ContrastReference.of_figures(self.card.figures) or DRAWN_EARS)

    def _record(self, execution: Mapping[str, str | float | int | bool]) -> None:
        """How the last region was computed, and what had to be given up in any of them."""
        before = self.provenance.get("execution.fallbacks", "none")
        self.provenance |= {f"execution.{key}": value for key, value in execution.items()}
        if before != "none" and before != execution["fallbacks"]:
            fallbacks = [sentences for sentences in (before, execution["fallbacks"]) if sentences != "none"]
            self.provenance["execution.fallbacks"] = " ".join(fallbacks)

    def _composed(self, prediction: Prediction, known: np.ndarray, grid: Grid) -> DrawnEar | None:
        with self.timed("postprocessing"):
            self.progress.step("Drawing the labyrinth")
            landmarks = landmark_results(
                prediction.heatmaps,
                prediction.view_peaks,
                grid,
                self.card.heatmap_amplitude,
                upright=self.preset.postprocess,
            )
            probability = Volume(np.where(known, prediction.probability, 0), grid.affine_lps)
            mask = labyrinth_mask(fine_probability(probability), self.preset.postprocess, landmarks)
            if volume_mm3(mask) < LEAST_LABYRINTH_MM3:
                return None
            if prediction.heatmaps is not None and not is_inner_ear(landmarks, mask):
                self.progress.note(
                    "A cavity that looked like a labyrinth was passed over: an ear's landmarks or canals are missing."
                )
                return None
            deviation = prediction.standard_deviation
            measured = Volume(known, grid.affine_lps)
            end, beyond = self._end_reached(mask, measured), beyond_scan(landmarks, measured)
            told = side_of_ear(landmarks, mask, beyond, is_cut_off=end is not None)
            quality = assess(
                mask,
                landmarks,
                None if deviation is None else mean_standard_deviation(deviation, known, self.card.region_voxels),
                end,
                self.card.figures.get("usual_standard_deviation"),
                beyond,
            )
            uncertainty = probability.with_voxels(label_deviation(probability.voxels))
            view_deviation = None if deviation is None else Volume(deviation, grid.affine_lps)
            if self.options.output_grid == "scan":
                mask = on_voxels_of(self.volume.grid, mask)
            # The side is named when all ears are known (with_sides).
            return EarResult("right", mask, landmarks, uncertainty, view_deviation, quality), told

    def _end_reached(self, mask: Volume, measured: Volume) -> str | None:
        # A voxel of the scan may be thicker than that.
        within_mm = np.maximum(NEAR_END_MM, self.volume.spacing_mm)
        if reaches_end(mask, self.volume.grid, within_mm) or is_beside_unmeasured(mask, measured, NEAR_END_MM):
            return "scan"
        region_mm = NEAR_END_VOXELS * self.card.spacing_mm
        return "region that was looked at" if reaches_end(mask, measured.grid, region_mm) else None

    def _wanted(self, ears: list[EarResult]) -> list[EarResult]:
        if self.options.ear == "both" and len(ears) == 1:
            self.progress.note(f"Two ears were asked for; only the {ears[0].side} one was found.")
        if self.options.ear not in ("left", "right"):
            return ears
        if len(ears) == 1 and ears[0].side != self.options.ear:
            self.progress.note(f"No {self.options.ear} ear was found, only a {ears[0].side} one.")
            return ears
        return [ear for ear in ears if ear.side == self.options.ear]

    def _region_round(self, centre_lps: np.ndarray) -> Grid:
        return Grid.cube_round(centre_lps, self.card.spacing_mm, self.card.region_voxels)

    def _note(self, progress: Progress):
        def keep(sentence: str) -> None:
            # Each region would say the same of the computer's memory.
            if sentence not in self.notes:
                self.notes.append(sentence)
                progress.on_note(sentence)

        return keep


def _part(prediction: Prediction, window: tuple[slice, slice, slice], alone: bool) -> Prediction:
    """What was predicted in a window. Each view has one peak in the whole scan: it tells of an ear that is alone."""
    start_kji = np.array([axis.start for axis in window])
    deviation, heatmaps = prediction.standard_deviation, prediction.heatmaps
    return replace(
        prediction,
        probability=prediction.probability[window],
        standard_deviation=None if deviation is None else deviation[window],
        heatmaps=None if heatmaps is None else heatmaps[(slice(None), *window)],
        view_peaks=tuple(
            tuple(replace(peak, index_kji=peak.index_kji - start_kji) for peak in view)
            for view in (prediction.view_peaks if alone else ())
        ),
    )


def _take_in(ears: list[DrawnEar], ear: DrawnEar) -> None:
    """Adds an ear; of two drawings in one place, which are of one ear, the larger stays: the other is cut off."""
    for place, known in enumerate(ears):
        if _overlap(known[0].segmentation.grid, ear[0].segmentation.grid):
            ears[place] = max(known, ear, key=lambda drawn: drawn[0].quality.volume_mm3)
            return
    ears.append(ear)


def _overlap(one: Grid, other: Grid) -> bool:
    """Whether the boxes round two grids along the patient's axes have a part in common."""
    (low, high), (other_low, other_high) = ((c.min(0), c.max(0)) for c in (one.corners_lps(), other.corners_lps()))
    return bool((low < other_high).all() and (other_low < high).all())


def _window(grid: Grid, centre_lps: np.ndarray, voxels: int) -> tuple[slice, slice, slice]:
    centre_kji = np.rint(grid.to_indices(centre_lps)[::-1]).astype(int)
    start = np.clip(centre_kji - voxels // 2, 0, np.maximum(0, np.array(grid.shape) - voxels))
    return tuple(slice(int(s), int(min(s + voxels, n))) for s, n in zip(start, grid.shape, strict=True))
