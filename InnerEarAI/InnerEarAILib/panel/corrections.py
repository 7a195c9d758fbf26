"""What the user has corrected since a run: points that were moved, segments that were edited."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import slicer

from InnerEarAILib.ear_result import LandmarkResult
from InnerEarAILib.inference.quality import landmark_distances
from InnerEarAILib.labyrinth_files import VOLUME_TAG
from InnerEarAILib.mrml import RAS_FROM_LPS
from InnerEarAILib.panel.drawn_segments import DrawnSegment, drawn_segment
from InnerEarAILib.panel.run_record import DRAWN, RunRecord

LABYRINTH = "labyrinth"
"""Stands under "corrected" for a segment, as the landmarks' names do for points."""

UNMOVED_MM = 1e-4
"""A point that is less far from its place is where the run put it: saved scenes round."""


def summary_as_corrected(record: RunRecord) -> dict[str, Any]:
    """The summary of a run with what the user has corrected since.

    Positions, their distances and volumes are those of the nodes as they are. Each ear says under "corrected" what is
    not as the run left it. A corrected point has no confidence and no scatter; what else cannot be told anew
    (uncertainty, canals, flags) stays as it was before, and a note says so.
    """
    ears = [_ear_as_corrected(record, ear) for ear in record.summary["ears"]]
    summary = {**record.summary, "ears": ears}
    parts = [f"{part} ({ear['side']})" for ear in ears for part in ear["corrected"]]
    if parts:
        note = (
            f"Corrected after the run: {', '.join(parts)}. Volumes, positions and distances are as corrected; "
            "uncertainty, canals and flags are those of the run, before the corrections."
        )
        summary["notes"] = [*record.summary.get("notes", ()), note]
    return summary


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


def _ear_as_corrected(record: RunRecord, ear: Mapping[str, Any]) -> dict[str, Any]:
    side = ear["side"]
    points = [
        _landmark_as_corrected(landmark, _position_lps(record, side, landmark["name"])) for landmark in ear["landmarks"]
    ]
    corrected = [point["name"] for point, before in zip(points, ear["landmarks"], strict=True) if point != before]
    ear = {**ear, "landmarks": points, "corrected": corrected}
    if corrected:
        found = tuple(
            LandmarkResult(point["name"], np.array(point["position_lps"]), 1.0)
            for point in points
            if point["position_lps"]
        )
        ear["distances_mm"] = landmark_distances(found)
    drawn = drawn_segment(record.segmentation, side)
    before = json.loads(record.segmentation.GetAttribute(DRAWN))[side]
    if not drawn.is_as(DrawnSegment.from_dict(before)):
        ear |= {"volume_mm3": drawn.volume_mm3, "corrected": [LABYRINTH, *corrected]}
    return ear


def _landmark_as_corrected(landmark: Mapping[str, Any], position_lps: np.ndarray | None) -> Mapping[str, Any]:
    before = landmark["position_lps"]
    if position_lps is None:
        is_as_before, position = before is None, None
    else:
        is_as_before = before is not None and np.abs(position_lps - before).max() < UNMOVED_MM
        position = position_lps.tolist()
    if is_as_before:
        return landmark
    return {**landmark, "position_lps": position, "confidence": None, "scatter_mm": None}


def _position_lps(record: RunRecord, side: str, name: str) -> np.ndarray | None:
    """Where a point lies, as its own file has it; None where it is not, or was deleted."""
    number = control_point(record, side, name)
    if number is None:
        return None
    return RAS_FROM_LPS[:3, :3] @ record.landmarks[side].GetNthControlPointPosition(number)
