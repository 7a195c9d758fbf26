"""What a caller of the segmenter may choose. Without torch, so that a panel can ask what a choice means."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from InnerEarAILib.volume import InputError


@dataclass(frozen=True)
class Preset:
    """A name for a choice between thoroughness and time."""

    locate: bool
    views: int
    postprocess: bool


PRESETS = {
    "paper": Preset(locate=False, views=10, postprocess=False),
    "standard": Preset(locate=True, views=10, postprocess=True),
    "fast": Preset(locate=True, views=1, postprocess=True),
}
"""paper: whole volume, ten views, raw output in the region round each ear that is found (Stebani et al. 2023 keep all
of the volume). The others look round each ear that is located."""


@dataclass(frozen=True)
class SegmenterOptions:
    """What a caller may choose.

    Attributes:
        preset: a key of PRESETS.
        model: name of a folder in models/, or path of a model's own folder, as a training run leaves one; "auto": by
            the scan's resolution and the device.
        device: "auto", "cpu", "cuda" or "cuda:N".
        ear: "auto" takes every ear found; "left" and "right" that one alone; "both" expects two.
        locate, views, postprocess: take the place of the preset's choice where not None.
        output_grid: of the segmentation: "fine" (at most postprocessing.FINE_SPACING_MM apart, along the patient's
            axes) or "scan" (the scan's own voxels, those at least half inside the labyrinth).
        contrast_matching: gives the region round an ear the histogram of the scans that the model was trained on; for
            specimens and scanners of unusual contrast.
    """

    preset: Literal["paper", "standard", "fast"] = "standard"
    model: str = "auto"
    device: str = "auto"
    ear: Literal["auto", "left", "right", "both"] = "auto"
    locate: bool | None = None
    views: int | None = None
    postprocess: bool | None = None
    output_grid: Literal["fine", "scan"] = "fine"
    contrast_matching: bool = False

    def resolved(self, views_taught: int = 10) -> Preset:
        """The preset with the caller's changes.

        Args:
            views_taught: ModelCard.views_taught of the model: its own choice of views shows it no more than these.

        Raises:
            InputError: for an unknown preset, ear or output grid, or a number of views other than 1 and 10.
        """
        if self.preset not in PRESETS:
            raise InputError(f"There is no preset “{self.preset}”; choose one of {', '.join(PRESETS)}.")
        if self.ear not in ("auto", "left", "right", "both"):
            raise InputError(f"There is no ear “{self.ear}”; choose auto, left, right or both.")
        if self.views not in (None, 1, 10):
            raise InputError(f"The number of views is 1 or 10, not {self.views}.")
        if self.output_grid not in ("fine", "scan"):
            raise InputError(f"There is no output grid “{self.output_grid}”; choose fine or scan.")
        changes = {"locate": self.locate, "views": self.views, "postprocess": self.postprocess}
        preset = PRESETS[self.preset]
        preset = replace(preset, views=min(preset.views, views_taught))
        return replace(preset, **{k: v for k, v in changes.items() if v is not None})
