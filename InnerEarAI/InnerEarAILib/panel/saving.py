"""The nodes of a run as files, as they are now."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import slicer
import slicer.util
from slicer.i18n import tr as _

from InnerEarAILib.landmark_files import write_json
from InnerEarAILib.panel.corrections import mark_corrections, summary_as_corrected
from InnerEarAILib.panel.run_record import RunRecord
from InnerEarAILib.result_files import exchange, result_file_names
from InnerEarAILib.volume import InputError


def save_run(record: RunRecord, directory: Path, name: str, overwrite: bool = False) -> tuple[Path, ...]:
    """Writes the nodes of a run as they are now, and summary_as_corrected; all files or none.

    Args:
        directory: made where it does not exist.
        name: what the files' names begin with; what no file name can hold is replaced.
        overwrite: whether the files of an earlier run of that name may go, all of them.

    Raises:
        FileExistsError: there are such files; its message names one.
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
        raise FileExistsError(existing[0])
    mark_corrections(record)
    names_before = {file: _file_name(node) for file, node in nodes.items()}
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".writing-", dir=directory) as unfinished:
            new, old = Path(unfinished, "new"), Path(unfinished, "old")
            new.mkdir()
            old.mkdir()
            for file, node in nodes.items():
                if not slicer.util.saveNode(node, str(new / file)):
                    raise OSError(_("Slicer could not write {file}").format(file=file))
            write_json(new / f"{name}_result.json", summary_as_corrected(record))
            saved = exchange(new, old, directory, possible)
    except (OSError, RuntimeError) as error:
        _set_file_names(nodes, names_before)
        raise InputError(
            _("The results cannot be written to {directory} ({error}).").format(directory=directory, error=error)
        ) from error
    _set_file_names(nodes, {file: str(directory / file) for file in nodes})
    return saved


def _file_name(node: slicer.vtkMRMLStorableNode) -> str | None:
    return None if node.GetStorageNode() is None else node.GetStorageNode().GetFileName()


def _set_file_names(nodes: Mapping[str, slicer.vtkMRMLStorableNode], names: Mapping[str, str | None]) -> None:
    """Lets the nodes know their files; one that had none goes back to having no storage."""
    for file, node in nodes.items():
        storage = node.GetStorageNode()
        if storage is None:
            continue
        if names[file] is None:
            node.GetScene().RemoveNode(storage)
        else:
            storage.SetFileName(names[file])
