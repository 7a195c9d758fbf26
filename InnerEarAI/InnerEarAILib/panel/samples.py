"""The phantoms in Slicer's Sample Data: drawn on this computer when they are asked for, and kept for the next time."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import slicer
import slicer.util
from slicer.i18n import tr as _

from InnerEarAILib import __version__
from InnerEarAILib.panel.child import Child, python_command, remove_folder
from InnerEarAILib.panel.installation import (
    InstallationError,
    consent_to,
    install,
    missing_packages,
    numpy_conflict,
    slicer_too_old,
)

CATEGORY = "Inner Ear AI"

SAMPLES = {"InnerEarPhantom": "ear", "InnerEarHeadPhantom": "head"}
"""Names in Sample Data, and what phantom.samples calls them."""

LOOK_AGAIN_SECONDS = 0.05

_DRAWING = threading.Lock()
"""Held while a phantom is drawn: Slicer lives on meanwhile, and may be asked for another."""


def register_samples(icons: Path) -> None:
    """Puts the phantoms into Sample Data.

    Args:
        icons: folder with their thumbnails, NAME.png.
    """
    import SampleData

    for name, kind in SAMPLES.items():
        SampleData.SampleDataLogic.registerCustomSampleDataSource(
            category=CATEGORY,
            sampleName=name,
            # It is drawn, not downloaded; but Sample Data wants an address.
            uris=f"innerearai:{kind}",
            fileNames=cached_file(kind).name,
            nodeNames=name,
            customDownloader=load_sample,
            thumbnailFileName=str(icons / f"{name}.png"),
            loadFileType="VolumeFile",
        )


def cached_file(kind: str) -> Path:
    """Where a drawn phantom is kept.

    Args:
        kind: "ear" or "head".
    """
    folder = slicer.mrmlScene.GetCacheManager().GetRemoteCacheDirectory()
    return Path(folder, f"InnerEarAI_{kind}_phantom_{__version__}.nrrd")


def load_sample(source: Any) -> list[slicer.vtkMRMLScalarVolumeNode]:
    """Adds a phantom to the scene, drawn first where it is not kept yet; Sample Data calls this.

    From a script, since SampleData.downloadSample passes by what a source brings along to load it::

        source = SampleData.SampleDataLogic().sourceForSampleName("InnerEarPhantom")
        (node,) = source.customDownloader(source)

    Args:
        source: the SampleDataSource that was asked for.

    Returns:
        The volume; nothing where the user did not want to wait or to install what drawing needs.

    Raises:
        InstallationError: what drawing needs cannot be installed.
        RuntimeError: the phantom cannot be drawn, or one is being drawn.
    """
    kind = SAMPLES[source.sampleName]
    # Sample Data itself would say of an error nothing but what stands in the Python console.
    with slicer.util.tryWithErrorDisplay(_("The phantom is not there.")):
        if not cached_file(kind).exists() and not _drawn_alone(kind):
            return []
    node = slicer.util.loadVolume(str(cached_file(kind)), {"name": source.sampleName})
    slicer.util.setSliceViewerLayers(background=node, fit=True)
    return [node]


def _drawn_alone(kind: str) -> bool:
    if not _DRAWING.acquire(blocking=False):
        raise RuntimeError(_("A phantom is being drawn already; wait until it is there."))
    try:
        return _drawn(kind)
    finally:
        _DRAWING.release()


def _drawn(kind: str) -> bool:
    if fault := slicer_too_old() or numpy_conflict():
        raise InstallationError(fault)
    missing = missing_packages()
    if missing:
        if not consent_to(missing):
            return False
        install(missing)
    cached_file(kind).parent.mkdir(parents=True, exist_ok=True)
    dialog = slicer.util.createProgressDialog(
        labelText=_("Drawing the phantom; this takes up to some minutes, once."), maximum=0, modal=True
    )
    # By itself, one without a length comes after four seconds only.
    dialog.show()
    try:
        folder = Path(tempfile.mkdtemp(prefix=".drawing-", dir=cached_file(kind).parent))
        try:
            unfinished = folder / "phantom.nrrd"
            child = Child(python_command("InnerEarAILib.phantom.samples", kind, str(unfinished)), folder)
            try:
                while not child.ended():
                    slicer.app.processEvents()
                    if dialog.wasCanceled:
                        return False
                    time.sleep(LOOK_AGAIN_SECONDS)
                if child.exit_code != 0:
                    raise RuntimeError(_("The phantom could not be drawn.\n{log}").format(log=child.log()))
            finally:
                child.kill()
            os.replace(unfinished, cached_file(kind))
        finally:
            remove_folder(folder)
    finally:
        dialog.close()
    return True
