"""Results as nodes of a MRML scene, and volume nodes as Volume. All else speaks LPS.

Everything is in world coordinates: a linear transform above the input counts as part of its position, so that results
lie where the user sees the scan.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import slicer
import slicer.util
import vtk
from vtk.util.numpy_support import numpy_to_vtk

from InnerEarAILib.ear_result import EarResult, ScanResult, Side
from InnerEarAILib.labyrinth_files import (
    LABELS,
    SEGMENT_COLOURS,
    SEGMENT_NAMES,
    joint_labels,
    reference_geometry,
    segment_tags,
)
from InnerEarAILib.landmark_files import landmark_description
from InnerEarAILib.result_files import UNCERTAINTY_MEANING, uncertainty_on
from InnerEarAILib.volume import InputError, Volume

RAS_FROM_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])

ATTRIBUTE_PREFIX = "InnerEarAI."
"""Every node attribute of ours begins with this."""

INPUT = f"{ATTRIBUTE_PREFIX}input"
"""Node reference of every node of ours to the scan."""

MODEL = f"{ATTRIBUTE_PREFIX}model"
"""Every node of ours has this attribute: a volume that has it is an uncertainty."""

LANDMARK_COLOUR = (0.60, 1.00, 0.35)
"""Red, green, blue: seen on grey, on either labyrinth's colour and on every uncertainty."""

UNCERTAINTY_WINDOW = (0.0, 0.5)
"""No standard deviation of values between 0 and 1 is larger than one half."""

UNCERTAINTY_VISIBLE = 0.2
"""Voxels of a smaller standard deviation stay clear in the overlay: at most one in 24 of them would be wrong; ours."""

UNCERTAINTY_OPACITY = 0.6
"""Of the overlay on the scan, 0 to 1."""

UNCERTAINTY_COLOURS = (
    (0.00, 0.16, 0.08, 0.42),
    (0.10, 0.42, 0.14, 0.66),
    (0.20, 0.74, 0.21, 0.67),
    (0.33, 0.96, 0.47, 0.70),
    (0.50, 1.00, 0.92, 0.93),
)
"""(standard deviation, red, green, blue): the lighter, the less sure."""

UNCERTAINTY_COLOUR_TAG = "InnerEarAIUncertainty"
"""Singleton tag: one colour map for all uncertainty volumes of a scene."""


@dataclass(frozen=True)
class ResultNodes:
    """What a run leaves in the scene.

    Attributes:
        segmentation: one segment per ear, with the IDs "right" and "left", on the results' own fine grid.
        landmarks: one node of three points per ear.
        uncertainty: of EarResult, on the input's grid, 0 where the network did not look; None without an ear.
        result: what the nodes show, with figures, flags and provenance.
    """

    segmentation: slicer.vtkMRMLSegmentationNode
    landmarks: Mapping[Side, slicer.vtkMRMLMarkupsFiducialNode]
    uncertainty: slicer.vtkMRMLScalarVolumeNode | None
    result: ScanResult

    def all(self) -> list[slicer.vtkMRMLDisplayableNode]:
        """The nodes as a list, as they stand in the hierarchy."""
        return [
            self.segmentation,
            *self.landmarks.values(),
            *([] if self.uncertainty is None else [self.uncertainty]),
        ]


def volume_from_node(node: slicer.vtkMRMLScalarVolumeNode) -> Volume:
    """The scan that a volume node shows, in world coordinates, without a copy of its voxels (they are read-only).

    Args:
        node: a scalar volume, of any orientation and handedness; a linear transform above it is applied.

    Raises:
        InputError: if there is no image, if it is a label map, a colour or a vector image, or a result of ours, or if
            it lies under a transform that is not linear.
    """
    if node is None or not node.IsA("vtkMRMLScalarVolumeNode"):
        raise InputError("No volume was given; choose the CT scan.")
    name = node.GetName()
    if node.GetAttribute(MODEL):
        raise InputError(f"'{name}' is the uncertainty of an earlier run, not a CT scan; choose the scan itself.")
    if node.GetImageData() is None or node.GetImageData().GetNumberOfPoints() == 0:
        raise InputError(f"The volume '{name}' holds no image; load the scan again.")
    if node.IsA("vtkMRMLLabelMapVolumeNode"):
        raise InputError(f"'{name}' is a label map, not a CT scan; choose the scan itself.")
    components = node.GetImageData().GetNumberOfScalarComponents()
    if components != 1:
        raise InputError(f"'{name}' has {components} values per voxel (a colour or vector image); choose a CT scan.")
    transform = node.GetParentTransformNode()
    affine_ras = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(affine_ras)
    if transform is not None:
        if not transform.IsTransformToWorldLinear():
            raise InputError(
                f"'{name}' lies under the warping transform '{transform.GetName()}'; harden it on the scan first "
                "(Data module, right click on the transform)."
            )
        to_world = vtk.vtkMatrix4x4()
        transform.GetMatrixTransformToWorld(to_world)
        vtk.vtkMatrix4x4.Multiply4x4(to_world, affine_ras, affine_ras)
    voxels = slicer.util.arrayFromVolume(node).view()
    voxels.flags.writeable = False
    return Volume(voxels, RAS_FROM_LPS @ slicer.util.arrayFromVTKMatrix(affine_ras), name)


