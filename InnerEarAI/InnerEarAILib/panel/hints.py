"""What the panel says beside its controls: how long, with which model, on what. Sentences alone, no widgets."""

from __future__ import annotations

from typing import Literal

from slicer.i18n import tr as _

from InnerEarAILib.model_card import ModelCard
from InnerEarAILib.panel.computer import Computer
from InnerEarAILib.panel.run import Run
from InnerEarAILib.panel.wording import duration, step_name
from InnerEarAILib.segmenter_options import SegmenterOptions

ProbeState = Literal["missing", "faulty", "probing", "failed", "known"]
"""How far the panel knows the computer; or why it cannot be looked at: something is not installed, or unfit."""


def time_hint(options: SegmenterOptions, seconds: float | None, state: ProbeState, has_input: bool) -> str:
    """What the choice means, and how long it takes on this computer.

    Args:
        options: what is chosen.
        seconds: the estimate; None where there is none.
        state: why there may be none.
        has_input: whether a scan is chosen that can be used.
    """
    preset = options.resolved()
    where = _("round each ear") if preset.locate else _("everywhere in the scan")
    if preset.views == 1:
        what = _("One view {where}.").format(where=where)
    else:
        what = _("{views} views {where}.").format(views=preset.views, where=where)
    if state == "missing":
        when = _("The time can be told once what the networks need is installed.")
    elif state == "probing":
        when = _("Measuring how fast this computer is…")
    elif seconds is not None:
        when = _("About {time} on this computer.").format(time=duration(seconds))
    elif not has_input:
        when = ""
    else:
        when = _("How long it takes is not known.")
    return f"{what}\n{when}".strip()


def model_hint(card: ModelCard) -> str:
    """What a model is, and the first thing to know of its limits."""
    limit = card.limits.partition(". ")[0]
    return _("{name} {version}. {limit}.").format(name=card.name, version=card.version, limit=limit.rstrip("."))


def model_advice(card: ModelCard) -> str:
    """All of a model's limits, and what it was trained on; for a tooltip."""
    return _("{limits}\nTrained on: {trained_on}").format(limits=card.limits, trained_on=card.trained_on)


def device_hint(computer: Computer | None, state: ProbeState, choice: str, fault: str) -> str:
    """What computes, and why not a GPU where there is none; or what is wrong with Slicer or PyTorch."""
    if fault:
        return fault
    if state == "missing":
        return _("What the networks need is not installed yet. The first run asks before it installs anything.")
    if state == "probing":
        return _("Looking for a GPU…")
    if computer is None:
        return _("What this computer has could not be found out; the log says why.")
    device = computer.device_for(choice)
    if device not in computer.devices:
        return _("{device} is not on this computer; choose another.").format(device=device)
    description = computer.devices[device]
    if not device.startswith("cpu"):
        return _("Found: {description}.").format(description=description)
    if computer.no_gpu:
        return _("No GPU found: {reason}. The CPU is used, {threads}.").format(
            reason=computer.no_gpu, threads=description.removeprefix("CPU, ")
        )
    return _("The CPU is used, {threads}; a GPU would be faster.").format(threads=description.removeprefix("CPU, "))


def device_advice(computer: Computer | None) -> str:
    """What can be done about a GPU that is not found; for a tooltip."""
    if computer is None or not computer.no_gpu:
        return ""
    return _(
        "If this computer has an NVIDIA GPU, update its driver, then reinstall PyTorch in the module PyTorch Utils: it "
        "chooses the build that fits the driver."
    )


def progress_text(run: Run, expected_seconds: float | None) -> str:
    """Where a run stands: the step, and how long it will still take."""
    step = step_name(run.step or "Starting")
    if 0 < run.fraction < 1:
        step = f"{step}, {run.fraction:.0%}"
    left = run.step_seconds_left() if expected_seconds is None else expected_seconds - run.seconds
    if left is None:
        return step
    if left < 0:
        return _("{step}. It takes longer than expected.").format(step=step)
    if expected_seconds is None:
        return _("{step}. About {time} left in this step.").format(step=step, time=duration(left))
    return _("{step}. About {time} left.").format(step=step, time=duration(left))


def progress_fraction(run: Run, expected_seconds: float | None) -> float:
    """How far a run is, 0 to 1: by the time expected, else by the step it is in; never done before it is."""
    if expected_seconds is None:
        return run.fraction
    return min(run.seconds / max(expected_seconds, 1.0), 0.97)
