"""CT scanners: what they are (resolution, kernel, noise, artefacts, storage), and how they are drawn at random.

All lengths are millimetres along the axes (i, j, k) of the scanner's image: i and j lie in the slice, k across it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from InnerEarAILib.volume import Grid, InputError

ScannerKind = Literal["flat_panel", "cone_beam", "multi_slice", "thick_slice", "micro"]
SCANNER_KINDS: tuple[ScannerKind, ...] = get_args(ScannerKind)
"""Multi-slice CT has the protocol of a temporal bone, thick-slice CT is a multi-slice scanner's routine head."""


@dataclass(frozen=True)
class Artefacts:
    """What goes wrong in a scan; zero is nothing.

    Attributes:
        ring_hounsfield: standard deviation of concentric rings round the rotation axis.
        cupping_hounsfield: how much lower the middle of the field reads than its edge.
        bar_hounsfield: depth of the dark bar in a row that is dense bone throughout (beam hardening).
        starvation: relative rise of the noise in such a row.
        motion_mm: length of a shift of the head during the scan.
        motion_share: share of the scan taken after the shift, 0 to 0.5; gives the ghost's strength.
        metal_streaks: strength of the streaks that metal throws; 1 is usual. Without metal there are none.
    """

    ring_hounsfield: float = 0.0
    cupping_hounsfield: float = 0.0
    bar_hounsfield: float = 0.0
    starvation: float = 0.0
    motion_mm: float = 0.0
    motion_share: float = 0.0
    metal_streaks: float = 1.0


@dataclass(frozen=True)
class Storage:
    """How CT numbers become stored values: stored = round((clipped HU · gain + bias − intercept) / slope).

    Attributes:
        lowest, highest: HU, values beyond are clipped.
        slope, intercept: HU a stored step and HU of the stored zero.
        dtype: integer type of the stored values.
        gain, bias: how far the scanner's CT numbers are from true HU (cone-beam CT is not calibrated).
    """

    lowest: float = -1024.0
    highest: float = 3071.0
    slope: float = 1.0
    intercept: float = 0.0
    dtype: Literal["int16", "uint16"] = "int16"
    gain: float = 1.0
    bias: float = 0.0


@dataclass(frozen=True)
class Scanner:
    """A CT scanner with its protocol.

    Attributes:
        kind: family of scanners.
        kernel: name of the reconstruction kernel.
        spacing_mm: (3,) its own voxels, along i, j, k.
        fwhm_mm: (3,) full width at half maximum of the point-spread function along i, j, k.
        overshoot: edge enhancement of the kernel in the slice: weight of the point-spread function's negative ring.
        noise_hounsfield: standard deviation of the noise on the scanner's own voxels.
        noise_correlation: (3,) correlation of the noise of neighbouring voxels along i, j, k, −0.5 to 0.66.
        noise_diagonal: correlation of diagonal neighbours in a slice, beyond the product of those along i and j.
        noise_ramp: frequency in a slice, in waves per voxel, below which the ramp filter of the reconstruction leaves
            little noise; 0 for none. Counts where there is a diagonal correlation.
        artefacts: what goes wrong.
        field_diameter_mm: cylindrical field round the grid's centre, axis along k; None where the grid lies inside it.
        outside_hounsfield: what stands outside the field.
        storage: how values are kept.
    """

    kind: ScannerKind
    kernel: str
    spacing_mm: tuple[float, float, float]
    fwhm_mm: tuple[float, float, float]
    overshoot: float = 0.0
    noise_hounsfield: float = 0.0
    noise_correlation: tuple[float, float, float] = (0.0, 0.0, 0.0)
    noise_diagonal: float = 0.0
    noise_ramp: float = 0.0
    artefacts: Artefacts = Artefacts()
    field_diameter_mm: float | None = None
    outside_hounsfield: float = -1024.0
    storage: Storage = Storage()

    def native_grid(self, centre_lps: np.ndarray, extent_mm: float | np.ndarray) -> Grid:
        """The scanner's own grid along the patient's axes round a point.

        Args:
            centre_lps: (3,) LPS mm, centre of the grid.
            extent_mm: edge lengths along x, y, z, or one for all.
        """
        spacing = np.array(self.spacing_mm)
        counts = np.maximum(np.round(np.broadcast_to(np.asarray(extent_mm, float), 3) / spacing), 1).astype(int)
        return Grid.axis_aligned(counts[::-1], spacing, np.asarray(centre_lps, float) - (counts - 1) / 2 * spacing)