def add_results(result: ScanResult, input_node: slicer.vtkMRMLScalarVolumeNode) -> ResultNodes:
    """Adds a result to the scene of its input: all of it, or nothing.

    Args:
        result: at least one ear, in world LPS.
        input_node: the volume that the result was computed from.

    Raises:
        ValueError: if the result has no ear.
    """
    if not result.ears:
        raise ValueError("a result without an ear has nothing to show")
    scene = input_node.GetScene()
    with _whole_or_absent(scene):
        nodes = ResultNodes(
            _add_segmentation(result, input_node),
            {ear.side: _add_landmarks(ear, input_node) for ear in result.ears},
            _add_uncertainty(result, input_node),
            result,
        )
        for node in nodes.all():
            _note_provenance(node, result, input_node)
            _place_beside(input_node, node)
    return nodes


def noted_if_moved(result: ScanResult, input_node: slicer.vtkMRMLScalarVolumeNode) -> ScanResult:
    """The result, with a note where the scan no longer lies as it did when it was read."""
    try:
        grid = volume_from_node(input_node).grid
        is_there = grid.shape == result.grid.shape and np.allclose(grid.affine_lps, result.grid.affine_lps, atol=1e-4)
    except InputError:
        is_there = False
    if is_there:
        return result
    note = (
        f"'{input_node.GetName()}' was moved or changed while it was looked at; the results lie where it was. "
        "Undo that, or segment it again."
    )
    return replace(result, notes=(*result.notes, note))


def show_results(
    nodes: ResultNodes,
    input_node: slicer.vtkMRMLScalarVolumeNode,
    reset_3d: bool = True,
) -> None:
    """Shows the scan in all slice views with the uncertainty over it, and centres them on the first ear.

    Without uncertainty that of an earlier run is taken off; what else the user has laid over the scan stays.

    Slice views that showed another volume are fitted to the scan first; the others keep their zoom.

    Args:
        nodes: what add_results gave.
        input_node: the scan.
        reset_3d: look at all that is shown in the 3D views.
    """
    of_another_volume = [
        view for view in _slice_logics() if not _is_background(view.GetSliceCompositeNode(), input_node)
    ]
    slicer.util.setSliceViewerLayers(background=input_node)
    if nodes.uncertainty is None:
        take_uncertainties_off(input_node.GetScene())
    else:
        slicer.util.setSliceViewerLayers(foreground=nodes.uncertainty, foregroundOpacity=UNCERTAINTY_OPACITY)
    for view in of_another_volume:
        view.FitSliceToBackground()
    if nodes.uncertainty is not None:
        refresh_legend(nodes.uncertainty)
    segment_id = nodes.segmentation.GetSegmentation().GetNthSegmentID(0)
    centre_ras = nodes.segmentation.GetSegmentCenterRAS(segment_id)
    slice_node = slicer.vtkMRMLSliceNode
    slice_node.JumpAllSlices(input_node.GetScene(), *centre_ras, slice_node.CenteredJumpSlice)
    if reset_3d and slicer.app.layoutManager() is not None:
        slicer.util.resetThreeDViews()


def is_looked_at(volume_node: slicer.vtkMRMLScalarVolumeNode) -> bool:
    """Whether a volume is the background of a slice view."""
    composites = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode", volume_node.GetScene())
    return any(_is_background(composite, volume_node) for composite in composites)


def take_uncertainties_off(scene: slicer.vtkMRMLScene) -> None:
    """Takes every uncertainty of ours off the slices; what else lies over a scan stays."""
    for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode", scene):
        overlaid = scene.GetNodeByID(composite.GetForegroundVolumeID() or "")
        if overlaid is not None and overlaid.GetAttribute(MODEL):
            composite.SetForegroundVolumeID(None)
            refresh_legend(overlaid)


