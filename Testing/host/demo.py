"""`make demo`: a CT through the module in a real MRML scene, on Slicer's libraries under our own host.

    python -m host.demo [SCAN] [-o demo-output] [--preset …] [--model …] [--device …] [--ear …]

Without a scan it takes the embedded phantom, drawn on the spot.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import slicer
import slicer.util

from host.pictures import can_draw
from host.runtime import Host
from InnerEarAILib.ear_result import ScanResult
from InnerEarAILib.failures import EXIT_DONE, failure_of
from InnerEarAILib.landmark_files import landmark_description, write_json
from InnerEarAILib.model_card import ModelError
from InnerEarAILib.progress import Cancelled, Progress
from InnerEarAILib.result_files import NOTICE, result_summary
from InnerEarAILib.scan_files import read_volume
from InnerEarAILib.volume import InputError, Volume

NO_PICTURE = (
    "overview.png is missing: this machine has no OpenGL to draw with (Debian and Ubuntu: apt install libegl1 or "
    "libosmesa6). Everything else is there."
)


def main(arguments: list[str] | None = None) -> int:
    """Runs the demo; the process's exit code."""
    choices = _parser().parse_args(arguments)
    try:
        scan = _embedded_phantom() if choices.scan is None else read_volume(choices.scan, progress=_printed_progress())
        options = {name: getattr(choices, name) for name in ("preset", "model", "device", "ear")}
        run(scan, choices.output, options)
    except (InputError, ModelError, Cancelled, KeyboardInterrupt) as error:
        failure = failure_of(error)
        print(failure.sentence, file=sys.stderr)
        return failure.exit_code
    return EXIT_DONE


def run(scan: Volume, output: Path, options: dict[str, str], segment: Callable[..., ScanResult] | None = None) -> None:
    """Sends a scan through the module and leaves scene, results and picture in a folder; prints what was found.

    Args:
        scan: any CT volume.
        output: folder, made if need be; files of an earlier demo are replaced, all together, at the end.
        options: preset, model, device, ear, as InnerEarAILogic.process takes them.
        segment: takes the place of segmenter.segment; for tests.

    Raises:
        InputError, ModelError: as InnerEarAILogic.process does; nothing is written then.
    """
    # The application puts the module's folder on Python's path and offers its base classes; the host has done so.
    host = Host()
    from InnerEarAI import InnerEarAILogic

    drawable = can_draw()
    if drawable:
        from host.overview import Overview

        overview = Overview(host)
    node = _add_scan(scan)
    began = time.perf_counter()
    nodes = InnerEarAILogic(segment).process(node, progress=_printed_progress(), **options)
    took = time.perf_counter() - began
    with tempfile.TemporaryDirectory(dir=_made(output.parent), prefix=".demo-") as unfinished:
        folder = Path(unfinished)
        slicer.util.saveScene(str(folder / "scene.mrb"))
        slicer.util.saveNode(nodes.segmentation, str(folder / "labyrinth.seg.nrrd"))
        for side, landmarks in nodes.landmarks.items():
            slicer.util.saveNode(landmarks, str(folder / f"landmarks_{side}.mrk.json"))
        if nodes.uncertainty is not None:
            slicer.util.saveNode(nodes.uncertainty, str(folder / "uncertainty.nrrd"))
        write_json(folder / "result.json", result_summary(nodes.result))
        if drawable:
            overview.draw(nodes, folder / "overview.png", _caption(nodes.result))
        _made(output)
        for file in sorted(folder.iterdir()):
            os.replace(file, output / file.name)
    _report(nodes.result, output, took)
    if not drawable:
        print(NO_PICTURE)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__.splitlines()[0])
    parser.add_argument("scan", nargs="?", type=Path, help="NRRD, NIfTI, MHA or a DICOM folder; else the phantom")
    parser.add_argument("-o", "--output", type=Path, default=Path("demo-output"))
    parser.add_argument("--preset", default="standard", choices=("paper", "standard", "fast"))
    parser.add_argument("--model", default="auto")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--ear", default="auto", choices=("auto", "left", "right", "both"))
    return parser


def _embedded_phantom() -> Volume:
    from InnerEarAILib.phantom.phantom import embedded_phantom

    print("Drawing the embedded phantom", flush=True)
    return embedded_phantom().scan


def _add_scan(scan: Volume) -> slicer.vtkMRMLScalarVolumeNode:
    from InnerEarAILib.mrml import RAS_FROM_LPS

    return slicer.util.addVolumeFromArray(scan.voxels, RAS_FROM_LPS @ scan.affine_lps, scan.name or "scan")


def _printed_progress() -> Progress:
    steps = []

    def on_step(step: str, fraction: float) -> None:
        del fraction
        if steps[-1:] != [step]:
            steps.append(step)
            print(step, flush=True)

    return Progress(on_step=on_step, on_note=lambda sentence: print(f"Note: {sentence}", flush=True))


def _caption(result: ScanResult) -> str:
    model = f"model {result.provenance.get('model', 'unknown')} {result.provenance.get('model.version', '')}".strip()
    return f"{result.name}  ·  {model}  ·  {NOTICE}"


def _report(result: ScanResult, output: Path, took: float) -> None:
    print(f"\nFound in {result.name}:")
    for ear in result.ears:
        print(f"  {ear.side} ear: labyrinth {ear.quality.volume_mm3:.1f} mm³")
        for landmark in ear.landmarks:
            print(f"    {landmark.name}: {landmark_description(landmark)}")
        for flag in ear.quality.flags:
            print(f"    {flag}")
    print("Time:")
    for key, seconds in result.provenance.items():
        if key.startswith("seconds."):
            print(f"  {key.removeprefix('seconds.')}: {seconds:.1f} s")
    print(f"  in all, with the scene: {took:.1f} s")
    trained_on = result.provenance.get("model.trained_on", "their card does not say on what they were trained.")
    print(f"Weights: {_caption(result).split('  ·  ')[1]}, {trained_on}")
    print(f"Files in {output}/:")
    for file in sorted(output.iterdir()):
        print(f"  {file.name}")


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


if __name__ == "__main__":
    sys.exit(main())