NOISE_RAMP = 0.35
"""Of edge-enhancing kernels: what fits the noise power of the clinical scan best."""

GE_BONEPLUS = Scanner(
    kind="multi_slice",
    kernel="BONEPLUS",
    spacing_mm=(0.488281, 0.488281, 0.625),
    fwhm_mm=(0.65, 0.65, 0.75),
    overshoot=0.45,
    noise_hounsfield=70.0,
    noise_correlation=(-0.03, 0.23, 0.27),
    noise_diagonal=-0.2,
    noise_ramp=NOISE_RAMP,
    storage=Storage(lowest=-32000.0, highest=32000.0),
)
"""The clinical scanner that the phantom is compared with: GE LightSpeed Pro 32, 120 kVp, edge-enhancing kernel."""


def sample_scanner(rng: np.random.Generator, kind: ScannerKind) -> Scanner:
    """Draws a scanner of a kind.

    Args:
        rng: source of randomness.
        kind: one of SCANNER_KINDS.

    Raises:
        InputError: if there is no such kind.
    """
    if kind not in SCANNER_KINDS:
        raise InputError(f"There is no scanner '{kind}'; choose one of {', '.join(SCANNER_KINDS)}.")
    return _SAMPLERS[kind](rng)


def _flat_panel(rng: np.random.Generator) -> Scanner:
    fwhm = rng.uniform(0.16, 0.30)
    correlation = rng.uniform(0.25, 0.6)
    return Scanner(
        kind="flat_panel",
        kernel="secondary reconstruction",
        spacing_mm=(0.099, 0.099, 0.099),
        fwhm_mm=(fwhm, fwhm, fwhm * rng.uniform(0.9, 1.15)),
        overshoot=rng.uniform(0.0, 0.12),
        noise_hounsfield=rng.uniform(40.0, 220.0),
        noise_correlation=(correlation, correlation, correlation * rng.uniform(0.7, 1.0)),
        artefacts=_sample_artefacts(rng, rings=60.0, cupping=150.0, bar=200.0, motion_mm=0.25),
        storage=_sample_storage(rng, calibrated=0.5),
    )


def _cone_beam(rng: np.random.Generator) -> Scanner:
    spacing = float(rng.choice([0.125, 0.15, 0.16, 0.2]))
    fwhm = rng.uniform(1.6, 2.8) * spacing
    correlation = rng.uniform(0.2, 0.6)
    return Scanner(
        kind="cone_beam",
        kernel="cone beam",
        spacing_mm=(spacing,) * 3,
        fwhm_mm=(fwhm, fwhm, fwhm * rng.uniform(0.9, 1.2)),
        overshoot=rng.uniform(0.0, 0.2),
        noise_hounsfield=rng.uniform(60.0, 260.0),
        noise_correlation=(correlation, correlation, correlation * rng.uniform(0.7, 1.0)),
        artefacts=_sample_artefacts(rng, rings=80.0, cupping=300.0, bar=350.0, motion_mm=0.5),
        field_diameter_mm=float(rng.uniform(40.0, 80.0)) if rng.random() < 0.5 else None,
        outside_hounsfield=float(rng.choice([-1000.0, -1024.0, 0.0])),
        storage=_sample_storage(rng, calibrated=0.2),
    )


def _multi_slice(rng: np.random.Generator) -> Scanner:
    kernel, fwhm, overshoot, noise, correlation = _KERNELS[int(rng.integers(len(_KERNELS)))]
    in_plane = rng.uniform(0.2, 0.5)
    slice_mm = rng.uniform(0.4, 0.7)
    width = fwhm * rng.uniform(0.9, 1.15)
    # The grid never samples more coarsely than the kernel resolves by much: radiologists choose the field to fit.
    width = max(width, 1.1 * in_plane)
    finer = 0.45 / in_plane
    along_i = float(np.clip(correlation + 0.35 * (finer - 1) + rng.normal(0, 0.05), -0.1, 0.6))
    along_j = float(np.clip(along_i + rng.uniform(0.0, 0.25), -0.1, 0.62))
    return Scanner(
        kind="multi_slice",
        kernel=kernel,
        spacing_mm=(in_plane, in_plane, slice_mm),
        fwhm_mm=(width, width, max(slice_mm, 0.55) * rng.uniform(1.0, 1.35)),
        overshoot=overshoot * rng.uniform(0.6, 1.4),
        noise_hounsfield=noise * rng.uniform(0.5, 1.8),
        noise_correlation=(along_i, along_j, float(rng.uniform(0.1, 0.5))),
        noise_diagonal=float(rng.uniform(-0.2, 0.0)) if along_i < 0.2 else 0.0,
        noise_ramp=NOISE_RAMP,
        artefacts=_sample_artefacts(rng, rings=6.0, cupping=20.0, bar=80.0, motion_mm=0.6),
        storage=_sample_storage(rng, calibrated=0.9),
    )


