"""Does a faster number format give the same ear? Measured by the whole route, and written into the model's card.

A format in which a model agrees with float32 stands in `ModelCard.agreeing_precisions`; the route chooses from these.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from InnerEarAILib.ear_result import EarResult, ScanResult
from InnerEarAILib.evaluation.model_page import refresh_page
from InnerEarAILib.inference.device import PRECISIONS, choose_device, choose_precision, describe_device
from InnerEarAILib.model_card import CARD_FILE, ModelCard
from InnerEarAILib.model_store import save_card
from InnerEarAILib.preprocessing import resample
from InnerEarAILib.progress import Progress
from InnerEarAILib.segmenter import segment
from InnerEarAILib.segmenter_options import SegmenterOptions
from InnerEarAILib.volume import InputError, Volume

LEAST_DICE = 0.999
LARGEST_LANDMARK_MM = 0.05
LEAST_CORRELATION = 0.99
"""What every ear must keep to: Dice of the masks, distance of each landmark, correlation of the standard deviations."""

AGREEMENT_KEY = "agreement"
"""Under this key of the card's figures stands what was measured, by number format."""


@dataclass(frozen=True)
class Agreement:
    """How far a number format's ears are from those of float32, the worst of all scans.

    Attributes:
        precision: the number format.
        device: in words.
        ears: number of ears that were found in either.
        dice: least Dice of the two masks; 0 where an ear was found in one alone.
        landmark_mm: largest distance between the two positions of a landmark; infinite where one was not found.
        correlation: least correlation of the standard deviations over the views.
    """

    precision: str
    device: str
    ears: int
    dice: float
    landmark_mm: float
    correlation: float

    @property
    def holds(self) -> bool:
        """Whether the format may be used."""
        return (
            self.ears > 0
            and self.dice >= LEAST_DICE
            and self.landmark_mm <= LARGEST_LANDMARK_MM
            and self.correlation >= LEAST_CORRELATION
        )

    def __str__(self) -> str:
        verdict = "agrees with" if self.holds else "differs from"
        return (
            f"{self.precision} {verdict} float32 on {self.device}: {self.ears} ears, Dice ≥ {self.dice:.5f}, "
            f"landmarks within {self.landmark_mm:.4f} mm, uncertainty correlated ≥ {self.correlation:.5f}"
        )


def measured_agreements(
    card: ModelCard, scans: Iterable[Volume], device: str = "auto", progress: Progress = Progress()
) -> list[Agreement]:
    """Compares the device's faster number formats with float32, with the standard preset.

    Args:
        card: of an installed model, of either role; the other models stay as their cards say.
        scans: with an ear each at least.
        device: "auto", "cpu", "cuda" or "cuda:N".
        progress: told of every scan.

    Returns:
        One for each format that the device is fast in.

    Raises:
        InputError: if the device has no faster format, or no ear was found in any scan.
    """
    on = choose_device(device)
    candidates = [precision for precision in PRECISIONS[1:] if choose_precision("auto", on, (precision,)) == precision]
    if not candidates:
        raise InputError(f"The device ({describe_device(on)}) is fast in float32 alone; there is nothing to measure.")
    pairs: dict[str, list[tuple[ScanResult, ScanResult]]] = {precision: [] for precision in candidates}
    with tempfile.TemporaryDirectory(prefix="inner-ear-ai-") as folder:
        stores = {precision: _store(card, precision, Path(folder, precision)) for precision in ("float32", *candidates)}
        model = card.name if card.role == "segmenter" else "auto"
        options = SegmenterOptions(model=model, device=device)
        for scan in scans:
            results = {}
            for precision, store in stores.items():
                progress.step(f"{scan.name} in {precision}")
                results[precision] = segment(scan, options, models_directory=store)
            for precision in candidates:
                pairs[precision].append((results["float32"], results[precision]))
    agreements = [_agreement(precision, describe_device(on), pairs[precision]) for precision in candidates]
    if not any(agreement.ears for agreement in agreements):
        raise InputError("No ear was found in any scan; an agreement cannot be measured on nothing.")
    return agreements


