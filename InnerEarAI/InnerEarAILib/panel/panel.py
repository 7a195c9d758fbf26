"""The panel at work: it follows the parameter node, starts and watches runs, and says what to do next."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
import slicer
import slicer.util
from slicer.i18n import tr as _

from InnerEarAILib.model_card import ModelError
from InnerEarAILib.model_store import list_models
from InnerEarAILib.mrml import MODEL, is_looked_at, volume_from_node
from InnerEarAILib.panel import hints
from InnerEarAILib.panel.computer import chosen_card
from InnerEarAILib.panel.computer_watch import ComputerWatch
from InnerEarAILib.panel.controls import Controls, options_of
from InnerEarAILib.panel.corrections import summary_as_corrected
from InnerEarAILib.panel.installation import (
    InstallationError,
    consent_to,
    install,
    lasting_fault,
    missing_packages,
)
from InnerEarAILib.panel.log_window import log_header, show_log
from InnerEarAILib.panel.results_view import ResultsView
from InnerEarAILib.panel.run import Outcome, Run
from InnerEarAILib.panel.run_record import latest_run, remove_run
from InnerEarAILib.panel.saving import save_run
from InnerEarAILib.panel.wording import duration, notice
from InnerEarAILib.scan_checks import check_size, check_spacing
from InnerEarAILib.segmenter_options import SegmenterOptions
from InnerEarAILib.volume import InputError, Volume

LOOK_AGAIN_MILLISECONDS = 100

LOGGED_KINDS = ("model", "memory", "unexpected", "crash")
"""Failures of which the log is offered."""


def volumes_to_choose(scene: Any) -> list[Any]:
    """The volumes that may be a CT: neither label maps, nor colour or vector images, nor what is hidden or ours."""
    volumes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode", scene)
    return [
        node
        for node in volumes
        if node.GetClassName() == "vtkMRMLScalarVolumeNode"
        and not node.GetHideFromEditors()
        and not node.GetAttribute(MODEL)
    ]


class Panel:
    """What happens in the panel.

    Args:
        ui: the widgets of InnerEarAI.ui by name.
        logic: InnerEarAILogic; adds results to the scene.
        is_in_use: whether the user has the panel before them. Else it follows neither scene nor settings, until
            look_at_computer is called.
    """

    def __init__(self, ui: Any, logic: Any, is_in_use: Callable[[], bool]) -> None:
        self._ui, self._logic, self._is_in_use = ui, logic, is_in_use
        self._parameters: Any = None
        self._observation: tuple[Any, int] | None = None
        self._run: Run | None = None
        self._run_node: Any = None
        self._expected_seconds: float | None = None
        self._message, self._log = "", ""
        self._cancelling = self._installing = self._refresh_is_due = self._closed = False
        self._computer = ComputerWatch()
        self._controls = Controls(ui, self._on_choice)
        self._results = ResultsView(ui, self._refresh_soon)
        self._timer = qt.QTimer()
        self._timer.interval = LOOK_AGAIN_MILLISECONDS
        self._timer.connect("timeout()", self._look_again)
        ui.segmentButton.connect("clicked()", self._on_button)
        ui.logButton.connect("clicked()", lambda: show_log(self._log or self._computer.log))
        ui.saveButton.connect("clicked()", self._on_save)
        ui.removeButton.connect("clicked()", self._on_remove)
        ui.noticeLabel.text = notice()
        self._refresh()

    def set_parameters(self, parameters: Any | None) -> None:
        """Follows another parameter node; None between two scenes."""
        if self._observation is not None:
            node, tag = self._observation
            node.RemoveObserver(tag)
            self._observation = None
        self._parameters = parameters
        if parameters is not None:
            node = parameters.parameterNode
            self._observation = (node, node.AddObserver("ModifiedEvent", lambda caller, event: self._follow()))
        self._refresh()

    def look_at_computer(self) -> None:
        """Finds out in the background what the computer has, where that is not known and can be known."""
        if self._run is None and self._computer.start():
            self._timer.start()
        self._refresh()

    def scene_changed(self) -> None:
        """Nodes came or went: looks at them once all have come or gone."""
        if self._run is not None and not slicer.mrmlScene.IsNodePresent(self._run_node):
            self.abandon(_("Cancelled, as the scan was removed from the scene."))
        record = self._results.record
        if record is not None and not self._is_in_use() and not slicer.mrmlScene.IsNodePresent(record.segmentation):
            self._results.show(None)
        self._refresh_soon()

    def abandon(self, reason: str) -> None:
        """Ends a run at once and says why, without a trace in the scene; with no run, forgets what was said last."""
        self._message, self._log = reason if self._run is not None else "", ""
        self._forget_run()

    def close(self) -> None:
        """Ends all that goes on; the panel is not used again."""
        self._closed = True
        self._timer.stop()
        self._computer.stop()
        self._forget_run()
        self.set_parameters(None)
        self._results.show(None)

    def _on_choice(self, name: str, value: Any) -> None:
        if self._closed or self._run is not None:
            return
        self._message, self._log = "", ""
        # Nobody enters the module where another window has the panel as a part.
        if self._parameters is None:
            self.set_parameters(self._logic.getParameterNode())
        setattr(self._parameters, name, value)
        if self._computer.state == "probing":
            self.look_at_computer()
        self._refresh()

    def _on_button(self) -> None:
        if self._installing:
            return
        if self._run is None:
            self._start()
        else:
            self._run.cancel()
            self._cancelling = True
        self._refresh()

    def _start(self) -> None:
        self._message, self._log = "", ""
        if not self._everything_is_installed() or self._parameters is None:
            # While packages are installed the user may close the scene.
            return
        volume, problem = self._scan()
        if volume is None:
            self._message = problem
            return
        # Both would want the whole computer.
        self._computer.stop()
        options = options_of(self._parameters)
        try:
            self._expected_seconds = self._computer.seconds_for(volume.grid, SegmenterOptions(**options))
        except ModelError as error:
            self._message = str(error)
            return
        try:
            self._run = Run(volume, options, self._computer.may_use_gpu(options["device"]))
        except OSError as error:
            self._message = _("The computation could not be started ({error}).").format(error=error)
            return
        self._run_node, self._cancelling = self._parameters.inputVolume, False
        self._timer.start()

    def _everything_is_installed(self) -> bool:
        if fault := lasting_fault():
            self._message = fault
            return False
        missing = missing_packages()
        if not missing:
            return True
        if not consent_to(missing):
            self._message = _(
                "Nothing was installed and nothing was changed. Without {names} no inner ear can be segmented; press "
                "the button again to install."
            ).format(names=_(" and ").join(package.name for package in missing))
            return False
        self._say_now(_("Installing; this takes some minutes…"))
        # Slicer lets the user click on while it installs.
        self._installing = True
        self._ui.segmentButton.enabled = False
        try:
            install(missing)
        except InstallationError as error:
            self._message = str(error)
            return False
        finally:
            self._installing = False
        return True

    def _say_now(self, text: str) -> None:
        # Without processing events: a timer's would come in the middle of what goes on.
        self._ui.statusLabel.visible = True
        self._ui.statusLabel.text = text
        self._ui.statusLabel.repaint()

    def _look_again(self) -> None:
        self._computer.poll()
        if self._run is not None:
            outcome = self._run.poll()
            if outcome is not None:
                self._finish(outcome)
        if self._run is not None:
            self._refresh_progress()
            return
        if not self._computer.is_probing:
            self._timer.stop()
            self._refresh()

    def _finish(self, outcome: Outcome) -> None:
        run, node = self._run, self._run_node
        self._message = outcome.sentence
        self._log = "" if outcome.kind not in LOGGED_KINDS else f"{log_header(run)}{run.log()}\n{outcome.sentence}\n"
        is_added = False
        if outcome.result is not None:
            self._say_now(_("Adding the results to the scene…"))
            is_added = self._add(outcome, run, node)
        if not is_added and latest_run(slicer.mrmlScene, node) is not None:
            self._message = "\n".join([self._message, _("The results below are of an earlier run.")])
        self._forget_run()
        self.look_at_computer()

    def _add(self, outcome: Outcome, run: Run, node: Any) -> bool:
        """Whether there was something to add, and it was added."""
        self._computer.learn(outcome.result.provenance)
        # Who is at work in another module, with another volume, keeps the views.
        shows = self._is_in_use() or is_looked_at(node)
        try:
            notes = self._logic.addResult(outcome.result, node, shows).result.notes
        except InputError as error:
            self._message = str(error)
            return False
        except Exception as error:  # whatever Slicer may raise: the panel goes on, and the log has it
            self._message = _("The results could not be added to the scene ({error}).").format(error=error)
            self._log = f"{log_header(run)}{traceback.format_exc()}"
            return False
        sides = [_("right") if ear.side == "right" else _("left") for ear in outcome.result.ears]
        found = _("Found in {time}: the {sides} ear.") if len(sides) == 1 else _("Found in {time}: {sides} ear.")
        found = found.format(time=duration(run.seconds), sides=_(" and ").join(sides))
        where = [] if shows else [_("The results are in the scene; “Jump to” centres the views on them.")]
        self._message = "\n".join([found, *where, *notes])
        return True

    def _forget_run(self) -> None:
        if self._run is not None:
            self._run.close()
        self._run = self._run_node = None
        self._cancelling = False

    def _on_save(self) -> None:
        record = self._results.record
        folder = qt.QFileDialog.getExistingDirectory(slicer.util.mainWindow(), _("Save the results into"))
        if record is None or not folder:
            return
        scan = self._parameters.inputVolume
        name = (scan or record.segmentation).GetName()
        try:
            try:
                files = save_run(record, Path(folder), name)
            except FileExistsError as existing:
                question = _("{file} and others are there already. Replace them?").format(file=existing.filename)
                if not slicer.util.confirmOkCancelDisplay(question, windowTitle=_("Replace files?")):
                    return
                files = save_run(record, Path(folder), name, overwrite=True)
            self._message = _("Saved {count} files in {folder}.").format(count=len(files), folder=folder)
        except InputError as error:
            self._message = str(error)
        self._refresh()

    def _on_remove(self) -> None:
        record = self._results.record
        if record is None:
            return
        corrected = any(ear["corrected"] for ear in summary_as_corrected(record)["ears"])
        question = _("The results have been corrected by hand. Remove them with the corrections?")
        if corrected and not slicer.util.confirmOkCancelDisplay(question, windowTitle=_("Remove results?")):
            return
        remove_run(record)
        self._message = _("The results were removed from the scene.")
        self._refresh()

    def _scan(self) -> tuple[Volume | None, str]:
        """The scan that is chosen; or None, and what to do."""
        node = self._parameters.inputVolume
        if node is None or not slicer.mrmlScene.IsNodePresent(node):
            if not volumes_to_choose(slicer.mrmlScene):
                return None, _(
                    "Load a CT of a temporal bone or a head: drag it into Slicer, or draw a phantom in the module "
                    "Sample Data."
                )
            return None, _("Choose the CT volume above.")
        try:
            volume = volume_from_node(node)
            check_size(volume.voxels.shape)
            check_spacing(volume.spacing_mm)
            SegmenterOptions(**options_of(self._parameters)).resolved()
        except InputError as error:
            return None, str(error)
        return volume, ""

    def _follow(self) -> None:
        if self._is_in_use():
            self._refresh()

    def _refresh_soon(self) -> None:
        if self._is_in_use() and not self._refresh_is_due:
            self._refresh_is_due = True
            qt.QTimer.singleShot(0, self._refresh_when_due)

    def _refresh_when_due(self) -> None:
        self._refresh_is_due = False
        self._refresh()

    def _refresh(self) -> None:
        """Shows what is the case."""
        if self._closed or slicer.mrmlScene.IsBatchProcessing():
            return
        if self._parameters is None:
            self._ui.segmentButton.enabled = False
            self._results.show(None)
            return
        self._controls.show(self._parameters)
        self._controls.set_enabled(self._run is None)
        self._refresh_progress()
        volume, problem = self._scan()
        self._refresh_hints(volume)
        running = self._run is not None
        waiting = self._cancelling or self._installing
        self._ui.segmentButton.enabled = not waiting and (running or volume is not None)
        self._ui.logButton.visible = bool(self._log or self._computer.log) and not running
        if not running:
            self._ui.statusLabel.text = self._message or problem
            self._ui.statusLabel.visible = bool(self._ui.statusLabel.text)
        self._ui.segmentButton.toolTip = problem or _("Slicer can be used while the inner ear is segmented")
        self._results.show(latest_run(slicer.mrmlScene, self._parameters.inputVolume))

    def _refresh_progress(self) -> None:
        ui, run = self._ui, self._run
        ui.progressBar.visible = run is not None
        if run is None:
            ui.segmentButton.text = _("Segment inner ear")
            return
        ui.segmentButton.text = _("Cancelling…") if self._cancelling else _("Cancel")
        fraction = hints.progress_fraction(run, self._expected_seconds)
        # Without a length the bar runs to and fro.
        ui.progressBar.maximum = 1000 if fraction else 0
        ui.progressBar.value = round(1000 * fraction)
        ui.statusLabel.visible = True
        ui.statusLabel.text = "\n".join([hints.progress_text(run, self._expected_seconds), *run.notes])

    def _refresh_hints(self, volume: Volume | None) -> None:
        ui, computer = self._ui, self._computer
        try:
            options = SegmenterOptions(**options_of(self._parameters))
            cards = list_models()
            device = computer.device_for(options.device)
            grid = None if volume is None else volume.grid
            card = None if grid is None else chosen_card(grid, options.model, device, cards)
            automatic = "" if grid is None else chosen_card(grid, "auto", device, cards).name
            self._controls.offer_models(cards, automatic)
            self._controls.offer_devices(computer.devices)
            seconds = None if grid is None else computer.seconds_for(grid, options)
            ui.timeLabel.text = hints.time_hint(options, seconds, computer.state, grid is not None)
            ui.modelHint.text = "" if card is None else hints.model_hint(card)
            ui.modelHint.toolTip = "" if card is None else hints.model_advice(card)
        except (InputError, ModelError) as error:
            ui.timeLabel.text, ui.modelHint.text = "", str(error)
        ui.timeLabel.visible = bool(ui.timeLabel.text)
        ui.modelHint.visible = bool(ui.modelHint.text)
        chosen = self._parameters.device
        ui.deviceHint.text = hints.device_hint(computer.computer, computer.state, chosen, lasting_fault())
        ui.deviceHint.toolTip = hints.device_advice(computer.computer)
