"""The nodes of a run as files, as they are now."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from pathlib import Path

import slicer
import slicer.util
from slicer.i18n import tr as _

from InnerEarAILib.landmark_files import write_json
from InnerEarAILib.panel.corrections import mark_corrections, summary_as_corrected
from InnerEarAILib.panel.run_record import RunRecord
from InnerEarAILib.result_files import result_file_names
from InnerEarAILib.volume import InputError
from InnerEarAILib.whole_files import replacing_set


def save_run(record: RunRecord, directory: Path, name: str, overwrite: bool = False) -> tuple[Path, ...]:
    """Writes the nodes of a run as they are now, and summary_as_corrected; all files or none.

    Args:
        directory: made where it does not exist.
        name: what the files' names begin with; what no file name can hold is replaced.
        overwrite: whether the files of an earlier run of that name may go, all of them.

    Raises:
        FileExistsError: there are such files; its `filename` is one of them.
        InputError: they cannot be written; the files are as they were.
    """
    name = "".join(letter if letter.isalnum() or letter in "-_ ." else "_" for letter in name).strip(" .") or "scan"
    uncertainty = f"{name}_uncertainty.nrrd"
    nodes = {f"{name}_labyrinth.seg.nrrd": record.segmentation}
    nodes |= {f"{name}_landmarks_{side}.mrk.json": node for side, node in record.landmarks.items()}
    if record.uncertainty is not None:
        nodes[uncertainty] = record.uncertainty
    possible = (*result_file_names(name), uncertainty)
    existing = [file for file in possible if (directory / file).exists()]
    if existing and not overwrite:
        reason = _("there are results of this name; give another name or folder, or allow overwriting")
        raise FileExistsError(errno.EEXIST, reason, existing[0])
    mark_corrections(record)
    stored_before = {file: _stored(node) for file, node in nodes.items()}
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with replacing_set(directory, possible) as new:
            for file, node in nodes.items():
                if not slicer.util.saveNode(node, str(new / file)):
                    raise OSError(_("Slicer could not write {file}").format(file=file))
            write_json(new / f"{name}_result.json", summary_as_corrected(record))
    except (OSError, RuntimeError, InputError) as error:
        for file, node in nodes.items():
            _set_stored(node, stored_before[file])
        raise InputError(
            _("The results cannot be written to {directory} ({error}).").format(directory=directory, error=error)
        ) from error
    for file, node in nodes.items():
        node.GetStorageNode().SetFileName(str(directory / file))
    return tuple(directory / file for file in possible if (directory / file).exists())


@dataclass(frozen=True)
class _Stored:
    """Where a node is stored, and whether it has changed since."""

    file_name: str | None
    changed: bool


def _stored(node: slicer.vtkMRMLStorableNode) -> _Stored | None:
    """None where a node has no storage."""
    storage = node.GetStorageNode()
    return None if storage is None else _Stored(storage.GetFileName(), bool(node.GetModifiedSinceRead()))


def _set_stored(node: slicer.vtkMRMLStorableNode, before: _Stored | None) -> None:
    """As it was before the node was written elsewhere, so that Slicer still asks to save what had changed."""
    storage = node.GetStorageNode()
    if storage is None:
        return
    if before is None:
        node.GetScene().RemoveNode(storage)
        return
    storage.SetFileName(before.file_name)
    if before.changed:
        node.StorableModified()
