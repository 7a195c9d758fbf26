"""How fast this computer has been, kept in the user's cache folder, so that a shell can tell a run's time beforehand.

A cache and no more: what cannot be read is measured again, what cannot be written is not kept.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from InnerEarAILib import __version__
from InnerEarAILib.inference.speed import Speed, measure_speed
from InnerEarAILib.model_card import ModelCard
from InnerEarAILib.progress import Progress
from InnerEarAILib.whole_files import replacing

FOLDER, FILE = "inner-ear-ai", "speeds.json"


def speeds_of(cards: Iterable[ModelCard], device: str, progress: Progress = Progress()) -> dict[str, Speed]:
    """The speeds of models on a device, by name: as last seen, else from a trial, which is then kept.

    Args:
        cards: of installed models.
        device: "cpu", "cuda:0", …
        progress: told of a trial.

    Raises:
        ModelError: if the weights of a model that has to be tried cannot be used.
    """
    speeds = {}
    for card in cards:
        known = _read().get(_key(card, device))
        if known is None:
            progress.step("Trying how fast this computer is")
            known = measure_speed(card, device)
            remember(known, card)
        speeds[card.name] = known
    return speeds


def remember(speed: Speed, card: ModelCard) -> None:
    """Keeps a speed for later runs.

    Args:
        speed: from a trial, or of a run that is over.
        card: of its model.
    """
    known = {**_read(), _key(card, speed.device): speed}
    try:
        path = cache_folder() / FILE
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as unfinished:
            unfinished.write_text(json.dumps({key: one.to_dict() for key, one in known.items()}), encoding="utf-8")
    except (OSError, RuntimeError):
        return


def cache_folder(environment: Mapping[str, str] = os.environ, platform: str = sys.platform) -> Path:
    """The folder of our cache, where the system wants such things; it need not exist.

    Raises:
        RuntimeError: if the environment names no folder and the user has no home.
    """
    variable = "LOCALAPPDATA" if platform == "win32" else "XDG_CACHE_HOME"
    if environment.get(variable):
        return Path(environment[variable]) / FOLDER
    usual = {"win32": "AppData/Local", "darwin": "Library/Caches"}
    return Path.home() / usual.get(platform, ".cache") / FOLDER


def _key(card: ModelCard, device: str) -> str:
    """What a speed depends on, as far as is told without starting anything."""
    return f"{__version__} {card.name} {card.weights_sha256[:12]} {device}"


def _read() -> dict[str, Speed]:
    try:
        values: Any = json.loads((cache_folder() / FILE).read_text(encoding="utf-8"))
        return {str(key): Speed.from_dict(one) for key, one in values.items()}
    except (OSError, ValueError, AttributeError, RuntimeError):
        return {}