def updated_card(card: ModelCard, agreements: Sequence[Agreement]) -> ModelCard:
    """Writes into a model's card, and the page beside it, which number formats agree; each whole or as it was.

    Args:
        card: as read from the store; formats that were not measured now stay as they are on it.
        agreements: as measured.

    Returns:
        The card as written, with the figures of the agreements; the weights are not touched.
    """
    judged = {agreement.precision: agreement.holds for agreement in agreements}
    agreeing = tuple(
        precision for precision in PRECISIONS if judged.get(precision, precision in card.agreeing_precisions)
    )
    measured = {
        agreement.precision: {
            "device": agreement.device,
            "ears": agreement.ears,
            "least_dice": round(agreement.dice, 5),
            "largest_landmark_mm": round(agreement.landmark_mm, 4) if np.isfinite(agreement.landmark_mm) else None,
            "least_correlation": round(agreement.correlation, 5),
        }
        for agreement in agreements
    }
    figures = {**card.figures, AGREEMENT_KEY: {**card.figures.get(AGREEMENT_KEY, {}), **measured}}
    written = replace(card, agreeing_precisions=agreeing, figures=figures)
    save_card(written)
    refresh_page(written)
    return written


def _store(card: ModelCard, precision: str, root: Path) -> Path:
    """A copy of the card's store in which that model alone is said to agree in one format."""
    shutil.copytree(card.directory.parent, root, ignore=shutil.ignore_patterns(".*"))
    path = root / card.name / CARD_FILE
    values = json.loads(path.read_text(encoding="utf-8"))
    values["agreeing_precisions"] = [precision]
    path.write_text(json.dumps(values), encoding="utf-8")
    return root


def _agreement(precision: str, device: str, pairs: Sequence[tuple[ScanResult, ScanResult]]) -> Agreement:
    dices, distances, correlations = [], [], []
    for pair in pairs:
        ours, theirs = ({ear.side: ear for ear in result.ears} for result in pair)
        for side in sorted({*ours, *theirs}):
            if side not in ours or side not in theirs:
                dices.append(0.0)
                continue
            dices.append(_dice(ours[side].segmentation, theirs[side].segmentation))
            distances.append(_largest_distance_mm(ours[side], theirs[side]))
            correlations.append(_correlation(ours[side].view_deviation, theirs[side].view_deviation))
    return Agreement(
        precision,
        device,
        len(dices),
        min(dices, default=0.0),
        max(distances, default=float("inf")),
        min(correlations, default=0.0),
    )


def _dice(first: Volume, second: Volume) -> float:
    """Dice of two masks that lie on parts of one lattice."""
    shift = np.rint(first.grid.to_indices(second.grid.origin_lps)[::-1]).astype(int)
    start = np.maximum(shift, 0)
    stop = np.minimum(first.voxels.shape, shift + second.voxels.shape)
    total = np.count_nonzero(first.voxels) + np.count_nonzero(second.voxels)
    if (stop <= start).any() or total == 0:
        return 0.0
    ours = first.voxels[tuple(map(slice, start, stop))]
    theirs = second.voxels[tuple(map(slice, start - shift, stop - shift))]
    return 2 * np.count_nonzero(ours.astype(bool) & theirs.astype(bool)) / total


def _largest_distance_mm(first: EarResult, second: EarResult) -> float:
    distances = []
    for ours, theirs in zip(first.landmarks, second.landmarks, strict=True):
        if (ours.position_lps is None) != (theirs.position_lps is None):
            return float("inf")
        if ours.position_lps is not None:
            distances.append(float(np.linalg.norm(ours.position_lps - theirs.position_lps)))
    return max(distances, default=0.0)


def _correlation(first: Volume, second: Volume) -> float:
    """Over the voxels that both regions cover."""
    theirs = resample(second, first.grid, cubic=False)
    known = np.isfinite(theirs)
    return float(np.corrcoef(first.voxels[known], theirs[known])[0, 1])
