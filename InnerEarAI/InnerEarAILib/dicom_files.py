"""DICOM files one by one: which files of a folder are slices, what they say of themselves, and which cannot be read.

GDCM reads the slices. What it passes over in silence is looked up in the bytes: whom a damaged file belongs to, and
whether a file has all the pixels that it speaks of.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from InnerEarAILib.file_names import check_name
from InnerEarAILib.volume import InputError

MOST_FILES = 20_000
"""A folder with more is an archive, not a scan; ours."""

HEAD_BYTES = 2**16
"""How much of a file that cannot be read is looked at; a CT header is a few thousand bytes."""

SLICE_SUFFIXES = (".dcm", ".ima")
"""A file of such a name was a slice, whatever has become of it."""

_TAGS = {
    "class": "0008|0016",
    "instance": "0008|0018",
    "modality": "0008|0060",
    "kernel": "0018|1210",
    "series": "0020|000e",
    "number": "0020|0011",
    "position": "0020|0032",
    "orientation": "0020|0037",
    "samples": "0028|0002",
    "photometry": "0028|0004",
    "frames": "0028|0008",
    "rows": "0028|0010",
    "columns": "0028|0011",
    "spacing": "0028|0030",
    "bits": "0028|0100",
    "stored bits": "0028|0101",
    "signed": "0028|0103",
    "intercept": "0028|1052",
    "slope": "0028|1053",
}

_CLASS_TAGS = (b"\x08\x00\x16\x00", b"\x02\x00\x02\x00")
_INSTANCE_TAGS = (b"\x08\x00\x18\x00", b"\x02\x00\x03\x00")
_SERIES_TAGS = (b"\x20\x00\x0e\x00",)
_PIXEL_TAG = b"\xe0\x7f\x10\x00"
"""SOP class and instance (in the data set, in the file's meta information), series, pixels; little-endian."""

_UNDEFINED_LENGTH = 0xFFFFFFFF
"""Of compressed pixels (DICOM PS3.5, A.4)."""

_BARE_START = re.compile(rb"(?s)[\x02\x08]\x00[\x00-\x18]\x00(?:UL|UI|CS|SH|DA|..\x00\x00)")
"""How a data set begins in a file without preamble: an element of group 2 or 8, its type or its length."""


@dataclass(frozen=True)
class Slice:
    """A file that GDCM opens.

    Attributes:
        path: of the file.
        tags: texts of _TAGS by our names; "" where a file has none.
    """

    path: str
    tags: dict[str, str]

    def numbers(self, tag: str) -> np.ndarray:
        """The numbers of a tag with several, empty where it is absent or unreadable."""
        try:
            return np.array([float(part) for part in self.tags[tag].split("\\") if part.strip()])
        except ValueError:
            return np.array([])

    def number(self, tag: str, otherwise: int) -> int:
        """The whole number of a tag, or another one where it is absent or unreadable."""
        try:
            return int(self.tags[tag])
        except ValueError:
            return otherwise

    def rescaling(self) -> tuple[float, float]:
        """Slope and intercept, by which stored values become Hounsfield units."""
        slope, intercept = self.numbers("slope"), self.numbers("intercept")
        return (float(slope[0]) if len(slope) else 1.0, float(intercept[0]) if len(intercept) else 0.0)

    def number_format(self) -> tuple[float | int, ...]:
        """What decides how a reader holds the values: rescaling, bits, and whether there are negative stored ones."""
        return (*self.rescaling(), *(self.number(tag, 0) for tag in ("bits", "stored bits", "signed")))

    def is_whole(self) -> bool:
        """Whether the file has all pixels of its rows and columns; compressed ones are left to the decoder."""
        wanted = self.number("rows", 0) * self.number("columns", 0) * self.number("bits", 16) // 8
        with Path(self.path).open("rb") as file:
            content = file.read()
        lengths = list(_pixel_lengths(content))
        return not lengths or any(length == _UNDEFINED_LENGTH or length >= wanted for length in lengths)


@dataclass(frozen=True)
class UnreadableFile:
    """A file that may have been a slice.

    Attributes:
        path: of the file.
        head: its first HEAD_BYTES.
    """

    path: str
    head: bytes

    def belongs_to(self, slices: tuple[Slice, ...]) -> bool:
        """Whether it is a lost slice of these, which are of one series: its own tags say so, or say nothing.

        Reports, contours and presentation states have no pixels either, and name the series that they speak of; they
        are of another SOP class than the slices. A damaged copy of a slice that was read is no loss.
        """
        tags = slices[0].tags
        classes, series = _identifiers(self.head, _CLASS_TAGS), _identifiers(self.head, _SERIES_TAGS)
        if classes and tags["class"] and classes[0] != tags["class"]:
            return False
        if series and tags["series"] not in series:
            return False
        if set(_identifiers(self.head, _INSTANCE_TAGS)) & {one.tags["instance"] for one in slices}:
            return False
        return bool(series) or Path(self.path).parent in {Path(one.path).parent for one in slices}


def is_dicom_file(path: Path) -> bool:
    """Whether a file begins as DICOM does, with its preamble or without."""
    try:
        with path.open("rb") as file:
            return _begins_as_dicom(file.read(132))
    except OSError:
        return False


def slices_below(folder: Path) -> tuple[list[Slice], list[UnreadableFile]]:
    """The images in a folder and the folders below it, also those that are links, and what may have been one.

    Raises:
        InputError: more than MOST_FILES files, or the name of one cannot be told to GDCM.
    """
    slices: list[Slice] = []
    unreadable: list[UnreadableFile] = []
    for path in _files_below(folder):
        if path.name.upper() == "DICOMDIR":
            continue
        # Of macOS: "._1.dcm" holds the Finder's remarks on 1.dcm.
        named_so = path.suffix.lower() in SLICE_SUFFIXES and not path.name.startswith(".")
        is_dicom = is_dicom_file(path)
        if is_dicom:
            check_name(path)
        one = _read_tags(str(path)) if is_dicom else None
        if one is not None:
            slices.append(one)
        elif is_dicom or named_so:
            unreadable.append(UnreadableFile(str(path), _head(path)))
    return slices, unreadable


def _files_below(folder: Path) -> Iterator[Path]:
    count = 0
    visited = set()
    for directory, folders, names in os.walk(folder, followlinks=True):
        if (real := os.path.realpath(directory)) in visited:  # a link back, or a second way
            folders.clear()
            continue
        visited.add(real)
        for name in names:
            count += 1
            if count > MOST_FILES:
                raise InputError(
                    f"The folder {folder.name} holds more than {MOST_FILES} files; "
                    "give the folder of a single DICOM series."
                )
            yield Path(directory, name)


def _begins_as_dicom(head: bytes) -> bool:
    return head[128:132] == b"DICM" or _BARE_START.match(head) is not None


def _read_tags(path: str) -> Slice | None:
    """What GDCM says of a file; None where it finds no image in it."""
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(path)
    try:
        reader.ReadImageInformation()
    except RuntimeError:
        return None
    return Slice(
        path,
        {
            name: reader.GetMetaData(tag).strip(" \0") if reader.HasMetaDataKey(tag) else ""
            for name, tag in _TAGS.items()
        },
    )


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(HEAD_BYTES)
    except OSError:
        return b""


def _identifiers(head: bytes, tags: tuple[bytes, ...]) -> list[str]:
    """The UIDs of elements with these tags, the first tag's first; lengths are two bytes or, without a type, four."""
    return [
        found[1].decode("ascii")
        for tag in tags
        for found in re.finditer(rb"(?s)" + re.escape(tag) + rb"(?:UI..|..\x00\x00)([0-9][0-9.]*)", head)
    ]


def _pixel_lengths(content: bytes) -> Iterator[int]:
    """Bytes that each pixel element of a file has: no more than are there. None are told of a big-endian file."""
    place = content.find(_PIXEL_TAG)
    while place >= 0:
        start = place + (12 if content[place + 4 : place + 6] in (b"OB", b"OW") else 8)
        length = int.from_bytes(content[start - 4 : start], "little")
        yield length if length == _UNDEFINED_LENGTH else min(length, len(content) - start)
        place = content.find(_PIXEL_TAG, place + 4)
