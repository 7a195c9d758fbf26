"""What a run must be told again when it is resumed: its configuration and its scans, held against the checkpoint's."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from InnerEarAILib.training.configuration import ConfigurationError, TrainingConfig
from InnerEarAILib.training.data_source import TrainingData, data_of

FREE = ("description", "watch", "data.manifest", "optimisation.iterations")
"""What may differ: words, how often a run looks up, where the scans lie, and when the training ends (as --minutes)."""

TOLD = 3
"""Differences named in a sentence."""

LABELLED = "labelled"
"""Among the scans of a run: each with its labels and landmarks."""


def settings_of(config: TrainingConfig, data: TrainingData) -> dict[str, Any]:
    """All that a run is, JSON-able, with the defaults of its [data] table filled in.

    Args:
        config: of the run.
        data: its samples.
    """
    scans = {
        "trained on": sorted(data.seen.taught.sha256),
        "held out": sorted(data.seen.validated.sha256),
        LABELLED: sorted(data.labelled),
    }
    return {**settings_of_configuration(config), "scans": scans}


def settings_of_configuration(config: TrainingConfig) -> dict[str, Any]:
    """The same without the scans, which are known when they are prepared."""
    described = {**asdict(data_of(config)), "kind": config.data["kind"]}
    return json.loads(json.dumps({**asdict(config), "data": described}))


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
    if told := changed_settings(began, now) or changed_scans(began, now):
        more = f", and {len(told) - TOLD} more" if len(told) > TOLD else ""
        raise ConfigurationError(
            f"{checkpoint} is of a run with other settings: {', '.join(told[:TOLD])}{more}; give what it began with "
            f"(configuration.toml and run.json beside it say it), or begin another run in a folder of its own (-o)."
        )


def changed_settings(began: Mapping[str, Any], now: Mapping[str, Any], free: Collection[str] = FREE) -> list[str]:
    """What differs between two runs but for their scans, in words; entries that one side lacks are passed over.

    Args:
        began, now: settings of the runs.
        free: entries, and tables of them, that may differ.
    """
    return [
        f"{name} was {before} and is {after}"
        for name, before, after in _changed(began, now)
        if not name.startswith("scans.") and not any(name == one or name.startswith(f"{one}.") for one in free)
    ]


def changed_scans(began: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs between the scans of two runs, in words; nothing where one side does not tell them."""
    counts = {
        name.removeprefix("scans."): (len(set(before) - set(after)), len(set(after) - set(before)))
        for name, before, after in _changed(began, now)
        if name.startswith("scans.")
    }
    relabelled = max(counts.pop(LABELLED, (0, 0)))
    if relabelled and not counts:
        return [f"labels or landmarks of {relabelled} of the scans have changed"]
    return [f"of the scans {use} {gone} are gone and {new} are new" for use, (gone, new) in counts.items()]


def _changed(began: Mapping[str, Any], now: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """Name, value before and value after of the entries that both have and that differ."""
    before, after = dict(_entries(began)), dict(_entries(now))
    return [(name, before[name], after[name]) for name in before if name in after and before[name] != after[name]]


def _entries(settings: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from _entries(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value