def refresh_legend(uncertainty: slicer.vtkMRMLScalarVolumeNode) -> None:
    """Shows the legend of an uncertainty where its volume is shown, and only there."""
    legend = slicer.modules.colors.logic().GetColorLegendDisplayNode(uncertainty)
    if legend is not None:
        # It follows the layers only where a user's hand changes them.
        legend.Modified()


def _is_background(composite: slicer.vtkMRMLSliceCompositeNode, node: slicer.vtkMRMLScalarVolumeNode) -> bool:
    return composite.GetBackgroundVolumeID() == node.GetID()


def _slice_logics() -> list[slicer.vtkMRMLSliceLogic]:
    # Without a main window there may be no collection at all.
    logics = slicer.app.applicationLogic().GetSliceLogics()
    return [] if logics is None else [logics.GetItemAsObject(n) for n in range(logics.GetNumberOfItems())]


def _add_segmentation(result: ScanResult, input_node: slicer.vtkMRMLScalarVolumeNode) -> slicer.vtkMRMLSegmentationNode:
    node = _add_node(input_node, "vtkMRMLSegmentationNode", "inner ear")
    node.CreateDefaultDisplayNodes()
    joint = joint_labels(result.ears)
    labels = _oriented_image(joint)
    # The scan stays the reference for scripts that ask for the segments on its grid. But the grid of the segments is
    # the fine one: with the scan's in the conversion parameter, Slicer would write the whole scan oversampled to it.
    node.SetReferenceImageGeometryParameterFromVolumeNode(input_node)
    node.GetSegmentation().SetConversionParameter(
        slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName(),
        reference_geometry(joint),
    )
    model = str(result.provenance.get("model", ""))
    for ear in result.ears:
        node.GetSegmentation().AddSegment(_segment(ear, labels, model), ear.side)
    if not node.CreateClosedSurfaceRepresentation():
        raise RuntimeError("Slicer could not make a surface of the segmentation")
    display = node.GetDisplayNode()
    # The outline says where the border is; a faint fill leaves the scan and the uncertainty under it legible.
    display.SetOpacity2DFill(0.12)
    display.SetOpacity2DOutline(1.0)
    display.SetSliceIntersectionThickness(3)
    display.SetPreferredDisplayRepresentationName2D(
        slicer.vtkSegmentationConverter.GetSegmentationClosedSurfaceRepresentationName()
    )
    return node


def _segment(ear: EarResult, labels: slicer.vtkOrientedImageData, model: str) -> slicer.vtkSegment:
    segment = slicer.vtkSegment()
    segment.SetName(SEGMENT_NAMES[ear.side])
    segment.SetNameAutoGenerated(False)
    segment.SetColor(SEGMENT_COLOURS[ear.side])
    segment.SetColorAutoGenerated(False)
    segment.SetLabelValue(LABELS[ear.side])
    segment.AddRepresentation(slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName(), labels)
    for name, value in segment_tags(ear, model).items():
        segment.SetTag(name, value)
    return segment


def _oriented_image(volume: Volume) -> slicer.vtkOrientedImageData:
    image = slicer.vtkOrientedImageData()
    image.SetDimensions(*reversed(volume.voxels.shape))
    image.GetPointData().SetScalars(numpy_to_vtk(volume.voxels.ravel(), deep=True))
    image.SetImageToWorldMatrix(slicer.util.vtkMatrixFromArray(RAS_FROM_LPS @ volume.affine_lps))
    return image


def _add_landmarks(ear: EarResult, input_node: slicer.vtkMRMLScalarVolumeNode) -> slicer.vtkMRMLMarkupsFiducialNode:
    node = _add_node(input_node, "vtkMRMLMarkupsFiducialNode", f"{ear.side} landmarks")
    node.CreateDefaultDisplayNodes()
    for landmark in ear.landmarks:
        position_lps = np.zeros(3) if landmark.position_lps is None else landmark.position_lps
        index = node.AddControlPoint(*(RAS_FROM_LPS[:3, :3] @ position_lps), landmark.name)
        node.SetNthControlPointDescription(index, landmark_description(landmark))
        node.SetNthControlPointAssociatedNodeID(index, input_node.GetID())
        if landmark.position_lps is None:
            node.UnsetNthControlPointPosition(index)
    node.SetFixedNumberOfControlPoints(True)
    display = node.GetDisplayNode()
    display.SetSelectedColor(*LANDMARK_COLOUR)
    display.SetActiveColor(1.0, 1.0, 1.0)
    display.SetTextScale(2.8)
    display.SetGlyphScale(1.6)
    display.SetSliceProjection(True)
    display.SetSliceProjectionOpacity(0.35)
    display.SetOccludedVisibility(True)
    return node


