"""The child process that computes for a panel, so that nothing that happens in it can take the panel down.

`python -m InnerEarAILib.worker FOLDER` does a job. The parent makes an empty folder, fills it by `write_job`, and
starts the child. On standard output it reads the lines of `json_lines`, and as the last of them

    {"event": "result", "path": "FOLDER/result.npz", "seconds": 20.4}           read it by `read_scan_result`

or an error; where it is neither, the process was killed or has crashed. A result may be without ears. Exit codes are
those of the command line (failures.py). Killing the process is safe: result.npz is there whole or not at all.

`python -m InnerEarAILib.worker --probe` looks at the computer and says, device by device, the one to prefer first:

    {"event": "started", "torch": "2.13.0+cpu", "seconds": 2.1}                 until PyTorch was there
    {"event": "device", "name": "cuda:0", "description": "NVIDIA …, 24 GB"}
    {"event": "no_gpu", "reason": "PyTorch 2.13.0+cpu has no CUDA support"}     where none can be used
    {"event": "speed", "model": "clinical", "device": "cpu", …}                 an inference.speed.Speed
    {"event": "probed", "seconds": 6.0}                                         the last line, or an error
"""

from __future__ import annotations

import json
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from InnerEarAILib.failures import EXIT_BAD_INPUT, EXIT_DONE, failure_of
from InnerEarAILib.json_lines import JsonLines, heard_cancel, own_output
from InnerEarAILib.progress import Progress
from InnerEarAILib.scan_result_files import write_scan_result
from InnerEarAILib.volume import InputError, Volume

JOB_FILE = "job.json"
VOXELS_FILE = "voxels.npy"
RESULT_FILE = "result.npz"
PROBE = "--probe"


def write_job(folder: Path, volume: Volume, options: Mapping[str, Any]) -> None:
    """Leaves a job for a child process; the volume arrives there to the last bit.

    Args:
        folder: exists and is empty; it belongs to this job alone.
        volume: the scan, with its name.
        options: fields of SegmenterOptions.

    Raises:
        OSError: if the folder cannot be written to.
    """
    np.save(folder / VOXELS_FILE, volume.voxels, allow_pickle=False)
    job = {"name": volume.name, "affine_lps": volume.affine_lps.tolist(), "options": dict(options)}
    (folder / JOB_FILE).write_text(json.dumps(job), encoding="utf-8")


def read_job(folder: Path) -> tuple[Volume, dict[str, Any]]:
    """The volume and the options of a job.

    Raises:
        InputError: if the folder holds no whole job.
    """
    try:
        job = json.loads((folder / JOB_FILE).read_text(encoding="utf-8"))
        voxels = np.load(folder / VOXELS_FILE, allow_pickle=False)
        return Volume(voxels, np.array(job["affine_lps"]), job["name"]), job["options"]
    except InputError:
        raise
    except (OSError, EOFError, KeyError, ValueError) as error:
        raise InputError(f"The folder {folder.name} holds no whole job; start the segmentation again.") from error


def main(arguments: Sequence[str] | None = None, segmenter: Any = None) -> int:
    """Does the job in a folder, or looks at the computer, and reports on standard output.

    Args:
        arguments: the folder, or PROBE; None takes the process's own arguments.
        segmenter: offers `segment` and `SegmenterOptions` as the module segmenter does, which None stands for.

    Returns:
        The exit code.
    """
    begin = time.monotonic()
    arguments = sys.argv[1:] if arguments is None else arguments
    if len(arguments) != 1:
        print(f"usage: python -m InnerEarAILib.worker FOLDER | {PROBE}", file=sys.stderr)
        return EXIT_BAD_INPUT
    with own_output() as output:
        lines = JsonLines(output, begin)
        progress = Progress(lines.step, lines.note, heard_cancel().is_set)
        try:
            if arguments[0] == PROBE:
                _probe(lines, progress)
            else:
                _do_job(Path(arguments[0]), lines, progress, segmenter)
        except BaseException as error:
            failure = failure_of(error)
            if failure.kind == "unexpected":
                traceback.print_exc(file=sys.stderr)
            lines.send("error", kind=failure.kind, sentence=failure.sentence)
            return failure.exit_code
        return EXIT_DONE


def _do_job(folder: Path, lines: JsonLines, progress: Progress, segmenter: Any) -> None:
    progress.step("Reading the scan")
    volume, options = read_job(folder)
    if segmenter is None:
        progress.step("Starting")
        from InnerEarAILib import segmenter
    result = segmenter.segment(volume, segmenter.SegmenterOptions(**options), progress)
    progress.step("Handing over the result")
    write_scan_result(folder / RESULT_FILE, result)
    lines.send("result", path=str(folder / RESULT_FILE), seconds=lines.seconds())


def _probe(lines: JsonLines, progress: Progress) -> None:
    progress.step("Starting")
    import torch

    from InnerEarAILib.inference.device import describe_device, why_no_gpu, working_gpus
    from InnerEarAILib.inference.speed import measure_speed
    from InnerEarAILib.model_store import list_models

    lines.send("started", torch=torch.__version__, seconds=lines.seconds())
    reason = why_no_gpu()
    if reason:
        lines.send("no_gpu", reason=reason)
    devices = [*working_gpus(), torch.device("cpu")]
    for device in devices:
        lines.send("device", name=str(device), description=describe_device(device))
    for device in devices:
        for card in list_models():
            progress.step(f"Trying the model {card.name} on {device}")
            lines.send("speed", **measure_speed(card, device).to_dict())
    lines.send("probed", seconds=lines.seconds())


if __name__ == "__main__":
    sys.exit(main())
