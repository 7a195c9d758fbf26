"""The Python packages that Slicer does not bring: what is missing, what it is for, and its installation on consent.

PyTorch comes by the PyTorch extension, which knows the build that fits the computer; the rest by pip.
"""

from __future__ import annotations

import importlib.metadata
import platform
import re
import sys
from dataclasses import dataclass

import slicer
import slicer.util
from slicer.i18n import tr as _

REQUESTER = "InnerEarAI"

FIRST_SLICER, FIRST_PYTHON = "5.10", (3, 11)
"""The oldest Slicer that will do, and the oldest Python that the library is written for."""

UNFIT_TORCH = "2.9."
"""PyTorch 2.9 has a regression in 3D convolutions; releases before and after have not."""

LAST_TORCH_OF_INTEL_MACS = "2.2.2"

FIRST_TORCH_WITH_NUMPY_2 = (2, 3)
"""PyTorch before it is built for NumPy 1: beside NumPy 2 it can be imported, but takes no array."""


@dataclass(frozen=True)
class Package:
    """A package that the networks need.

    Attributes:
        name: of the package, as pip and Python know it.
        requirement: with the versions that will do.
        reason: what it is for, and how much room it takes.
    """

    name: str
    requirement: str
    reason: str


class InstallationError(RuntimeError):
    """Something could not be installed; the message is one clear sentence that says what to do."""


def packages() -> tuple[Package, ...]:
    """What is needed beside what Slicer brings."""
    return (
        Package(
            "torch",
            f"torch{torch_versions()}",
            _(
                "PyTorch, runs the networks: about 0.8 GB on disk, several times as much with support of an NVIDIA "
                "GPU; with it come light-the-torch, which finds the build that fits the computer, and torchvision"
            ),
        ),
        Package("safetensors", "safetensors>=0.4", _("reads the networks' weights: about 1.5 MB")),
    )


def torch_versions() -> str:
    """The versions of PyTorch that will do here, as pip writes them."""
    versions = [">=2.1.2", f"!={UNFIT_TORCH}*"]
    if sys.platform == "win32":
        # Its paths are longer than Windows allows by default.
        versions.append("!=2.13.*")
    if _is_intel_mac():
        versions.append(f"<={LAST_TORCH_OF_INTEL_MACS}")
    return ",".join(versions)


def missing_packages() -> tuple[Package, ...]:
    """What has to be installed before anything can be computed. Imports nothing."""
    return tuple(package for package in packages() if installed_version(package.name) is None)


def installed_version(name: str) -> str | None:
    """The version of a package; None where it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def obstacle() -> str:
    """Why nothing can be computed with what is installed, in one sentence with a way out; empty where all is well."""
    missing = missing_packages()
    return lasting_fault() or (missing_sentence(missing[0].name) if missing else "")


def missing_sentence(name: str) -> str:
    """What is to be done about a package that is missing, where there is no panel to ask for it."""
    return _(
        "The Python package {package} is not installed in Slicer. Press the button in the module Inner Ear "
        "AI, which installs it; or install the PyTorch extension, then run "
        "slicer.util.pip_install('{package}') in the Python console."
    ).format(package=name)


def lasting_fault() -> str:
    """What is wrong with this Slicer or its PyTorch, and stays so if what is missing is installed; or empty."""
    return slicer_too_old() or torch_fault()


def slicer_too_old() -> str:
    """Why this Slicer's Python cannot run the library, in one sentence; empty where it can."""
    if sys.version_info[:2] >= FIRST_PYTHON:
        return ""
    return _("InnerEarAI needs Slicer {slicer} or newer (Python {first}); this one has Python {python}.").format(
        slicer=FIRST_SLICER, first=_dotted(FIRST_PYTHON), python=_dotted(sys.version_info[:2])
    )


def torch_fault() -> str:
    """What is wrong with the PyTorch that is installed or would be, in one sentence; empty where nothing is."""
    if (installed_version("torch") or "").startswith(UNFIT_TORCH):
        return _(
            "PyTorch 2.9 has a fault in 3D convolutions; replace it by another version in the module PyTorch Utils."
        )
    return numpy_conflict()


