"""The first use: what is listed, what is installed, and that declining leaves everything as it was."""

from __future__ import annotations

import sys
import tomllib
import types
from pathlib import Path

import pytest
import slicer
import slicer.util

import InnerEarAI as module
from InnerEarAILib.panel import installation
from panel.driving import FINDS_TWO_EARS, finish, node_ids


@pytest.fixture
def installed(monkeypatch):
    """What is installed: a dictionary that tests and the fakes of the installers change."""
    there = {}
    monkeypatch.setattr(installation, "installed_version", there.get)
    return there


@pytest.fixture
def asked(monkeypatch):
    """What the user was asked, and what they answer."""
    questions = types.SimpleNamespace(texts=[], answer=True)

    def ask(text, **more):
        questions.texts.append(text)
        return questions.answer

    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", ask)
    return questions


@pytest.fixture
def calls(monkeypatch, installed):
    """Stand-ins for PyTorchUtils and slicer.packaging that note what they were asked for."""
    made = []

    class PyTorchUtilsLogic:
        def installTorch(self, askConfirmation=False, forceComputationBackend=None, torchVersionRequirement=None):  # noqa: N802, N803
            made.append(("installTorch", torchVersionRequirement))
            installed["torch"] = "2.13.0"
            return types.ModuleType("torch")

    def pip_ensure(requirements, requester=None, prompt_install=True):
        made.append(("pip_ensure", requirements, requester, prompt_install))
        installed["safetensors"] = "0.8"

    monkeypatch.setitem(sys.modules, "PyTorchUtils", types.SimpleNamespace(PyTorchUtilsLogic=PyTorchUtilsLogic))
    monkeypatch.setitem(sys.modules, "slicer.packaging", types.SimpleNamespace(pip_ensure=pip_ensure))
    return made


def test_everything_is_listed_with_size_and_reason_beforehand(panel, scan, installed, asked, calls, answers):
    answers(FINDS_TWO_EARS)
    status = finish(panel)
    (text,) = asked.texts
    for one in ("torch>=2.1.2", "runs the networks: about 0.8 GB", "torchvision", "light-the-torch"):
        assert one in text
    for one in ("safetensors>=0.4", "1.5 MB", "No data leave"):
        assert one in text
    assert calls == [
        ("installTorch", installation.torch_versions()),
        ("pip_ensure", ["safetensors>=0.4"], "InnerEarAI", False),
    ]
    assert "Found" in status


def test_declining_leaves_everything_as_it_was_with_a_hint(panel, scan, installed, asked, calls):
    before = node_ids()
    asked.answer = False
    status = finish(panel)
    assert "Nothing was installed and nothing was changed." in status
    assert "torch and safetensors" in status
    assert "press the button again" in status
    assert calls == []
    assert node_ids() == before
    assert panel.widget.ui.segmentButton.enabled


def test_pressing_the_button_during_the_installation_starts_no_second_one(
    panel, scan, installed, asked, calls, answers, monkeypatch
):
    def pip_ensure(*arguments, **choices):
        panel.settle()
        assert not panel.widget.ui.segmentButton.enabled
        panel.widget.panel._on_button()
        installed["safetensors"] = "0.8"

    monkeypatch.setattr(sys.modules["slicer.packaging"], "pip_ensure", pip_ensure)
    answers(FINDS_TWO_EARS)
    assert "Found" in finish(panel)
    assert len(asked.texts) == 1
    assert len(slicer.util.getNodesByClass("vtkMRMLSegmentationNode")) == 1


def test_a_scene_that_is_closed_during_the_installation_starts_nothing(
    panel, scan, installed, asked, calls, answers, monkeypatch
):
    def pip_ensure(*arguments, **choices):
        panel.leave()
        slicer.mrmlScene.Clear()
        panel.settle()
        installed["safetensors"] = "0.8"

    monkeypatch.setattr(sys.modules["slicer.packaging"], "pip_ensure", pip_ensure)
    answers(FINDS_TWO_EARS)
    panel.widget.ui.segmentButton.click()
    assert panel.widget.panel._run is None
    panel.enter()
    assert "Load a CT" in panel.widget.ui.statusLabel.text


def test_what_is_there_is_not_asked_for_again(panel, scan, installed, asked, calls, answers):
    installed["torch"] = "2.12.0"
    answers(FINDS_TWO_EARS)
    finish(panel)
    assert "torch" not in asked.texts[0].replace("safetensors", "")
    assert [call[0] for call in calls] == ["pip_ensure"]
    finish(panel)
    assert len(asked.texts) == 1


def test_without_the_pytorch_extension_the_way_to_it_is_said(panel, scan, installed, asked, monkeypatch):
    monkeypatch.setitem(sys.modules, "PyTorchUtils", None)
    assert "install it by the Extensions Manager, restart Slicer" in finish(panel)


def test_an_installation_that_fails_says_why(panel, scan, installed, asked, calls, monkeypatch):
    def fail(*arguments, **choices):
        raise OSError("no route to host")

    monkeypatch.setattr(sys.modules["slicer.packaging"], "pip_ensure", fail)
    status = finish(panel)
    assert "safetensors could not be installed (no route to host)" in status
    assert "connected to the internet?" in status


def test_an_installer_that_does_nothing_is_noticed(panel, scan, installed, asked, calls, monkeypatch):
    monkeypatch.setattr(sys.modules["slicer.packaging"], "pip_ensure", lambda *arguments, **choices: None)
    assert "safetensors could not be installed" in finish(panel)


