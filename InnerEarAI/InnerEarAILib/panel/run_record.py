"""What a run has left in a scene, written into the scene itself: a saved scene still knows its runs.

The segmentation of a run carries a summary of the result and refers to the run's other nodes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer
import slicer.util

from InnerEarAILib.mrml import ATTRIBUTE_PREFIX, INPUT, UNCERTAINTY_COLOUR_TAG, ResultNodes, refresh_legend
from InnerEarAILib.panel.drawn_segments import drawn_segment
from InnerEarAILib.panel.scan_motion import frame_of, motions_since
from InnerEarAILib.result_files import result_summary

SUMMARY = f"{ATTRIBUTE_PREFIX}summary"
"""Attribute of the segmentation: result_files.result_summary as JSON, without the scan's geometry."""

DRAWN = f"{ATTRIBUTE_PREFIX}drawn"
"""Attribute: JSON, the drawn_segments.DrawnSegment of each side after the run."""

SCAN_FRAME = f"{ATTRIBUTE_PREFIX}scanFrame"
"""Attribute: JSON, where the scan lay at the run: scan_motion.frame_of its grid, row by row."""

ITSELF = f"{ATTRIBUTE_PREFIX}segmentation"
"""Node reference of the segmentation to itself: a clone has the attributes too, but not this one to itself."""

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

    def is_shown_in_3d(self) -> bool:
        """Whether its surfaces are."""
        display = self.segmentation.GetDisplayNode()
        return display is not None and bool(display.GetVisibility() and display.GetVisibility3D())

    def motions_of_scan(self) -> list[np.ndarray]:
        """The rigid motions (4, 4), in RAS, that the scan has made since the run; none where that is not known."""
        frame = self.segmentation.GetAttribute(SCAN_FRAME)
        if frame is None:
            # Of an earlier version.
            return []
        return motions_since(np.reshape(json.loads(frame), (4, 4)), self.segmentation.GetNodeReference(INPUT))


def record_run(nodes: ResultNodes) -> RunRecord:
    """Notes in the scene what belongs together, and what was found."""
    summary = {key: value for key, value in result_summary(nodes.result).items() if key != "scan"}
    nodes.segmentation.SetAttribute(SUMMARY, json.dumps(summary, ensure_ascii=False))
    drawn = {ear.side: drawn_segment(nodes.segmentation, ear.side).to_dict() for ear in nodes.result.ears}
    nodes.segmentation.SetAttribute(DRAWN, json.dumps(drawn))
    frame = frame_of(nodes.result.grid)
    nodes.segmentation.SetAttribute(SCAN_FRAME, json.dumps(frame.ravel().tolist()))
    nodes.segmentation.SetNodeReferenceID(ITSELF, nodes.segmentation.GetID())
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


def hide_earlier_runs(nodes: ResultNodes, input_node: slicer.vtkMRMLNode) -> bool:
    """Leaves the surfaces and points of a run alone in the views: those of earlier runs on the scan are hidden.

    Returns:
        Whether surfaces of an earlier run were shown in 3D.
    """
    runs = [_record_of(node) for node in _runs_on(input_node.GetScene(), input_node) if node is not nodes.segmentation]
    were_shown = [run.is_shown_in_3d() for run in runs]
    for run in runs:
        _set_visible(run, False)
    return any(were_shown)


def _set_visible(record: RunRecord, visible: bool) -> None:
    for node in record.drawn():
        if node.GetDisplayNode() is not None:
            node.GetDisplayNode().SetVisibility(visible)


def _runs_on(
    scene: slicer.vtkMRMLScene, input_node: slicer.vtkMRMLNode | None
) -> Iterator[slicer.vtkMRMLSegmentationNode]:
    for number in range(scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode")):
        node = scene.GetNthNodeByClass(number, "vtkMRMLSegmentationNode")
        is_run = node.GetAttribute(SUMMARY) and node.GetNodeReference(ITSELF) is node
        if is_run and node.GetNodeReference(INPUT) is input_node:
            yield node


def remove_run(record: RunRecord) -> None:
    """Takes everything out of the scene that the run brought in, and nothing else; shows what is the latest run then.

    Where its uncertainty lay over the slices, that of the latest run takes its place.
    """
    scene = record.segmentation.GetScene()
    input_node = record.segmentation.GetNodeReference(INPUT)
    overlaid = _slices_under(record.uncertainty)
    for node in record.nodes():
        belongings = [node.GetNthDisplayNode(n) for n in range(node.GetNumberOfDisplayNodes())]
        belongings += [node.GetNthStorageNode(n) for n in range(node.GetNumberOfStorageNodes())]
        for one in (node, *belongings):
            if one is not None and scene.IsNodePresent(one):
                scene.RemoveNode(one)
    _remove_unused_colours(scene)
    latest = latest_run(scene, input_node)
    if latest is not None:
        _show(latest, overlaid)


def _slices_under(uncertainty: slicer.vtkMRMLScalarVolumeNode | None) -> list[slicer.vtkMRMLSliceCompositeNode]:
    if uncertainty is None:
        return []
    composites = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode", uncertainty.GetScene())
    return [composite for composite in composites if composite.GetForegroundVolumeID() == uncertainty.GetID()]


def _show(record: RunRecord, overlaid: list[slicer.vtkMRMLSliceCompositeNode]) -> None:
    _set_visible(record, True)
    if record.uncertainty is not None:
        for composite in overlaid:
            composite.SetForegroundVolumeID(record.uncertainty.GetID())
        refresh_legend(record.uncertainty)


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
