"""What a run has left in a scene, written into the scene itself: a saved scene still knows its runs.

The segmentation of a run carries a summary of the result and refers to the run's other nodes.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import slicer.util
from vtk.util.numpy_support import vtk_to_numpy

from InnerEarAILib.ear_result import LandmarkResult
from InnerEarAILib.inference.quality import landmark_distances
from InnerEarAILib.landmark_files import write_json
from InnerEarAILib.mrml import ATTRIBUTE_PREFIX, RAS_FROM_LPS, UNCERTAINTY_COLOUR_TAG, ResultNodes
from InnerEarAILib.result_files import result_summary
from InnerEarAILib.volume import InputError

SUMMARY = f"{ATTRIBUTE_PREFIX}summary"
"""Attribute of the segmentation: result_files.result_summary as JSON, without the scan's geometry."""

DRAWN_MM3 = f"{ATTRIBUTE_PREFIX}drawn_mm3"
"""Attribute: JSON, what the voxels of each segment took up after the run; on a scan's own voxels that is not the
volume that was found."""

INPUT = f"{ATTRIBUTE_PREFIX}input"
"""Node reference to the scan; mrml.write_results sets it."""

UNCERTAINTY = f"{ATTRIBUTE_PREFIX}uncertainty"
LANDMARKS = f"{ATTRIBUTE_PREFIX}landmarks."
"""Node references of the segmentation; to the latter the side is added."""

UNMOVED_MM = 1e-4
"""A point that is less far from its place is where the run put it: saved scenes round."""


@dataclass(frozen=True)
class RunRecord:
    """A run in the scene.

    Attributes:
        segmentation: one segment per ear.
        landmarks: by side; without those that the user has deleted.
        uncertainty: None where it was not computed or is deleted.
        summary: as result_files.result_summary gives it, less the scan's geometry.
    """

    segmentation: slicer.vtkMRMLSegmentationNode
    landmarks: Mapping[str, slicer.vtkMRMLMarkupsFiducialNode]
    uncertainty: slicer.vtkMRMLScalarVolumeNode | None
    summary: Mapping[str, Any]

    def nodes(self) -> list[slicer.vtkMRMLDisplayableNode]:
        """All of its nodes that are still in the scene."""
        others = [*self.landmarks.values(), self.uncertainty]
        return [self.segmentation, *(node for node in others if node is not None)]


def record_run(nodes: ResultNodes) -> RunRecord:
    """Notes in the scene what belongs together, and what was found."""
    summary = {key: value for key, value in result_summary(nodes.result).items() if key != "scan"}
    nodes.segmentation.SetAttribute(SUMMARY, json.dumps(summary, ensure_ascii=False))
    drawn = {
        ear.side: float(np.count_nonzero(ear.segmentation.voxels) * np.prod(ear.segmentation.spacing_mm))
        for ear in nodes.result.ears
    }
    nodes.segmentation.SetAttribute(DRAWN_MM3, json.dumps(drawn))
    for side, landmarks in nodes.landmarks.items():
        nodes.segmentation.SetNodeReferenceID(f"{LANDMARKS}{side}", landmarks.GetID())
    if nodes.uncertainty is not None:
        nodes.segmentation.SetNodeReferenceID(UNCERTAINTY, nodes.uncertainty.GetID())
    return RunRecord(nodes.segmentation, dict(nodes.landmarks), nodes.uncertainty, summary)