def test_slicer_without_packaging_takes_pip_install(installed, monkeypatch):
    taken = []
    monkeypatch.setitem(sys.modules, "slicer.packaging", None)

    def pip_install(requirement):
        taken.append(requirement)
        installed["safetensors"] = "0.8"

    monkeypatch.setattr(slicer.util, "pip_install", pip_install)
    installed["torch"] = "2.13.0"
    installation.install(installation.missing_packages())
    assert taken == ["safetensors>=0.4"]


def test_a_wheel_asks_for_the_same_versions(monkeypatch):
    monkeypatch.setattr(installation.sys, "platform", "linux")
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    asked_for = tomllib.loads(text)["project"]["dependencies"]
    assert {package.requirement for package in installation.packages()} <= set(asked_for)


@pytest.mark.parametrize(
    ("system", "machine", "versions"),
    [
        ("linux", "x86_64", ">=2.1.2,!=2.9.*"),
        ("win32", "AMD64", ">=2.1.2,!=2.9.*,!=2.13.*"),
        ("darwin", "x86_64", ">=2.1.2,!=2.9.*,<=2.2.2"),
        ("darwin", "arm64", ">=2.1.2,!=2.9.*"),
    ],
)
def test_each_system_gets_a_pytorch_that_works_on_it(monkeypatch, system, machine, versions):
    monkeypatch.setattr(installation.sys, "platform", system)
    monkeypatch.setattr(installation.platform, "machine", lambda: machine)
    assert installation.torch_versions() == versions


def test_an_unfit_pytorch_is_said_in_the_panel(panel, scan, installed):
    installed["torch"] = "2.9.1"
    panel.enter()
    assert "PyTorch 2.9" in panel.widget.ui.deviceHint.text
    panel.widget.ui.segmentButton.click()
    assert panel.widget.panel._run is None
    assert "PyTorch 2.9" in panel.widget.panel._message


def test_an_unfit_pytorch_is_refused_where_no_panel_shows_a_hint(host, installed):
    installed.update({"torch": "2.9.1", "safetensors": "0.8"})
    assert "PyTorch 2.9" in installation.obstacle()
    with pytest.raises(RuntimeError, match=r"PyTorch 2\.9 has a fault"):
        module.InnerEarAILogic()._segmenter()


@pytest.fixture
def intel_mac(monkeypatch):
    """A Slicer for Intel Macs."""
    monkeypatch.setattr(installation.sys, "platform", "darwin")
    monkeypatch.setattr(installation.platform, "machine", lambda: "x86_64")


def test_on_an_intel_mac_with_numpy_2_nothing_is_asked_and_the_way_out_is_said(
    panel, scan, installed, asked, calls, intel_mac
):
    installed["numpy"] = "2.0.2"
    panel.enter()
    assert "cannot be used with NumPy 2.0.2" in panel.widget.ui.deviceHint.text
    status = finish(panel)
    assert "PyTorch 2.2.2, the last one for Slicer on Intel Macs, cannot be used with NumPy 2.0.2" in status
    assert "slicer.util.pip_install('numpy<2')" in status
    assert "restart Slicer" in status
    assert asked.texts == []
    assert calls == []


def test_on_an_intel_mac_with_an_older_numpy_all_goes_its_way(
    panel, scan, installed, asked, calls, answers, monkeypatch, intel_mac
):
    installed["numpy"] = "1.26.4"
    answers(FINDS_TWO_EARS)
    assert "Found" in finish(panel)
    assert "<=2.2.2" in asked.texts[0]


@pytest.mark.parametrize(
    ("torch", "numpy", "goes"),
    [
        ("2.2.2", "2.0.2", False),
        ("2.2.1+cpu", "2.4.1", False),
        ("2.3.0", "2.0.2", True),
        ("2.13.0+cu130", "2.4.1", True),
        ("2.2.2", "1.26.4", True),
        (None, "2.0.2", True),
        ("2.2.2", None, True),
    ],
)
def test_an_old_pytorch_beside_numpy_2_is_said_before_a_run(panel, scan, installed, answers, torch, numpy, goes):
    installed.update({"torch": torch, "numpy": numpy, "safetensors": "0.8"})
    assert (installation.numpy_conflict() == "") == goes
    if not goes:
        answers(FINDS_TWO_EARS)
        assert finish(panel) == (
            f"PyTorch {torch} cannot be used with NumPy {numpy}: replace it by a newer version in the module PyTorch "
            "Utils."
        )


def test_a_pytorch_that_was_installed_and_is_too_old_for_numpy_is_noticed(installed, calls, monkeypatch):
    def install_old(self, **choices):
        installed["torch"] = "2.1.2"
        return types.ModuleType("torch")

    installed.update({"numpy": "2.0.2", "safetensors": "0.8"})
    monkeypatch.setattr(sys.modules["PyTorchUtils"].PyTorchUtilsLogic, "installTorch", install_old)
    with pytest.raises(installation.InstallationError, match=r"PyTorch 2\.1\.2 cannot be used with NumPy 2\.0\.2"):
        installation.install(installation.missing_packages())


def test_in_a_slicer_that_is_too_old_nothing_is_asked_and_the_button_says_why(
    panel, scan, installed, asked, calls, monkeypatch
):
    monkeypatch.setattr(installation, "sys", types.SimpleNamespace(version_info=(3, 9, 10), platform="linux"))
    sentence = "InnerEarAI needs Slicer 5.10 or newer (Python 3.11); this one has Python 3.9."
    panel.enter()
    assert panel.widget.ui.deviceHint.text == sentence
    assert finish(panel) == sentence
    assert panel.widget.panel._run is None
    assert asked.texts == []
    assert calls == []
    assert installation.obstacle() == sentence
