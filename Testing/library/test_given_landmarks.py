"""Files of landmarks: which points they name, and which of them nobody can choose between."""

from __future__ import annotations

import json

import numpy as np
import pytest

from InnerEarAILib.phantom.given_landmarks import read_landmarks
from InnerEarAILib.volume import InputError
from library.written_cases import MARKS


@pytest.mark.parametrize(("first", "second"), [("Apex", "helicotrema"), ("rw", "rw"), ("OvalWindow", "oval_window")])
@pytest.mark.parametrize("suffix", [".mrk.json", ".json", ".fcsv"])
def test_two_points_of_one_landmark_are_refused_by_their_labels(tmp_path, first, second, suffix):
    points = [{"label": first, "position": [1, 2, 3]}, {"label": second, "position": [4, 5, 6]}]
    path = tmp_path / f"ear{suffix}"
    path.write_text(
        {
            ".mrk.json": json.dumps({"markups": [{"controlPoints": points}]}),
            ".json": f'{{"{first}": [1, 2, 3], "{second}": [4, 5, 6]}}',
            ".fcsv": f"# columns = id,x,y,z,label\n1,1,2,3,{first}\n2,4,5,6,{second}\n",
        }[suffix]
    )
    with pytest.raises(InputError, match=f"“{first}” and “{second}”; delete or rename one"):
        read_landmarks(path)


def test_a_second_point_without_a_position_is_passed_over(tmp_path):
    points = [{"label": "Apex", "positionStatus": "undefined"}, {"label": "helicotrema", "position": [4, 5, 6]}]
    (tmp_path / "ear.json").write_text(json.dumps({"markups": [{"controlPoints": points}]}))
    assert read_landmarks(tmp_path / "ear.json")["helicotrema"].tolist() == [4, 5, 6]


def test_a_file_that_windows_marks_as_utf_8_is_read(tmp_path):
    (tmp_path / "ear.json").write_text('{"helicotrema": [1, 2, 3]}', encoding="utf-8-sig")
    assert read_landmarks(tmp_path / "ear.json")["helicotrema"].tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("system", "turn"), [("LPS", (1, 1, 1)), ("1", (1, 1, 1)), ("RAS", (-1, -1, 1)), ("0", (-1, -1, 1))]
)
def test_fcsv_positions_are_read_in_their_coordinate_system(tmp_path, system, turn):
    lines = ["# Markups fiducial file version = 4.11", f"# CoordinateSystem = {system}"]
    lines += ["# columns = id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID"]
    for number, (name, p) in enumerate(MARKS.items()):
        x, y, z = np.array(p) * turn
        lines.append(f"{number},{x},{y},{z},0,0,0,1,1,1,0,{name},,")
    for encoding in ("utf-8", "utf-8-sig"):
        (tmp_path / "a.fcsv").write_text("\n".join(lines), encoding=encoding)
        found = read_landmarks(tmp_path / "a.fcsv")
        assert {name: position.tolist() for name, position in found.items()} == MARKS


@pytest.mark.parametrize("content", ["1,2,3\n", "# columns = id,x,y,z,label\n1,a,2,3,apex\n", "# no point\n", "\xff"])
def test_a_fcsv_file_without_landmarks_is_refused_by_its_name(tmp_path, content):
    (tmp_path / "ear.fcsv").write_text(content, encoding="latin-1")
    with pytest.raises(InputError, match=r"^ear\.fcsv "):
        read_landmarks(tmp_path / "ear.fcsv")