def numpy_conflict() -> str:
    """Why PyTorch, as it is installed or would be, cannot take NumPy's arrays; one sentence, empty where it can."""
    torch = installed_version("torch") or (LAST_TORCH_OF_INTEL_MACS if _is_intel_mac() else None)
    if torch is None or _release(torch) >= FIRST_TORCH_WITH_NUMPY_2:
        return ""
    numpy = installed_version("numpy")
    if numpy is None or _release(numpy) < (2, 0):
        return ""
    if _is_intel_mac():
        # The PyTorch extension leaves NumPy as it is.
        return _(
            "PyTorch {torch}, the last one for Slicer on Intel Macs, cannot be used with NumPy {numpy}: run "
            "slicer.util.pip_install('numpy<2') in the Python console and restart Slicer (other modules may then miss "
            "the newer NumPy), or use Slicer on another system."
        ).format(torch=torch, numpy=numpy)
    return _(
        "PyTorch {torch} cannot be used with NumPy {numpy}: replace it by a newer version in the module PyTorch Utils."
    ).format(torch=torch, numpy=numpy)


def consent_to(missing: tuple[Package, ...]) -> bool:
    """Asks the user, with everything that will be installed, its size and its reason."""
    lines = [f"• {package.requirement}\n   {package.reason}" for package in missing]
    return slicer.util.confirmOkCancelDisplay(
        _(
            "To segment inner ears, these packages have to be installed once:\n\n{packages}\n\n"
            "They are downloaded from the internet into Slicer's own Python. No data leave this computer."
        ).format(packages="\n".join(lines)),
        windowTitle=_("Install what the networks need?"),
    )


def install(missing: tuple[Package, ...]) -> None:
    """Installs packages; the user has consented.

    Raises:
        InstallationError: if one of them cannot be installed, or does not go with what is there.
    """
    for package in missing:
        try:
            if package.name == "torch":
                _install_torch()
            else:
                _pip_install(package.requirement)
        except InstallationError:
            raise
        except Exception as error:  # pip ends in whatever exception its version has
            raise InstallationError(
                _(
                    "{name} could not be installed ({error}). Is this computer connected to the internet? Without a "
                    "connection it can be installed from a file: slicer.util.pip_install('PATH.whl')."
                ).format(name=package.name, error=error)
            ) from error
    still_missing = [package.name for package in missing_packages()]
    if still_missing:
        raise InstallationError(
            _("{names} could not be installed; the Python console says why.").format(names=", ".join(still_missing))
        )
    if fault := torch_fault():
        raise InstallationError(fault)


def _install_torch() -> None:
    try:
        import PyTorchUtils
    except ModuleNotFoundError as error:
        raise InstallationError(
            _(
                "PyTorch is installed by the extension “PyTorch”, which is missing: install it by the Extensions "
                "Manager, restart Slicer, and press the button again."
            )
        ) from error
    logic = PyTorchUtils.PyTorchUtilsLogic()
    if logic.installTorch(askConfirmation=False, torchVersionRequirement=torch_versions()) is None:
        raise InstallationError(_("PyTorch was not installed; the Python console says why."))


def _pip_install(requirement: str) -> None:
    try:
        from slicer.packaging import pip_ensure
    except ImportError:
        # Slicer 5.10 and older.
        slicer.util.pip_install(requirement)
    else:
        pip_ensure([requirement], requester=REQUESTER, prompt_install=False)


def _is_intel_mac() -> bool:
    # Of Slicer, not of the computer: its Python under Rosetta says so too, and takes the same wheels.
    return sys.platform == "darwin" and platform.machine() == "x86_64"


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(str(number) for number in version)


def _release(version: str) -> tuple[int, ...]:
    """Major and minor number: (2, 2) of "2.2.2+cpu"."""
    return tuple(int(number) for number in re.findall(r"\d+", version)[:2])
