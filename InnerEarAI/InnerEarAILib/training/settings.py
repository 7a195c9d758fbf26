"""What a run must be told again when it is resumed: its configuration and its scans, held against the checkpoint's."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from InnerEarAILib.training.configuration import ConfigurationError, TrainingConfig
from InnerEarAILib.training.data_source import TrainingData, data_of

FREE = ("description", "watch", "data.manifest", "optimisation.iterations")
"""What may differ: words, how often a run looks up, where the scans lie, and when the training ends (as --minutes)."""

TOLD = 3
"""Differences named in a sentence."""


def settings_of(config: TrainingConfig, data: TrainingData) -> dict[str, Any]:
    """All that a run is, JSON-able, with the defaults of its [data] table filled in.

    Args:
        config: of the run.
        data: its samples.
    """
    described = {"kind": config.data["kind"], **asdict(data_of(config))}
    scans = {"trained on": sorted(data.seen.taught.sha256), "held out": sorted(data.seen.validated.sha256)}
    return json.loads(json.dumps({**asdict(config), "data": described, "scans": scans}))


def check_settings(began: Mapping[str, Any], now: Mapping[str, Any], checkpoint: Path) -> None:
    """Refuses to go on with another run than the checkpoint's.

    Entries that one side lacks are passed over; where either is empty, nothing is checked.

    Args:
        began: settings of the run when it began.
        now: settings of the run that would go on.
        checkpoint: file that would be gone on with, for the sentence.

    Raises:
        ConfigurationError: one sentence that says what differs and what to do.
    """
    before, after = dict(_entries(began)), dict(_entries(now))
    changed = [name for name in before if name in after and before[name] != after[name] and not _is_free(name)]
    told = [f"{name} was {before[name]} and is {after[name]}" for name in changed if not name.startswith("scans.")]
    if not told and changed:
        counts = [(len(set(kept) - set(new)), len(set(new) - set(kept)), name.removeprefix("scans."))
                  for name in changed for kept, new in [(before[name], after[name])]]  # fmt: skip
        told = [f"of the scans {use} {gone} are gone and {new} are new" for gone, new, use in counts]
    if told:
        more = f", and {len(told) - TOLD} more" if len(told) > TOLD else ""
        raise ConfigurationError(
            f"{checkpoint} is of a run with other settings: {', '.join(told[:TOLD])}{more}; give what it began with "
            f"(configuration.toml and run.json beside it say it), or begin another run in a folder of its own (-o)."
        )


def _entries(settings: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from _entries(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value


def _is_free(name: str) -> bool:
    return any(name == free or name.startswith(f"{free}.") for free in FREE)
