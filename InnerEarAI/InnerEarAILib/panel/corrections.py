"""What the user has corrected since a run: points that were moved, segments that were edited."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import slicer

from InnerEarAILib.ear_result import LandmarkResult
from InnerEarAILib.inference.quality import landmark_distances
from InnerEarAILib.labyrinth_files import VOLUME_TAG
from InnerEarAILib.mrml import RAS_FROM_LPS
from InnerEarAILib.panel.drawn_segments import SAME_PLACE_MM, DrawnSegment, drawn_segment
from InnerEarAILib.panel.run_record import DRAWN, RunRecord

LABYRINTH = "labyrinth"
"""Stands under "corrected" for a segment, as the landmarks' names do for points."""


def summary_as_corrected(record: RunRecord) -> dict[str, Any]:
    """The summary of a run with what the user has corrected since.

    Positions, their distances and volumes are those of the nodes as they are. Each ear says under "corrected" what is
    not as the run left it. A corrected point has no confidence and no scatter; what else cannot be told anew
    (uncertainty, canals, flags) stays as it was before, and a note says so. What was moved as the scan was is not
    corrected: it has another position and nothing else.
    """
    motions = [np.eye(4), *record.motions_of_scan()]
    ears = [_ear_as_corrected(record, ear, motions) for ear in record.summary["ears"]]
    notes = [*record.summary.get("notes", ()), *_notes_on(ears, record.summary["ears"])]
    return {**record.summary, "ears": ears, "notes": notes}


def control_point(record: RunRecord, side: str, name: str) -> int | None:
    """The number of a landmark's point in its node; None where there is no such point, or it has no position.

    A point is known by its label. One whose label is no landmark's is known by its place in the list: it was renamed.
    """
    node = record.landmarks.get(side)
    names = [landmark["name"] for ear in record.summary["ears"] if ear["side"] == side for landmark in ear["landmarks"]]
    if node is None:
        return None
    labels = [node.GetNthControlPointLabel(number) for number in range(node.GetNumberOfControlPoints())]
    number = names.index(name)
    if name in labels:
        number = labels.index(name)
    elif number >= len(labels) or labels[number] in names:
        return None
    is_set = node.GetNthControlPointPositionStatus(number) == slicer.vtkMRMLMarkupsNode.PositionDefined
    return number if is_set else None


def mark_corrections(record: RunRecord) -> None:
    """Takes the network's figures off the points and segments that are no longer as it drew them."""
    for ear in summary_as_corrected(record)["ears"]:
        for part in ear["corrected"]:
            if part == LABYRINTH:
                _mark_segment(record.segmentation.GetSegmentation().GetSegment(ear["side"]), ear["volume_mm3"])
                continue
            number = control_point(record, ear["side"], part)
            if number is not None:
                record.landmarks[ear["side"]].SetNthControlPointDescription(number, "placed by hand")


def _mark_segment(segment: slicer.vtkSegment | None, volume_mm3: float) -> None:
    if segment is not None:
        segment.SetTag("DICOM.SegmentAlgorithmType", "SEMIAUTOMATIC")
        segment.SetTag(VOLUME_TAG, f"{volume_mm3:.2f}")


def _notes_on(ears: Sequence[Mapping[str, Any]], before: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    parts = [f"{part} ({ear['side']})" for ear in ears for part in ear["corrected"]]
    if parts:
        yield (
            f"Corrected after the run: {', '.join(parts)}. Volumes, positions and distances are as corrected; "
            "uncertainty, canals and flags are those of the run, before the corrections."
        )
    if any(_was_moved_with_the_scan(*pair) for pair in zip(ears, before, strict=True)):
        yield "Moved with the scan after the run; positions are as they are now."


def _was_moved_with_the_scan(ear: Mapping[str, Any], before: Mapping[str, Any]) -> bool:
    return any(
        point["position_lps"] != found["position_lps"] and point["name"] not in ear["corrected"]
        for point, found in zip(ear["landmarks"], before["landmarks"], strict=True)
    )


def _ear_as_corrected(record: RunRecord, ear: Mapping[str, Any], motions: Sequence[np.ndarray]) -> dict[str, Any]:
    side = ear["side"]
    points = [
        _landmark_as_corrected(landmark, _position_lps(record, side, landmark["name"]), motions)
        for landmark in ear["landmarks"]
    ]
    corrected = [
        point["name"]
        for point, before in zip(points, ear["landmarks"], strict=True)
        if not _is_where_it_was(point["position_lps"], before["position_lps"], motions)
    ]
    ear = {**ear, "landmarks": points, "corrected": corrected}
    if corrected:
        found = tuple(
            LandmarkResult(point["name"], np.array(point["position_lps"]), 1.0)
            for point in points
            if point["position_lps"]
        )
        ear["distances_mm"] = landmark_distances(found)
    drawn = drawn_segment(record.segmentation, side)
    before = DrawnSegment.from_dict(json.loads(record.segmentation.GetAttribute(DRAWN))[side])
    if not any(drawn.is_as(before.moved(motion)) for motion in motions):
        ear |= {"volume_mm3": drawn.volume_mm3, "corrected": [LABYRINTH, *corrected]}
    return ear


def _landmark_as_corrected(
    landmark: Mapping[str, Any], position_lps: np.ndarray | None, motions: Sequence[np.ndarray]
) -> Mapping[str, Any]:
    before = landmark["position_lps"]
    if _is_where_it_was(position_lps, before, [np.eye(4)]):
        return landmark
    landmark = {**landmark, "position_lps": None if position_lps is None else position_lps.tolist()}
    if _is_where_it_was(position_lps, before, motions):
        return landmark
    return {**landmark, "confidence": None, "scatter_mm": None}


def _is_where_it_was(
    position_lps: Sequence[float] | None, before_lps: Sequence[float] | None, motions_ras: Sequence[np.ndarray]
) -> bool:
    """Whether a point is where one of the motions has brought it; None where there is no point."""
    if position_lps is None or before_lps is None:
        return position_lps is None and before_lps is None
    before_ras = RAS_FROM_LPS @ (*before_lps, 1.0)
    distances_mm = [np.abs(RAS_FROM_LPS @ motion @ before_ras - (*position_lps, 1.0)).max() for motion in motions_ras]
    return min(distances_mm) < SAME_PLACE_MM


def _position_lps(record: RunRecord, side: str, name: str) -> np.ndarray | None:
    """Where a point lies, as its own file has it; None where it is not, or was deleted."""
    number = control_point(record, side, name)
    if number is None:
        return None
    return RAS_FROM_LPS[:3, :3] @ record.landmarks[side].GetNthControlPointPosition(number)
