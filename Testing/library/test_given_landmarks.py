"""Files of landmarks: which points they name, and which of them nobody can choose between."""

from __future__ import annotations

import json

import pytest

from InnerEarAILib.phantom.given_landmarks import read_landmarks
from InnerEarAILib.volume import InputError


@pytest.mark.parametrize(("first", "second"), [("Apex", "helicotrema"), ("rw", "rw"), ("OvalWindow", "oval_window")])
@pytest.mark.parametrize("kind", ["markups", "plain"])
def test_two_points_of_one_landmark_are_refused_by_their_labels(tmp_path, first, second, kind):
    points = [{"label": first, "position": [1, 2, 3]}, {"label": second, "position": [4, 5, 6]}]
    plain = f'{{"{first}": [1, 2, 3], "{second}": [4, 5, 6]}}'
    path = tmp_path / "ear.json"
    path.write_text(json.dumps({"markups": [{"controlPoints": points}]}) if kind == "markups" else plain)
    with pytest.raises(InputError, match=f"“{first}” and “{second}”; delete or rename one"):
        read_landmarks(path)


def test_a_second_point_without_a_position_is_passed_over(tmp_path):
    points = [{"label": "Apex", "positionStatus": "undefined"}, {"label": "helicotrema", "position": [4, 5, 6]}]
    (tmp_path / "ear.json").write_text(json.dumps({"markups": [{"controlPoints": points}]}))
    assert read_landmarks(tmp_path / "ear.json")["helicotrema"].tolist() == [4, 5, 6]


def test_a_file_that_windows_marks_as_utf_8_is_read(tmp_path):
    (tmp_path / "ear.json").write_text('{"helicotrema": [1, 2, 3]}', encoding="utf-8-sig")
    assert read_landmarks(tmp_path / "ear.json")["helicotrema"].tolist() == [1, 2, 3]
