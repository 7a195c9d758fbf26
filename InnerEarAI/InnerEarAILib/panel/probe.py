"""The look at the computer, in a child process and in the background."""

from __future__ import annotations

import shutil
from typing import Any

from InnerEarAILib.panel.child import Child, python_command, remove_folder, temporary_folder
from InnerEarAILib.panel.computer import Computer
from InnerEarAILib.worker import PROBE


class Probe:
    """A running probe; `poll` says now and then whether it is over.

    Args:
        known: what was found earlier. Where the devices are still the same, that stays and no speed is measured again.

    Raises:
        OSError: if it cannot be started.

    Attributes:
        computer: what was found; None until it is over, and where it failed.
        log: what the process wrote beside, and what it said of its failure.
    """

    def __init__(self, known: Computer | None = None) -> None:
        self.computer: Computer | None = None
        self._known = known
        self.log = ""
        self._events: list[dict[str, Any]] = []
        self._folder = temporary_folder("InnerEarAI-probe-")
        try:
            self._child = Child(python_command("InnerEarAILib.worker", PROBE), self._folder)
        except BaseException:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise

    def poll(self) -> bool:
        """Whether it is over; `computer` and `log` are set then."""
        ended = self._child.ended()
        self._events += self._child.new_events()
        if self._known is not None and self._known.has_the_devices_of(self._events):
            self.computer = self._known
            self.close()
            return True
        if not ended:
            return False
        said = [event["sentence"] for event in self._events if event["event"] == "error"]
        self.log = "\n".join([*said, self._child.log()])
        try:
            self.computer = Computer.from_events(self._events)
        except (ValueError, KeyError) as error:
            self.log += f"\n{error}"
        self.close()
        return True

    def close(self) -> None:
        """Ends the process if it still runs, and removes its files."""
        self._child.kill()
        remove_folder(self._folder)
