"""Which files the Slicer package must hold; `python -m host.packaging` writes them into InnerEarAI/CMakeLists.txt."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from host.runtime import module_folder

RESOURCE_ENDINGS = (".png", ".svg", ".ui", ".txt", ".toml", ".json")
"""Files beside the Python ones that are needed at run time."""

LISTS = ("MODULE_PYTHON_SCRIPTS", "MODULE_PYTHON_RESOURCES")


def files_to_package(module: Path) -> dict[str, list[str]]:
    """What the module's folder holds, by CMake's list: paths relative to it, in alphabetical order."""
    files = [
        path.relative_to(module)
        for path in module.rglob("*")
        if path.is_file() and not any(part.startswith((".", "__pycache__")) for part in path.relative_to(module).parts)
    ]
    scripts = sorted(path.as_posix() for path in files if path.suffix == ".py")
    resources = sorted(
        path.as_posix() for path in files if path.suffix in RESOURCE_ENDINGS and path.name != "CMakeLists.txt"
    )
    return dict(zip(LISTS, (scripts, resources), strict=True))


def listed_files(cmake: str) -> dict[str, list[str]]:
    """What a CMakeLists.txt lists, by name of the list, in its order."""
    return {name: re.search(_list_pattern(name), cmake)[1].split() for name in LISTS}


def with_lists(cmake: str, files: dict[str, Sequence[str]]) -> str:
    """A CMakeLists.txt with other lists."""
    for name, paths in files.items():
        body = "".join(f"\n  {path}" for path in paths)
        cmake = re.sub(_list_pattern(name), lambda match, name=name, body=body: f"set({name}{body}\n  )", cmake)
    return cmake


def _list_pattern(name: str) -> str:
    return rf"set\({name}([^)]*)\)"


if __name__ == "__main__":
    listing = module_folder() / "CMakeLists.txt"
    listing.write_text(with_lists(listing.read_text(), files_to_package(module_folder())))
