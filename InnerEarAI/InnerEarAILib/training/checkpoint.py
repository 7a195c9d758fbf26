"""The state of a training run on disk: all tensors in one safetensors file, written whole or not at all.

Nothing is pickled: optimiser state and random-number state are tensors like the weights, and what stands
beside them (iteration, seconds, best score, what the run is) stands in the file's header as JSON.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from InnerEarAILib.training.configuration import ConfigurationError

CHECKPOINT_FILE = "checkpoint.safetensors"
"""In a run's folder."""

HEADER = "inner_ear_ai_run"


def save_checkpoint(
    path: Path, modules: Mapping[str, nn.Module], optimiser: torch.optim.Optimizer, numbers: Mapping[str, Any]
) -> None:
    """Writes a checkpoint under a temporary name and renames it, so that a kill leaves the one before.

    Args:
        path: the checkpoint file.
        modules: by name; parameters and buffers are saved.
        optimiser: its state is saved.
        numbers: JSON-able values (iteration, seconds, settings, …).
    """
    tensors = {"random.cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        tensors["random.cuda"] = torch.cuda.get_rng_state()
    for name, module in modules.items():
        tensors |= {f"{name}.{key}": value for key, value in module.state_dict().items()}
    for number, state in optimiser.state_dict()["state"].items():
        for key, value in state.items():
            if value is not None:
                tensors[f"optimiser.{number}.{key}"] = torch.as_tensor(value)
    tensors = {key: value.detach().cpu().contiguous().clone() for key, value in tensors.items()}
    temporary = path.with_name(path.name + ".part")
    save_file(tensors, temporary, metadata={HEADER: json.dumps(dict(numbers))})
    with open(temporary, "rb+") as written:  # Windows lets go to disk only what may be written to
        os.fsync(written.fileno())
    os.replace(temporary, path)


def read_numbers(path: Path) -> dict[str, Any]:
    """The numbers saved with a checkpoint, without its tensors.

    Raises:
        ConfigurationError: if there is no checkpoint, or it is damaged.
    """
    if not path.is_file():
        raise ConfigurationError(
            f"There is nothing to resume: {path} does not exist; give the --fold or the folder (-o) of the run, or "
            "leave out --resume."
        )
    with _opened(path) as file:
        return json.loads((file.metadata() or {}).get(HEADER, "{}"))


def load_checkpoint(path: Path, modules: Mapping[str, nn.Module], optimiser: torch.optim.Optimizer) -> None:
    """Puts the tensors of a checkpoint back into modules, optimiser and random-number generators.

    Args:
        path: the checkpoint file; exists.
        modules: by name, as saved.
        optimiser: of the same kind.

    Raises:
        ConfigurationError: if it is of another network, or damaged.
    """
    with _opened(path) as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
    for name, module in modules.items():
        state = {key[len(name) + 1 :]: value for key, value in tensors.items() if key.startswith(name + ".")}
        try:
            module.load_state_dict(state)
        except RuntimeError:
            raise ConfigurationError(
                f"{path.name} was written by a run of another network; resume it with its own configuration."
            ) from None
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("optimiser."):
            _, number, entry = key.split(".", 2)
            state.setdefault(int(number), {})[entry] = value
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
    torch.set_rng_state(tensors["random.cpu"])
    if torch.cuda.is_available() and "random.cuda" in tensors:
        torch.cuda.set_rng_state(tensors["random.cuda"])


@contextmanager
def _opened(path: Path) -> Iterator[safe_open]:
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except SafetensorError as error:
        raise ConfigurationError(
            f"{path} is damaged, and the run cannot be gone on with: remove that file and begin the run anew; last/ "
            "and best/ beside it hold the weights so far (train --from)."
        ) from error
