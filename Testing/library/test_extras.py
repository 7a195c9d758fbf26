"""An installation without the extras: what works, and the one sentence where something is missing."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from InnerEarAILib import cli
from library.labelled_balls import data_set

ROOT = Path(__file__).parents[2]

WITHOUT_EXTRAS = f"import sys; sys.modules.update(dict.fromkeys({sorted(cli.EXTRAS)}))\n"
"""Python finds no module that stands there as None."""

DRAWN_AS_A_BLOCK = """
from InnerEarAILib.phantom import phantom
phantom.sample_temporal_bone = lambda rng, variant, state: None
"""


def without_extras(script, *arguments):
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_EXTRAS + script, *map(str, arguments)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONPATH": str(ROOT / "InnerEarAI"), "PYTHONIOENCODING": "utf-8"},
        check=False,
    )


def sentence(module):
    return f'The Python module {module} is missing; install it with: pip install ".[{cli.EXTRAS[module]}]".'


def ran(*arguments, before=""):
    return without_extras(f"{before}\nfrom InnerEarAILib import cli\nsys.exit(cli.main(sys.argv[1:]))", *arguments)


def requirements():
    """What pyproject.toml asks for: the library's own packages under "", those of each extra under its name."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    listed = {"": project["dependencies"], **project["optional-dependencies"]}
    return {extra: [Requirement(line) for line in lines] for extra, lines in listed.items()}


def test_the_extras_bring_what_is_said_to_be_missing():
    brought = {(one.name, extra) for extra, packages in requirements().items() if extra for one in packages}
    assert brought | {("vtkmodules", "surfaces")} == set(cli.EXTRAS.items())


def test_the_versions_that_are_tested_are_among_those_that_are_asked_for():
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    tested = {name.lower(): version for name, _, version in (line.partition("==") for line in lines)}
    for packages in requirements().values():
        for one in packages:
            assert one.specifier.contains(tested[one.name.lower()]), one
            assert "==" not in {part.operator for part in one.specifier}, one


def test_the_side_wings_load_with_the_librarys_own_packages():
    done = without_extras(
        "import importlib, pkgutil\n"
        "for wing in ('phantom', 'training', 'evaluation', 'benchmark'):\n"
        "    package = importlib.import_module(f'InnerEarAILib.{wing}')\n"
        "    for module in pkgutil.iter_modules(package.__path__, f'{package.__name__}.'):\n"
        "        try:\n"
        "            importlib.import_module(module.name)\n"
        "        except ModuleNotFoundError as error:\n"
        "            print(module.name.rpartition('.')[2], error.name)\n"
    )
    assert done.returncode == 0, done.stderr
    # What VTK is for, and imported where it is asked for.
    assert {line.split()[0] for line in done.stdout.splitlines()} == {"given_files", "given_labyrinth", "given_surface"}


def test_variations_are_listed_without_the_extras():
    done = ran("ablate", "--list")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 46


@pytest.mark.parametrize(
    ("arguments", "module", "before"),
    [
        (["phantom", "-o", "OUT", "--side", "left", "--labyrinth", "SURFACE"], "vtkmodules", DRAWN_AS_A_BLOCK),
        (["train", "base", "--data", "DATA", "-o", "OUT"], "monai", ""),
        (["ablate", "--only", "base", "--data", "DATA", "-o", "OUT", "--device", "cpu"], "monai", ""),
        (["evaluate", "--model", "clinical", "--anatomy", "SURFACE", "SURFACE", "-o", "OUT"], "vtkmodules", ""),
        (["benchmark", "--scan", "crop-50mm", "--device", "cpu", "-o", "OUT"], "matplotlib", ""),
    ],
)
def test_a_missing_module_ends_in_one_sentence_before_any_work(tmp_path, arguments, module, before):
    places = {"OUT": tmp_path / "out", "DATA": data_set(tmp_path / "balls", 2), "SURFACE": tmp_path / "mine.ply"}
    places["SURFACE"].touch()
    done = ran(*(places.get(argument, argument) for argument in arguments), before=before)
    assert done.returncode == 2, done.stderr
    assert done.stderr == f"{arguments[0]}: {sentence(module)}\n"
    assert not list(tmp_path.glob("out/*"))


def test_other_missing_modules_are_mistakes_of_ours(monkeypatch, capsys):
    def fails(chosen):
        raise ModuleNotFoundError("No module named 'InnerEarAILib.gone'", name="InnerEarAILib.gone")

    monkeypatch.setattr("InnerEarAILib.phantom.command.run_phantom_command", fails)
    assert cli.main(["phantom", "-o", "out"]) == 1
    assert "Traceback" in capsys.readouterr().err
