"""What a NIfTI-1 header says that its reader does not ask: whether all voxels are there, and how the scan lies, twice.

The qform is a rotation by a quaternion, the sform a matrix; either may be absent (NIfTI-1 standard, "3D image
orientation and location in space").
"""

from __future__ import annotations

import gzip
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from InnerEarAILib.compressed_files import decompressed_bytes
from InnerEarAILib.scan_checks import check_size
from InnerEarAILib.volume import AXES_TOLERANCE, Grid, InputError

_HEADER_BYTES = 348

_BYTE_ORDER = {348: "<", 1543569408: ">"}
"""The first number of a NIfTI-1 file, read as little-endian, and the byte order that it reveals (NIfTI-1 standard)."""

_NIFTI_2 = (540, 469893120)
"""The first number of a NIfTI-2 file in either byte order."""

_VOXELS_ELSEWHERE = b"ni1\0"

LARGEST_TURN_DEGREES = 45.0
"""Two forms of one scan that are turned against each other by more name other axes of the patient; ours."""

LENGTH_TOLERANCE = 0.01
"""Share by which the voxel edges of a sform may differ from those of the header; ours."""

CLOSE_VOXELS = 0.5
"""Forms that lie nearer to each other everywhere, in the shortest voxel edge, are the same to a reader; ours."""


@dataclass(frozen=True)
class NiftiForms:
    """How a file says that the scan lies.

    Attributes:
        shape_ijk: numbers of voxels, (3,).
        qform_lps: (4, 4), maps (i, j, k, 1) to LPS in the file's unit of length; None where there is none.
        sform_lps: likewise.
    """

    shape_ijk: tuple[int, int, int]
    qform_lps: np.ndarray | None
    sform_lps: np.ndarray | None

    @property
    def say_how_it_lies(self) -> bool:
        """Whether there is one at least."""
        return self.qform_lps is not None or self.sform_lps is not None

    def check(self, name: str, edges: np.ndarray) -> None:
        """Refuses forms of which nobody can say which is right.

        Args:
            name: of the file.
            edges: of the voxels by the header, (3,), in the file's unit of length.

        Raises:
            InputError: one mirrors the other or is turned against it, or the sform's voxels are of another size.
        """
        if self.sform_lps is None:
            return
        matrix = self.sform_lps[:3, :3]
        lengths = np.linalg.norm(matrix, axis=0)
        directions = matrix / np.where(lengths > 0, lengths, 1)
        if self.qform_lps is not None:
            by_qform = self.qform_lps[:3, :3] / edges
            if np.linalg.det(by_qform) * np.linalg.det(directions) < 0:
                raise InputError(
                    f"{name} says in two ways how the scan lies (qform and sform), of which one mirrors the other; "
                    "export it again, so that left and right are certain."
                )
            turn = np.degrees(np.arccos(np.clip((by_qform * directions).sum(0).min(), -1, 1)))
            if turn > LARGEST_TURN_DEGREES:
                raise InputError(
                    f"{name} says in two ways how the scan lies (qform and sform), which are turned by {turn:.0f}° "
                    "against each other; export it again, so that its orientation is certain."
                )
        elif np.abs(directions.T @ directions - np.eye(3)).max() > AXES_TOLERANCE:
            return  # sheared, which the reader refuses
        if not (np.abs(lengths - edges) <= LENGTH_TOLERANCE * edges).all():
            raise InputError(
                f"{name} gives its voxels two sizes, {_times(edges)} (pixdim) and {_times(lengths)} (sform); "
                "export it again with its true spacing."
            )

    def note_of_use(self, read: Grid) -> str | None:
        """A sentence where the forms differ, by which of them the scan was read."""
        if self.qform_lps is None or self.sform_lps is None:
            return None
        by_qform, by_sform = (Grid(self.shape_ijk[::-1], form) for form in (self.qform_lps, self.sform_lps))
        apart = np.linalg.norm(by_qform.corners_lps() - by_sform.corners_lps(), axis=1).max()
        if apart <= CLOSE_VOXELS * by_qform.spacing_mm.min():
            return None
        to_mm = read.spacing_mm.min() / by_qform.spacing_mm.min()
        off = [np.abs(to_mm * form.corners_lps() - read.corners_lps()).max() for form in (by_qform, by_sform)]
        used = ("qform", "sform")[int(np.argmin(off))]
        return (
            f"The file says in two ways how the scan lies (qform and sform, up to {apart * to_mm:.2g} mm apart); "
            f"the {used} was taken: check the places."
        )


