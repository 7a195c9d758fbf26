"""The Slicer module: what the application sees. The work is done by InnerEarAILib."""

import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleWidget,
)

from InnerEarAILib import __version__
from InnerEarAILib.progress import Progress
from InnerEarAILib.volume import InputError


class InnerEarAI(ScriptedLoadableModule):
    """The module's entry in Slicer's list."""

    def __init__(self, parent):
        super().__init__(parent)
        self.parent.title = _("Inner Ear AI")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Otolaryngology")]
        self.parent.dependencies = []
        self.parent.contributors = ["InnerEarAI contributors"]
        self.parent.helpText = _(
            "Finds the inner ears in a CT of the temporal bone or the head: the labyrinth, the helicotrema, the oval "
            "and the round window, and how sure the network is of every voxel. For research use; not a medical device."
        )
        self.parent.acknowledgementText = _(
            "Version {version}. The method is that of Stebani et al. 2023, Scientific Reports, "
            "https://doi.org/10.1038/s41598-023-45466-9."
        ).format(version=__version__)


class InnerEarAIWidget(ScriptedLoadableModuleWidget):
    """The panel: a volume, a button, and what came of it."""

    def setup(self):
        super().setup()
        import qt

        self.logic = InnerEarAILogic()
        self.inputSelector = slicer.qMRMLNodeComboBox()
        self.inputSelector.nodeTypes = ["vtkMRMLScalarVolumeNode"]
        self.inputSelector.addEnabled = False
        self.inputSelector.removeEnabled = False
        self.inputSelector.noneEnabled = True
        self.inputSelector.setMRMLScene(slicer.mrmlScene)
        self.inputSelector.setToolTip(_("CT of a temporal bone or a head"))
        self.segmentButton = qt.QPushButton(_("Segment inner ear"))
        self.segmentButton.setToolTip(_("Slicer waits until the result is there"))
        self.statusLabel = qt.QLabel()
        self.statusLabel.setWordWrap(True)
        form = qt.QFormLayout()
        form.addRow(_("CT volume:"), self.inputSelector)
        self.layout.addLayout(form)
        self.layout.addWidget(self.segmentButton)
        self.layout.addWidget(self.statusLabel)
        self.layout.addStretch(1)
        self.segmentButton.connect("clicked()", self.onSegment)
        self.inputSelector.connect("currentNodeChanged(vtkMRMLNode*)", self.onInputChanged)
        self.onInputChanged(self.inputSelector.currentNode())

    def onInputChanged(self, node):
        self.segmentButton.setEnabled(node is not None)
        self.statusLabel.setText("" if node is not None else _("Load a CT scan and choose it above."))

    def onSegment(self):
        with slicer.util.tryWithErrorDisplay(_("The inner ear was not segmented."), waitCursor=True):
            nodes = self.logic.process(self.inputSelector.currentNode(), progress=Progress(on_step=self.showStep))
            found = ", ".join(ear.side for ear in nodes.result.ears)
            flags = [flag for ear in nodes.result.ears for flag in ear.quality.flags]
            self.statusLabel.setText("\n".join([_("Found: {ears}.").format(ears=found), *flags]))

    def showStep(self, step, fraction):
        self.statusLabel.setText(f"{step} ({fraction:.0%})" if fraction else step)
        slicer.app.processEvents()


class InnerEarAILogic(ScriptedLoadableModuleLogic):
    """What the module does, for the panel, the Python console and scripts.

    Usage::

        from InnerEarAI import InnerEarAILogic
        nodes = InnerEarAILogic().process(slicer.util.getNode("CT"))
        print(nodes.segmentation.GetName(), nodes.result.ears[0].quality.volume_mm3)
    """

    def __init__(self, segment=None):
        """Makes a logic.

        :param segment: takes the place of InnerEarAILib.segmenter.segment; for tests.
        """
        super().__init__()
        self._segment = segment

    def process(
        self,
        volumeNode,
        preset="standard",
        model="auto",
        device="auto",
        ear="auto",
        progress=None,
        show=True,
        **choices,
    ):
        """Segments the inner ears of a CT and adds them to the scene; returns when that is done.

        :param volumeNode: the scan, a vtkMRMLScalarVolumeNode; a linear transform above it is taken into account.
        :param preset: "paper", "standard" or "fast".
        :param model: name of a model, or "auto": by the scan's resolution and the device.
        :param device: "auto", "cpu", "cuda" or "cuda:N".
        :param ear: "auto" (all that are found), "left", "right" or "both".
        :param progress: InnerEarAILib.progress.Progress, to be told of the steps and to cancel.
        :param show: show the scan with the uncertainty over it in the slice views.
        :param choices: further fields of InnerEarAILib.segmenter.SegmenterOptions (locate, views, postprocess).
        :return: InnerEarAILib.mrml.ResultNodes.
        :raises InputError: the volume or a choice cannot be used, or no inner ear is in it; the scene is as it was.
        :raises ModelError: a model is missing or damaged; the scene is as it was.
        :raises Cancelled: the caller wanted it to stop; the scene is as it was.
        """
        from InnerEarAILib.mrml import show_results, volume_from_node, write_results

        volume = volume_from_node(volumeNode)
        segment, SegmenterOptions = self._segmenter()
        options = SegmenterOptions(preset=preset, model=model, device=device, ear=ear, **choices)
        progress = progress or Progress()
        result = segment(volume, options, progress)
        if not result.ears:
            notes = " ".join(result.notes)
            raise InputError(
                _("No inner ear was found in {name}; is it a CT of a temporal bone or a head? {notes}")
                .format(name=volume.name, notes=notes)
                .strip()
            )
        progress.step(_("Adding the results to the scene"))
        nodes = write_results(result, volumeNode)
        if show:
            show_results(nodes, volumeNode)
        return nodes

    def _segmenter(self):
        # Torch takes seconds to import and may be missing, so it is asked for when work starts and not before.
        try:
            from InnerEarAILib.segmenter import SegmenterOptions, segment
        except ModuleNotFoundError as error:
            raise RuntimeError(
                _(
                    "The Python package {package} is not installed in Slicer. Install the PyTorch extension, "
                    "then run slicer.util.pip_install('{package}') in the Python console."
                ).format(package=error.name)
            ) from error
        return self._segment or segment, SegmenterOptions
