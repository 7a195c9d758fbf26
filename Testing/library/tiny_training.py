"""A training run that takes seconds: a ball with three landmarks, a network of a few weights.

Run as a script it trains in a folder of its own, so that a test can kill it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from InnerEarAILib.training.configuration import TrainingConfig, configuration_of
from InnerEarAILib.training.data_source import TrainingData
from InnerEarAILib.training.export import model_exporter
from InnerEarAILib.training.processes import started_processes
from InnerEarAILib.training.samples import TrainingSample
from InnerEarAILib.training.seen_scans import SeenScans
from InnerEarAILib.training.trainer import Trainer

LIBRARY = Path(__file__).parents[2] / "InnerEarAI"

TILE = 16
CPU = torch.device("cpu")


class BallSource:
    """Sample n: a bright ball somewhere in noise, which is the labyrinth; landmarks on three sides of it."""

    def sample(self, index: int) -> TrainingSample:
        rng = np.random.default_rng([7, index])
        centre, radius = rng.uniform(6, 9, 3), rng.uniform(3, 4)
        distance = np.linalg.norm(np.stack(np.indices((TILE,) * 3), -1) - centre, axis=-1)
        ball = np.clip(radius - distance + 0.5, 0, 1).astype(np.float32)
        image = (2 * ball - 0.5 + rng.normal(0, 0.2, ball.shape)).astype(np.float32)
        landmarks = (centre + radius * np.eye(3))[None]
        return TrainingSample(image, ball, landmarks, np.ones(3, bool))


class InterruptedSource(BallSource):
    """Sends the process a signal while it prepares sample number 5."""

    def sample(self, index):
        if index == 5:
            signal.raise_signal(signal.SIGINT)
        return super().sample(index)


def tiny_config(**changes) -> TrainingConfig:
    """The run; keyword arguments replace entries, those of a table one by one."""
    table = {
        "name": "tiny",
        "role": "segmenter",
        "description": "For tests.",
        "spacing_mm": 0.5,
        "tile_voxels": TILE,
        "network": {"widths": [4, 6, 8]},
        "optimisation": {
            "iterations": 12,
            "accumulation": 2,
            "learning_rate": 3e-3,
            "ema_decay": 0.9,
            "precision": "fp32",
        },
        "watch": {"report_every": 4, "validate_every": 6, "checkpoint_minutes": 1e-9, "workers": 0},
        "data": {"kind": "manifest"},
    }
    for name, value in changes.items():
        table[name] = {**table.get(name, {}), **value} if isinstance(value, dict) else value
    return configuration_of(table)


def tiny_trainer(folder: Path, config: TrainingConfig | None = None, **arguments) -> Trainer:
    """A trainer of the balls in a folder that is made."""
    config = config or tiny_config()
    folder.mkdir(parents=True, exist_ok=True)
    source = arguments.pop("source", BallSource())

    validation = arguments.pop("validation", None) or [BallSource().sample(1_000_000 + n) for n in range(2)]
    seen, device = arguments.pop("seen", SeenScans()), arguments.pop("device", CPU)
    data = TrainingData(source, validation, "Balls.", "Other balls.", "For tests.", 10.0, seen)
    export = model_exporter(config, data, folder, device, arguments.get("processes"))
    arguments.setdefault("say", lambda line: None)
    return Trainer(config, source, validation, folder, export, device, **arguments)


def weights(trainer: Trainer) -> torch.Tensor:
    """All weights of the network and of its average, in one row."""
    parts = [*trainer.network.parameters(), *trainer.average.network.parameters()]
    return torch.cat([part.detach().reshape(-1) for part in parts])


def tiny_table(iterations: int) -> str:
    """A configuration file that trains on labelled scans within seconds."""
    return f"""
like = "base"
name = "tiny"
spacing_mm = 0.5
tile_voxels = 16
[network]
widths = [4, 6]
[optimisation]
iterations = {iterations}
accumulation = 1
precision = "fp32"
[watch]
workers = 0
[data]
validation_cases = 1
validation_tiles = 1
region_mm = 10.0
"""


def started_run(folder: Path, resume: str, iterations: int = 60, command: Sequence[str] = (sys.executable,)):
    """This script in a process of its own; resume: "fresh" or "resume"."""
    environment = {**os.environ, "PYTHONPATH": str(LIBRARY), "OMP_NUM_THREADS": "1"}
    arguments = [*command, __file__, str(folder), resume, str(iterations)]
    return subprocess.Popen(arguments, env=environment, stdout=subprocess.DEVNULL)


def main(folder: str, resume: str, iterations: str) -> None:
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    # Where a gradient is nothing but rounding, AdamW would take a whole step in a random direction; SGD takes none.
    steady = {"optimiser": "sgd", "momentum": 0.9, "warmup_share": 0.0, "annealing_share": 0.0}
    with started_processes(cuda=False) as processes:
        passes = {"iterations": int(iterations), "accumulation": 2}
        config = tiny_config(optimisation=steady | passes, heatmaps={"schedule": "constant"})
        trainer = tiny_trainer(Path(folder), config, processes=processes, say=print)
        if resume == "resume":
            trainer.resume()
        trainer.run()
    torch.save(weights(trainer), Path(folder) / f"weights-{processes.rank}.pt")


if __name__ == "__main__":
    main(*sys.argv[1:])