def check_nifti(path: Path, is_compressed: bool) -> NiftiForms | None:
    """Refuses what the reader would quietly mend: voxels that are not there, an absent spacing, forms that contradict.

    Args:
        path: of the file.
        is_compressed: whether it is compressed by gzip as a whole.

    Returns:
        How the file says that the scan lies; None where it is no NIfTI file, which is left to the reader to refuse.

    Raises:
        InputError: what the file says cannot be used.
        EOFError: voxels are missing, or lie nowhere.
        zlib.error, gzip.BadGzipFile: the compressed file is damaged.
        OSError: it cannot be opened.
    """
    with (gzip.open if is_compressed else open)(path, "rb") as file:
        header = file.read(_HEADER_BYTES)
    first = int.from_bytes(header[:4], "little")
    if first in _NIFTI_2:
        raise InputError(f"{path.name} is NIfTI-2, which is not read here; save it as NIfTI-1 or NRRD.")
    order = _BYTE_ORDER.get(first)
    if len(header) < _HEADER_BYTES or order is None:
        return None
    dimensions = struct.unpack(f"{order}8h", header[40:56])
    bits = struct.unpack(f"{order}h", header[72:74])[0]
    edges = np.array(struct.unpack(f"{order}8f", header[76:108])[1:4])
    offset = struct.unpack(f"{order}f", header[108:112])[0]
    voxels = int(np.prod([max(n, 1) for n in dimensions[1 : 1 + min(max(dimensions[0], 0), 7)]], dtype=object))
    forms = _forms(header, order, dimensions[1:4], edges)
    if dimensions[0] >= 3:
        if not (np.isfinite(edges) & (edges > 0)).all():
            raise InputError(f"{path.name} has a voxel spacing of zero or less; export it again with its true spacing.")
        forms.check(path.name, edges)
    check_size([max(n, 1) for n in dimensions[3:0:-1]])  # that there is one volume alone is seen later
    if not np.isfinite(offset):
        raise EOFError
    needed = 0 if header[344:] == _VOXELS_ELSEWHERE else int(offset) + voxels * bits // 8
    if _length(path, is_compressed) < needed:
        raise EOFError
    return forms


def _length(path: Path, is_compressed: bool) -> int:
    if not is_compressed:
        return path.stat().st_size
    with path.open("rb") as file:
        return decompressed_bytes(file)


def _forms(header: bytes, order: str, shape_ijk: tuple[int, ...], edges: np.ndarray) -> NiftiForms:
    qform_code, sform_code = struct.unpack(f"{order}2h", header[252:256])
    to_lps = np.diag([-1.0, -1.0, 1.0, 1.0])
    qform, sform = np.eye(4), np.eye(4)
    b, c, d, *qform[:3, 3] = struct.unpack(f"{order}6f", header[256:280])
    a = np.sqrt(max(0.0, 1 - b * b - c * c - d * d))
    mirror = -1 if struct.unpack(f"{order}f", header[76:80])[0] < 0 else 1
    rotation = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )
    qform[:3, :3] = rotation * edges * (1, 1, mirror)
    sform[:3] = np.reshape(struct.unpack(f"{order}12f", header[280:328]), (3, 4))
    return NiftiForms(
        tuple(shape_ijk), to_lps @ qform if qform_code > 0 else None, to_lps @ sform if sform_code > 0 else None
    )


def _times(numbers: np.ndarray) -> str:
    return " × ".join(f"{number:.3g}" for number in numbers) + " mm"