def _add_uncertainty(
    result: ScanResult, input_node: slicer.vtkMRMLScalarVolumeNode
) -> slicer.vtkMRMLScalarVolumeNode | None:
    maps = [ear.uncertainty for ear in result.ears if ear.uncertainty is not None]
    if not maps:
        return None
    node = _add_node(input_node, "vtkMRMLScalarVolumeNode", "uncertainty")
    slicer.util.updateVolumeFromArray(node, uncertainty_on(result.grid, maps).voxels)
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(RAS_FROM_LPS @ result.grid.affine_lps))
    node.SetDescription(f"{UNCERTAINTY_MEANING[0].upper()}{UNCERTAINTY_MEANING[1:]}; 0 where nobody looked")
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetAndObserveColorNodeID(_uncertainty_colours(input_node.GetScene()).GetID())
    display.SetAutoWindowLevel(False)
    display.SetWindowLevelMinMax(*UNCERTAINTY_WINDOW)
    display.SetAutoThreshold(False)
    display.SetThreshold(UNCERTAINTY_VISIBLE, 1.0)
    display.SetApplyThreshold(True)
    legend = slicer.modules.colors.logic().AddDefaultColorLegendDisplayNode(node)
    legend.SetTitleText("Uncertainty (SD)")
    legend.SetLabelFormat("%.1f")
    legend.SetNumberOfLabels(6)
    legend.SetSize(0.08, 0.28)
    legend.SetPosition(0.97, 0.82)
    return node


def _uncertainty_colours(scene: slicer.vtkMRMLScene) -> slicer.vtkMRMLProceduralColorNode:
    node = scene.GetSingletonNode(UNCERTAINTY_COLOUR_TAG, "vtkMRMLProceduralColorNode")
    if node is None:
        node = slicer.vtkMRMLProceduralColorNode()
        node.SetName("Uncertainty")
        node.SetSingletonTag(UNCERTAINTY_COLOUR_TAG)
        node.SetAttribute("Category", "InnerEarAI")
        colours = vtk.vtkDiscretizableColorTransferFunction()
        for point in UNCERTAINTY_COLOURS:
            colours.AddRGBPoint(*point)
        node.SetAndObserveColorTransferFunction(colours)
        node = scene.AddNode(node)
    return node


def _add_node(input_node: slicer.vtkMRMLScalarVolumeNode, kind: str, what: str) -> slicer.vtkMRMLNode:
    scene = input_node.GetScene()
    return scene.AddNewNodeByClass(kind, scene.GenerateUniqueName(f"{input_node.GetName()} {what}"))


def _note_provenance(node: slicer.vtkMRMLNode, result: ScanResult, input_node: slicer.vtkMRMLScalarVolumeNode) -> None:
    for key, value in result.provenance.items():
        node.SetAttribute(f"{ATTRIBUTE_PREFIX}{key}", str(value))
    if result.notes:
        node.SetAttribute(f"{ATTRIBUTE_PREFIX}notes", " ".join(result.notes))
    node.SetNodeReferenceID(INPUT, input_node.GetID())


def _place_beside(input_node: slicer.vtkMRMLScalarVolumeNode, node: slicer.vtkMRMLDisplayableNode) -> None:
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(input_node.GetScene())
    input_item = hierarchy.GetItemByDataNode(input_node)
    parent = hierarchy.GetItemParent(input_item) if input_item else hierarchy.GetSceneItemID()
    # The application has made an item for the node already; without its Qt plugins nobody has.
    item = hierarchy.GetItemByDataNode(node) or hierarchy.CreateItem(parent, node)
    hierarchy.SetItemParent(item, parent)


@contextmanager
def _whole_or_absent(scene: slicer.vtkMRMLScene) -> Iterator[None]:
    """Removes whatever was added to the scene if the work within fails or is cancelled."""
    before = _node_ids(scene)
    try:
        yield
    except BaseException:
        for node_id in reversed(_node_ids(scene)):
            if node_id not in before and scene.GetNodeByID(node_id):
                scene.RemoveNode(scene.GetNodeByID(node_id))
        raise


def _node_ids(scene: slicer.vtkMRMLScene) -> list[str]:
    return [scene.GetNthNode(index).GetID() for index in range(scene.GetNumberOfNodes())]
