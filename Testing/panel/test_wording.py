"""What the library says in fixed words, translated."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import InnerEarAILib
from InnerEarAILib.panel import wording
from InnerEarAILib.result_files import NOTICE
from InnerEarAILib.time_estimate import in_words
from panel.driving import HEARS_NOTHING, start

LIBRARY = Path(InnerEarAILib.__file__).parent

ON_THE_ROUTE = ("worker.py", "segmenter.py", "inference/*.py")
"""What names the steps of a run."""


@pytest.fixture
def translated(monkeypatch):
    """Every sentence that is looked up, in angle brackets."""
    monkeypatch.setattr(wording, "_", lambda text: f"<{text}>")


def fixed_step_names() -> set[str]:
    files = [path for pattern in ON_THE_ROUTE for path in LIBRARY.glob(pattern)]
    return {name for path in files for name in re.findall(r'\.step\("([^"]+)"', path.read_text(encoding="utf-8"))}


def test_every_step_with_a_fixed_name_is_translated(translated):
    names = fixed_step_names()
    assert "Segmenting" in names
    assert {wording.step_name(name) for name in names} == {f"<{name}>" for name in names}
    assert wording.step_name("Loading the model clinical") == "<Loading the model clinical>"
    assert wording.step_name("Trying the model gold on cpu") == "Trying the model gold on cpu"


@pytest.mark.parametrize("seconds", [1, 20, 60, 600, 3600, 9000])
def test_durations_are_translated_and_as_the_library_says_them(translated, seconds):
    assert wording.duration(seconds) == f"<{in_words(seconds)}>"


def test_the_notice_is_translated_and_as_in_the_result_files(translated):
    assert wording.notice() == f"<{NOTICE}>"


def test_the_panel_speaks_the_users_language(panel, scan, answers, translated):
    panel.widget.enter()
    assert re.search(r"About <\d+ \w+> on this computer", panel.widget.ui.timeLabel.text)
    answers(HEARS_NOTHING)
    start(panel)
    assert "<Segmenting>" in panel.widget.ui.statusLabel.text
