"""What Slicer's extension build and its catalogue read."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from matplotlib.image import imread

from host.packaging import files_to_package, listed_files, with_lists
from host.runtime import module_folder

ROOT = Path(__file__).resolve().parents[2]


def extension_cmake() -> str:
    return (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")


def extension_settings() -> dict[str, str]:
    return dict(re.findall(r'set\((EXTENSION_\w+) "([^"]*)"\)', extension_cmake()))


def test_the_package_lists_every_file_of_the_module():
    listed = listed_files((module_folder() / "CMakeLists.txt").read_text(encoding="utf-8"))
    there = files_to_package(module_folder())
    missing = {name: sorted(set(there[name]) - set(listed[name])) for name in there}
    gone = {name: sorted(set(listed[name]) - set(there[name])) for name in there}
    advice = (
        f"run “make package-lists”: InnerEarAI/CMakeLists.txt lacks {missing} and lists {gone}, which are not there"
    )
    assert listed == there, advice


def test_a_new_file_is_missed_in_the_lists_and_then_written_into_them(tmp_path):
    (tmp_path / "Lib" / "__pycache__").mkdir(parents=True)
    for name in ("Lib/a.py", "Lib/model.toml", "Lib/__pycache__/a.pyc", ".hidden.py", "CMakeLists.txt"):
        (tmp_path / name).write_text("")
    there = files_to_package(tmp_path)
    assert there == {"MODULE_PYTHON_SCRIPTS": ["Lib/a.py"], "MODULE_PYTHON_RESOURCES": ["Lib/model.toml"]}
    cmake = "set(MODULE_PYTHON_SCRIPTS\n  old.py\n  )\nset(MODULE_PYTHON_RESOURCES\n  )\nmacro()\n"
    assert listed_files(cmake) != there
    assert listed_files(with_lists(cmake, there)) == there
    assert with_lists(cmake, there).endswith("macro()\n")


@pytest.mark.parametrize("name", ["HOMEPAGE", "CATEGORY", "CONTRIBUTORS", "DESCRIPTION", "ICONURL", "SCREENSHOTURLS"])
def test_the_extension_says_what_the_catalogue_asks(name):
    assert extension_settings()[f"EXTENSION_{name}"]


def test_extension_and_catalogue_entry_agree():
    entry = json.loads((ROOT / "InnerEarAI.json").read_text(encoding="utf-8"))
    settings = extension_settings()
    assert entry["category"] == settings["EXTENSION_CATEGORY"]
    assert entry["build_dependencies"] == settings["EXTENSION_DEPENDS"].split()
    assert entry["scm_url"] == settings["EXTENSION_HOMEPAGE"] + ".git"


def test_the_icon_is_where_the_catalogue_looks_and_of_its_size():
    path = extension_settings()["EXTENSION_ICONURL"].split("/main/")[1]
    assert imread(ROOT / path).shape[:2] == (128, 128)


OTHER_PROJECT = """
cmake_minimum_required(VERSION 3.20)
project(Other NONE)
set(Slicer_QTSCRIPTEDMODULES_LIB_DIR modules)
set(Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR modules)
function(slicerMacroBuildScriptedModule)
endfunction()
function(slicer_add_python_unittest)
  message(STATUS "test: ${ARGN}")
endfunction()
add_subdirectory("@MODULE@" module)
"""
"""As where several extensions are built at once: the project at the top is not ours."""


@pytest.mark.skipif(shutil.which("cmake") is None, reason="there is no CMake")
@pytest.mark.parametrize("testing", [True, False])
def test_the_module_is_built_within_another_project(tmp_path, testing):
    (tmp_path / "CMakeLists.txt").write_text(OTHER_PROJECT.replace("@MODULE@", module_folder().as_posix()))
    built = subprocess.run(
        ["cmake", "-S", tmp_path, "-B", tmp_path / "build", f"-DBUILD_TESTING={'ON' if testing else 'OFF'}"],
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stderr
    assert (tmp_path / "build" / "modules" / "InnerEarAILib" / "models" / "clinical" / "model.json").is_file()
    assert ("test: SCRIPT;InnerEarAI.py" in built.stdout) == testing


def test_the_cmake_that_builds_slicer_builds_the_extension():
    first, last = re.match(r"cmake_minimum_required\(VERSION ([\d.]+)\.\.\.([\d.]+)\)", extension_cmake()).groups()
    assert [tuple(map(int, version.split("."))) for version in (first, last)] == [(3, 16, 3), (3, 28)]
