"""What this computer computes with, and how long a run will take on it."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from InnerEarAILib import __version__
from InnerEarAILib.model_card import ModelCard, ModelError
from InnerEarAILib.model_store import LOCATOR, choose_model, list_models
from InnerEarAILib.segmenter_options import SegmenterOptions
from InnerEarAILib.time_estimate import Speed, estimated_seconds
from InnerEarAILib.volume import Grid


@dataclass(frozen=True)
class Computer:
    """What the probe has found (see worker).

    Attributes:
        devices: description by name, the one to prefer first.
        no_gpu: why there is no GPU, as the end of a sentence; empty where there is one.
        start_seconds: until Python and PyTorch are there.
        speeds: of every model on every device.
        identity: of PyTorch, library and models; with another one the computer must be looked at again.
    """

    devices: Mapping[str, str]
    no_gpu: str
    start_seconds: float
    speeds: tuple[Speed, ...]
    identity: str = field(default_factory=lambda: installation_identity())

    @staticmethod
    def from_events(events: Iterable[Mapping[str, Any]]) -> Computer:
        """What the lines of a probe say.

        Raises:
            ValueError: if the probe did not come to its end.
        """
        by_name: dict[str, list[Mapping[str, Any]]] = {}
        for event in events:
            by_name.setdefault(event["event"], []).append(event)
        if "probed" not in by_name:
            raise ValueError("the probe did not come to its end")
        return Computer(
            {device["name"]: device["description"] for device in by_name["device"]},
            by_name["no_gpu"][0]["reason"] if "no_gpu" in by_name else "",
            by_name["started"][0]["seconds"],
            tuple(Speed.from_dict(speed) for speed in by_name.get("speed", ())),
        )

    @staticmethod
    def from_json(text: str) -> Computer | None:
        """What `to_json` wrote; None where that is nothing, damaged, or of another installation."""
        try:
            values = json.loads(text)
            if values["identity"] != installation_identity():
                return None
            speeds = tuple(Speed.from_dict(one) for one in values["speeds"])
            return Computer(values["devices"], values["no_gpu"], float(values["start_seconds"]), speeds)
        except (ValueError, KeyError, TypeError):
            return None

    def to_json(self) -> str:
        """As text, for the application's settings."""
        return json.dumps({**vars(self), "speeds": [speed.to_dict() for speed in self.speeds]})

    def has_the_devices_of(self, events: Iterable[Mapping[str, Any]]) -> bool:
        """Whether a probe has named these devices, in this order and with these descriptions.

        Args:
            events: lines of a probe, as far as they have come; the devices are told before their speeds.
        """
        told = [(event["name"], event["description"]) for event in events if event["event"] == "device"]
        reasons = [event["reason"] for event in events if event["event"] == "no_gpu"]
        return told == list(self.devices.items()) and "".join(reasons) == self.no_gpu

    def device_for(self, choice: str) -> str:
        """The name of the device that "auto" or a name means here."""
        return next(iter(self.devices)) if choice == "auto" else choice

    def with_speed(self, speed: Speed) -> Computer:
        """The same computer, after a run that showed this speed."""
        others = tuple(one for one in self.speeds if (one.model, one.device) != (speed.model, speed.device))
        return Computer(self.devices, self.no_gpu, self.start_seconds, (*others, speed))

    def seconds_for(self, grid: Grid, options: SegmenterOptions) -> float | None:
        """How long a run will take, from the click to the result; None where a speed is not known.

        Args:
            grid: of the scan.
            options: what is chosen.

        Raises:
            InputError, ModelError: as the run would.
        """
        cards = {card.name: card for card in list_models()}
        if options.resolved().locate and LOCATOR not in cards:
            raise ModelError(
                f"The model '{LOCATOR}', which finds the ears in a scan, is not installed; choose the whole scan to "
                "look at (Advanced)."
            )
        device = self.device_for(options.device)
        card = chosen_card(grid, options.model, device, cards.values())
        speeds = {speed.model: speed for speed in self.speeds if speed.device == device}
        try:
            return self.start_seconds + estimated_seconds(grid, options, card, cards.get(LOCATOR), speeds)
        except KeyError:
            return None


def chosen_card(grid: Grid, model: str, device: str, cards: Iterable[ModelCard]) -> ModelCard:
    """The card of the model that a run will take.

    Raises:
        ModelError: if there is none.
    """
    named = [card for card in cards if card.name == model]
    return named[0] if named else choose_model(float(grid.spacing_mm.min()), device, cards)


def installation_identity() -> str:
    """What speeds depend on, as far as it can be told without starting anything."""
    try:
        torch = importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        torch = "none"
    try:
        weights = " ".join(card.weights_sha256[:12] for card in list_models())
    except ModelError:
        weights = "damaged"
    return f"{__version__} torch {torch} {weights}"