def _thick_slice(rng: np.random.Generator) -> Scanner:
    kernel, fwhm, overshoot, noise, correlation = _KERNELS[int(rng.integers(len(_KERNELS)))]
    in_plane = rng.uniform(0.35, 0.6)
    thickness = rng.uniform(0.8, 1.6)
    width = max(fwhm * rng.uniform(0.95, 1.35), 1.1 * in_plane)
    along = float(np.clip(correlation + rng.normal(0, 0.05), -0.1, 0.5))
    return Scanner(
        kind="thick_slice",
        kernel=kernel,
        # Slices touch or overlap, by up to a half.
        spacing_mm=(in_plane, in_plane, thickness * rng.uniform(0.5, 1.0)),
        fwhm_mm=(width, width, thickness),
        overshoot=overshoot * rng.uniform(0.6, 1.4),
        noise_hounsfield=noise * rng.uniform(0.3, 1.2),
        noise_correlation=(along, along, float(rng.uniform(0.1, 0.5))),
        artefacts=_sample_artefacts(rng, rings=6.0, cupping=20.0, bar=80.0, motion_mm=0.8),
        storage=_sample_storage(rng, calibrated=0.9),
    )


def _micro(rng: np.random.Generator) -> Scanner:
    spacing = rng.uniform(0.02, 0.06)
    fwhm = spacing * rng.uniform(1.5, 2.5)
    correlation = rng.uniform(0.1, 0.5)
    return Scanner(
        kind="micro",
        kernel="micro-CT",
        spacing_mm=(spacing,) * 3,
        fwhm_mm=(fwhm, fwhm, fwhm),
        noise_hounsfield=rng.uniform(50.0, 300.0),
        noise_correlation=(correlation,) * 3,
        artefacts=_sample_artefacts(rng, rings=120.0, cupping=250.0, bar=100.0, motion_mm=0.0),
        storage=_sample_storage(rng, calibrated=0.1),
    )


_KERNELS = (
    # name, FWHM in the slice (mm), overshoot, noise (HU), noise correlation at 0.45 mm voxels
    ("edge-enhancing bone", 0.62, 0.45, 70.0, 0.00),
    ("sharp bone", 0.56, 0.20, 90.0, 0.05),
    ("medium", 0.80, 0.03, 35.0, 0.30),
    ("soft", 1.05, 0.00, 18.0, 0.50),
)

_SAMPLERS = {
    "flat_panel": _flat_panel,
    "cone_beam": _cone_beam,
    "multi_slice": _multi_slice,
    "thick_slice": _thick_slice,
    "micro": _micro,
}


def _sample_artefacts(
    rng: np.random.Generator, rings: float, cupping: float, bar: float, motion_mm: float
) -> Artefacts:
    moved = rng.random() < 0.2
    return Artefacts(
        ring_hounsfield=rings * rng.random() ** 2 if rng.random() < 0.5 else 0.0,
        cupping_hounsfield=cupping * rng.random() ** 2,
        bar_hounsfield=bar * rng.random() ** 2,
        starvation=rng.uniform(0.0, 0.6),
        motion_mm=motion_mm * rng.random() if moved else 0.0,
        motion_share=rng.uniform(0.1, 0.5) if moved else 0.0,
        metal_streaks=rng.uniform(0.3, 1.5),
    )


def _sample_storage(rng: np.random.Generator, calibrated: float) -> Storage:
    """Storage of a scanner whose CT numbers are true HU with probability `calibrated`."""
    top = float(rng.choice([3071.0, 4000.0, 12000.0]))
    if rng.random() < calibrated:
        return Storage(lowest=float(rng.choice([-1024.0, -2000.0])), highest=top)
    gain, bias = rng.uniform(0.7, 1.2), rng.normal(0.0, 120.0)
    if rng.random() < 0.5:
        return Storage(lowest=-1024.0, highest=top, gain=gain, bias=bias)
    # The range fills the unsigned type from zero, as exported reconstructions of flat-panel and micro-CT do.
    lowest, highest = -1500.0, 4000.0
    slope = (highest - lowest) * gain / float(rng.choice([4095.0, 65535.0]))
    return Storage(lowest, highest, slope, lowest * gain + bias, "uint16", gain, bias)