def latest_run(scene: slicer.vtkMRMLScene, input_node: slicer.vtkMRMLNode | None) -> RunRecord | None:
    """The last of the runs on a scan; None where there is none."""
    if input_node is None:
        return None
    found = None
    for number in range(scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode")):
        node = scene.GetNthNodeByClass(number, "vtkMRMLSegmentationNode")
        if node.GetAttribute(SUMMARY) and node.GetNodeReferenceID(INPUT) == input_node.GetID():
            found = node
    return None if found is None else _record_of(found)


def remove_run(record: RunRecord) -> None:
    """Takes everything out of the scene that the run brought in, and nothing else."""
    scene = record.segmentation.GetScene()
    for node in record.nodes():
        belongings = [node.GetNthDisplayNode(n) for n in range(node.GetNumberOfDisplayNodes())]
        belongings += [node.GetNthStorageNode(n) for n in range(node.GetNumberOfStorageNodes())]
        for one in (node, *belongings):
            if one is not None and scene.IsNodePresent(one):
                scene.RemoveNode(one)
    _remove_unused_colours(scene)


def summary_as_corrected(record: RunRecord) -> dict[str, Any]:
    """The summary of a run with what the user has corrected since: points that were moved, segments that were edited.

    Positions, their distances and volumes are those of the nodes as they are saved. Each ear says under "corrected"
    what is not as the run left it. A corrected point has no confidence and no scatter; what else cannot be told anew
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


def save_run(record: RunRecord, directory: Path, name: str, overwrite: bool = False) -> tuple[Path, ...]:
    """Writes the nodes of a run as they are now, and summary_as_corrected; all files or none.

    Args:
        directory: made where it does not exist.
        name: what the files' names begin with; what no file name can hold is replaced.
        overwrite: whether files of the same names may go.

    Raises:
        FileExistsError: there are such files; its message names one.
        InputError: they cannot be written; nothing has changed.
    """
    name = "".join(letter if letter.isalnum() or letter in "-_ ." else "_" for letter in name).strip(" .") or "scan"
    files = {f"{name}_labyrinth.seg.nrrd": record.segmentation}
    files |= {f"{name}_landmarks_{side}.mrk.json": node for side, node in record.landmarks.items()}
    if record.uncertainty is not None:
        files[f"{name}_uncertainty.nrrd"] = record.uncertainty
    summary = f"{name}_result.json"
    existing = [file for file in (*files, summary) if (directory / file).exists()]
    if existing and not overwrite:
        raise FileExistsError(existing[0])
    names_before = {file: _file_name(node) for file, node in files.items()}
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".writing-", dir=directory) as unfinished:
            for file, node in files.items():
                slicer.util.saveNode(node, str(Path(unfinished, file)))
            write_json(Path(unfinished, summary), summary_as_corrected(record))
            for file in (*files, summary):
                os.replace(Path(unfinished, file), directory / file)
    except (OSError, RuntimeError) as error:
        _set_file_names(files, names_before)
        raise InputError(f"The results cannot be written to {directory} ({error}).") from error
    _set_file_names(files, {file: str(directory / file) for file in files})
    return tuple(directory / file for file in (*files, summary))


def _record_of(node: slicer.vtkMRMLSegmentationNode) -> RunRecord:
    sides = {side: node.GetNodeReference(f"{LANDMARKS}{side}") for side in ("right", "left")}
    return RunRecord(
        node,
        {side: landmarks for side, landmarks in sides.items() if landmarks is not None},
        node.GetNodeReference(UNCERTAINTY),
        json.loads(node.GetAttribute(SUMMARY)),
    )


def _ear_as_corrected(record: RunRecord, ear: Mapping[str, Any]) -> dict[str, Any]:
    volume_mm3, voxel_mm3 = _volume_mm3(record.segmentation, ear["side"])
    points = [
        _landmark_as_corrected(landmark, _position_lps(record.landmarks.get(ear["side"]), number))
        for number, landmark in enumerate(ear["landmarks"])
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
    drawn = json.loads(record.segmentation.GetAttribute(DRAWN_MM3) or "{}")
    if abs(volume_mm3 - drawn.get(ear["side"], ear["volume_mm3"])) > voxel_mm3 / 2:
        ear |= {"volume_mm3": volume_mm3, "corrected": ["labyrinth", *corrected]}
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


def _position_lps(node: slicer.vtkMRMLMarkupsFiducialNode | None, number: int) -> np.ndarray | None:
    """Where a point lies, as its own file has it; None where it is not, or was deleted."""
    if node is None or number >= node.GetNumberOfControlPoints():
        return None
    if node.GetNthControlPointPositionStatus(number) != slicer.vtkMRMLMarkupsNode.PositionDefined:
        return None
    return RAS_FROM_LPS[:3, :3] @ node.GetNthControlPointPosition(number)


def _volume_mm3(node: slicer.vtkMRMLSegmentationNode, side: str) -> tuple[float, float]:
    """Volume of a segment, and of one of its voxels; 0 where the segment is empty or was deleted."""
    if node.GetSegmentation().GetSegment(side) is None:
        return 0.0, 0.0
    # Done already, except where the user has made another representation the source.
    node.CreateBinaryLabelmapRepresentation()
    labels = slicer.vtkOrientedImageData()
    node.GetBinaryLabelmapRepresentation(side, labels)
    voxel_mm3 = float(np.prod(labels.GetSpacing()))
    scalars = labels.GetPointData().GetScalars()
    return (0.0 if scalars is None else float(np.count_nonzero(vtk_to_numpy(scalars)) * voxel_mm3)), voxel_mm3


def _file_name(node: slicer.vtkMRMLStorableNode) -> str | None:
    return None if node.GetStorageNode() is None else node.GetStorageNode().GetFileName()


def _set_file_names(nodes: Mapping[str, slicer.vtkMRMLStorableNode], names: Mapping[str, str | None]) -> None:
    for file, node in nodes.items():
        if node.GetStorageNode() is not None:
            node.GetStorageNode().SetFileName(names[file])


def _remove_unused_colours(scene: slicer.vtkMRMLScene) -> None:
    colours = scene.GetSingletonNode(UNCERTAINTY_COLOUR_TAG, "vtkMRMLProceduralColorNode")
    if colours is None:
        return
    displays = [
        scene.GetNthNodeByClass(number, "vtkMRMLDisplayNode")
        for number in range(scene.GetNumberOfNodesByClass("vtkMRMLDisplayNode"))
    ]
    if not any(display.GetColorNodeID() == colours.GetID() for display in displays):
        scene.RemoveNode(colours)
