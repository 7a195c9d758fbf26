"""Where a training run stands, and who is told of it with the weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from InnerEarAILib.training.validation import ValidationFigures


@dataclass
class RunState:
    """Where a run stands; what a checkpoint keeps beside the tensors.

    Attributes:
        iteration: passes done, by all processes together.
        seconds: time spent, over all resumptions.
        best_score: of the best validation so far.
        validated: iteration of the last validation.
        begun_with: name and version of the model whose weights the run began with; empty: it began from nothing.
        stage: of the method's training; see objectives. Weights of an earlier stage are never the best.
        reserved: seconds of a time budget kept for the last validation and export; 0: their length is not known yet.
        seen_before: the labelled scans that those weights had seen; see SeenScans.figures.
        settings: of the run; see run_settings.settings_of.
    """

    iteration: int = 0
    seconds: float = 0.0
    best_score: float = float("-inf")
    validated: int = 0
    begun_with: str = ""
    stage: int = 0
    reserved: float = 0.0
    seen_before: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)


Export = Callable[[nn.Module, str, RunState, ValidationFigures], None]
"""Writes a model folder: (network, "last" or "best", where the run stands, figures)."""
