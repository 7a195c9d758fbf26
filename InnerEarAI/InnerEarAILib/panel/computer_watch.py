"""What the panel knows of the computer: from the settings, from a probe, and from runs that are over."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import qt
import slicer.util

from InnerEarAILib.panel.computer import Computer
from InnerEarAILib.panel.hints import ProbeState
from InnerEarAILib.panel.installation import installed_version, lasting_fault, missing_packages, packages
from InnerEarAILib.panel.probe import Probe
from InnerEarAILib.segmenter_options import SegmenterOptions
from InnerEarAILib.time_estimate import speed_of_run
from InnerEarAILib.volume import Grid

SETTING = "InnerEarAI/computer"
"""Where the application's settings keep what was found."""


class ComputerWatch:
    """What is known, and the probe that finds it out.

    What was found stays in the settings and is shown at once. It is looked at anew once in every session, since a
    driver or a GPU may have come or gone; and again where that failed, or other packages have been installed since.

    Attributes:
        computer: None where nothing is known yet.
        log: of a probe that failed.
    """

    def __init__(self) -> None:
        self._probe: Probe | None = None
        self._looked_at_with: tuple[str | None, ...] | None = None
        self.log = ""
        self.computer = Computer.from_json(slicer.util.settingsValue(SETTING, ""))

    @property
    def is_probing(self) -> bool:
        """Whether a probe is going on."""
        return self._probe is not None

    @property
    def state(self) -> ProbeState:
        """How far the computer is known."""
        if lasting_fault():
            return "faulty"
        if missing_packages():
            return "missing"
        if self.computer is not None:
            return "known"
        return "failed" if self.log else "probing"

    @property
    def devices(self) -> Mapping[str, str]:
        """Descriptions by name; empty where nothing is known."""
        return {} if self.computer is None else self.computer.devices

    def device_for(self, choice: str) -> str:
        """What a choice means here; the CPU stands for "auto" where nothing is known."""
        if self.computer is not None:
            return self.computer.device_for(choice)
        return "cpu" if choice == "auto" else choice

    def may_use_gpu(self, choice: str) -> bool:
        """Whether a choice may mean a GPU, as far as is known."""
        return choice != "cpu" if self.computer is None else not self.device_for(choice).startswith("cpu")

    def seconds_for(self, grid: Grid, options: SegmenterOptions) -> float | None:
        """How long a run will take; None where that is not known.

        Raises:
            InputError, ModelError: as the run would.
        """
        return None if self.computer is None else self.computer.seconds_for(grid, options)

    def start(self) -> bool:
        """Starts a probe where one is needed and can be done; whether one is going on."""
        can_be_done = self._probe is None and self.state not in ("missing", "faulty")
        if can_be_done and self._looked_at_with != _installed_versions():
            self.log = ""
            # Speeds that were measured with other packages say nothing of these.
            known = self.computer if self._looked_at_with is None else None
            try:
                self._probe = Probe(known)
            except OSError as error:
                self.log = str(error)
        return self.is_probing

    def poll(self) -> None:
        """Takes in what a probe has found, once it is over."""
        if self._probe is None or not self._probe.poll():
            return
        self.computer = self._probe.computer
        self.log = "" if self.computer else self._probe.log
        self._probe = None
        self._looked_at_with = _installed_versions() if self.computer else None
        self._keep()

    def stop(self) -> None:
        """Ends a probe before its time; it can be started again."""
        if self._probe is not None:
            self._probe.close()
            self._probe = None

    def learn(self, provenance: Mapping[str, Any]) -> None:
        """Takes in the speed that a run has shown."""
        speed = speed_of_run(provenance)
        if self.computer is not None and speed is not None:
            self.computer = self.computer.with_speed(speed)
            self._keep()

    def _keep(self) -> None:
        if self.computer is not None:
            qt.QSettings().setValue(SETTING, self.computer.to_json())


def _installed_versions() -> tuple[str | None, ...]:
    return tuple(installed_version(package.name) for package in packages())
