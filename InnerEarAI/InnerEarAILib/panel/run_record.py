"""What a run has left in a scene, written into the scene itself: a saved scene still knows its runs.

The segmentation of a run carries a summary of the result and refers to the run's other nodes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import slicer

from InnerEarAILib.mrml import ATTRIBUTE_PREFIX, UNCERTAINTY_COLOUR_TAG, ResultNodes
from InnerEarAILib.panel.drawn_segments import drawn_segment
from InnerEarAILib.result_files import result_summary

SUMMARY = f"{ATTRIBUTE_PREFIX}summary"
"""Attribute of the segmentation: result_files.result_summary as JSON, without the scan's geometry."""

DRAWN = f"{ATTRIBUTE_PREFIX}drawn"
"""Attribute: JSON, the drawn_segments.DrawnSegment of each side after the run."""

INPUT = f"{ATTRIBUTE_PREFIX}input"
"""Node reference to the scan; mrml.write_results sets it."""

UNCERTAINTY = f"{ATTRIBUTE_PREFIX}uncertainty"
LANDMARKS = f"{ATTRIBUTE_PREFIX}landmarks."
"""Node references of the segmentation; to the latter the side is added."""


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

    def drawn(self) -> list[slicer.vtkMRMLDisplayableNode]:
        """Those of its nodes that are surfaces and points."""
        return [self.segmentation, *self.landmarks.values()]

    def nodes(self) -> list[slicer.vtkMRMLDisplayableNode]:
        """All of its nodes that are still in the scene."""
        return [*self.drawn(), *([] if self.uncertainty is None else [self.uncertainty])]


def record_run(nodes: ResultNodes) -> RunRecord:
    """Notes in the scene what belongs together, and what was found."""
    summary = {key: value for key, value in result_summary(nodes.result).items() if key != "scan"}
    nodes.segmentation.SetAttribute(SUMMARY, json.dumps(summary, ensure_ascii=False))
    drawn = {ear.side: drawn_segment(nodes.segmentation, ear.side).to_dict() for ear in nodes.result.ears}
    nodes.segmentation.SetAttribute(DRAWN, json.dumps(drawn))
    for side, landmarks in nodes.landmarks.items():
        nodes.segmentation.SetNodeReferenceID(f"{LANDMARKS}{side}", landmarks.GetID())
    if nodes.uncertainty is not None:
        nodes.segmentation.SetNodeReferenceID(UNCERTAINTY, nodes.uncertainty.GetID())
    return RunRecord(nodes.segmentation, dict(nodes.landmarks), nodes.uncertainty, summary)


def latest_run(scene: slicer.vtkMRMLScene, input_node: slicer.vtkMRMLNode | None) -> RunRecord | None:
    """The last of the runs on a scan; None where there is none.

    Without a scan, the last of those whose scan is no longer in the scene.
    """
    *_, found = (None, *_runs_on(scene, input_node))
    return None if found is None else _record_of(found)


def hide_earlier_runs(nodes: ResultNodes, input_node: slicer.vtkMRMLNode) -> None:
    """Leaves the surfaces and points of a run alone in the views: those of earlier runs on the scan are hidden."""
    for segmentation in _runs_on(input_node.GetScene(), input_node):
        if segmentation is nodes.segmentation:
            continue
        for node in _record_of(segmentation).drawn():
            if node.GetDisplayNode() is not None:
                node.GetDisplayNode().SetVisibility(False)


def _runs_on(
    scene: slicer.vtkMRMLScene, input_node: slicer.vtkMRMLNode | None
) -> Iterator[slicer.vtkMRMLSegmentationNode]:
    for number in range(scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode")):
        node = scene.GetNthNodeByClass(number, "vtkMRMLSegmentationNode")
        if node.GetAttribute(SUMMARY) and node.GetNodeReference(INPUT) is input_node:
            yield node


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


def _record_of(node: slicer.vtkMRMLSegmentationNode) -> RunRecord:
    sides = {side: node.GetNodeReference(f"{LANDMARKS}{side}") for side in ("right", "left")}
    return RunRecord(
        node,
        {side: landmarks for side, landmarks in sides.items() if landmarks is not None},
        node.GetNodeReference(UNCERTAINTY),
        json.loads(node.GetAttribute(SUMMARY)),
    )


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
