"""What the library says in fixed words, in the user's language: the library itself runs without Slicer."""

from __future__ import annotations

from slicer.i18n import tr as _

from InnerEarAILib.time_estimate import in_words


def notice() -> str:
    """result_files.NOTICE; a translation is looked up by the sentence as it stands here."""
    return _("For research use; not a medical device.")


def duration(seconds: float) -> str:
    """time_estimate.in_words."""
    number, unit = in_words(seconds).split()
    texts = {
        "seconds": _("{number} seconds"),
        "minute": _("{number} minute"),
        "minutes": _("{number} minutes"),
        "hour": _("{number} hour"),
        "hours": _("{number} hours"),
    }
    return texts[unit].format(number=number)


def step_name(step: str) -> str:
    """The name of a run's step, as Progress has it; one that is not known here stays as it is."""
    loading = "Loading the model "
    if step.startswith(loading):
        return _("Loading the model {name}").format(name=step.removeprefix(loading))
    return {
        "Starting": _("Starting"),
        "Reading the scan": _("Reading the scan"),
        "Resampling the scan": _("Resampling the scan"),
        "Finding the ears": _("Finding the ears"),
        "Trying how fast this computer is": _("Trying how fast this computer is"),
        "Segmenting": _("Segmenting"),
        "Drawing the labyrinth": _("Drawing the labyrinth"),
        "Handing over the result": _("Handing over the result"),
    }.get(step, step)
