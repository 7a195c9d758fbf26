"""Compressed voxels must be those that were written: ITK's readers do not look at the checksum behind them.

NRRD compresses by gzip (CRC-32), MetaImage by zlib (Adler-32) or gzip, NIfTI the whole file by gzip. All of it is
decompressed once in blocks, and thrown away.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

BLOCK_BYTES = 2**20
"""How much is decompressed at a time; ours."""

MOST_HEADER_BYTES = 2**22
"""A header that is longer than this is none; ours."""

_ZLIB_OR_GZIP = 47
"""For zlib: tell by the first bytes which of the two it is, with the largest window."""

_GZIP_START = b"\x1f\x8b"


def read_header(path: Path, last_line: re.Pattern[bytes]) -> tuple[bytes, int]:
    """The text before the voxels of a NRRD or MetaImage file.

    Args:
        path: of the file.
        last_line: what the line fits with which the header ends, without its line break.

    Returns:
        The text with that line, its line breaks as "\\n", and the bytes that it takes in the file. Where no line ends
        it, what there is of it.
    """
    lines, length = [], 0
    with path.open("rb") as file:
        while length < MOST_HEADER_BYTES and (line := file.readline(MOST_HEADER_BYTES)):
            length += len(line)
            lines.append(line.rstrip(b"\r\n"))
            if last_line.fullmatch(lines[-1]):
                break
    return b"\n".join(lines), length


def check_compressed_nrrd(path: Path, header: bytes, length: int) -> None:
    """Makes sure that the voxels of a NRRD file are whole, where they are compressed by gzip.

    Args:
        path: of the file.
        header: see read_header.
        length: of the header in the file.

    Raises:
        EOFError: they are cut off.
        zlib.error: they are damaged.
        OSError: a file of voxels cannot be opened.
    """
    if (_field(header, rb"encoding", rb":") or b"").lower() not in (b"gzip", b"gz"):
        return
    detached = _field(header, rb"data ?file", rb":")
    lines_before = _number(header, rb"line ?skip", rb":")
    for file_path in [path] if detached is None else _named_files(path, detached):
        with file_path.open("rb") as file:
            file.seek(length if detached is None else 0)
            for _ in range(lines_before):
                file.readline()
            decompressed_bytes(file)


def check_compressed_metaimage(path: Path, header: bytes, length: int) -> None:
    """Makes sure that the voxels of a MetaImage file are whole, where they are compressed.

    Args, Raises: as of check_compressed_nrrd.
    """
    if (_field(header, rb"CompressedData", rb"=") or b"")[:1] not in (b"T", b"t", b"1"):
        return
    where = _field(header, rb"ElementDataFile", rb"=") or b""
    within = where.upper() == b"LOCAL"
    bytes_before = max(0, _number(header, rb"HeaderSize", rb"="))
    for file_path in [path] if within else _named_files(path, where):
        with file_path.open("rb") as file:
            file.seek(length if within else bytes_before)
            decompressed_bytes(file)


def decompressed_bytes(file: BinaryIO) -> int:
    """How many bytes a stream of zlib or gzip holds; what follows it in the file is left aside.

    Args:
        file: open where the stream begins; the parts of a gzip file of several are taken together.

    Raises:
        EOFError: it is cut off.
        zlib.error: it is damaged, or no such stream.
    """
    count, compressed = 0, b""
    while True:
        part = zlib.decompressobj(_ZLIB_OR_GZIP)
        while not part.eof:
            compressed = compressed or file.read(BLOCK_BYTES)
            piece = part.decompress(compressed, BLOCK_BYTES)
            if not compressed and not piece:
                raise EOFError
            count += len(piece)
            compressed = part.unconsumed_tail
        compressed = part.unused_data or file.read(BLOCK_BYTES)
        if len(compressed) == 1:
            compressed += file.read(BLOCK_BYTES)
        if not compressed.startswith(_GZIP_START):
            return count


def _field(header: bytes, key: bytes, sign: bytes) -> bytes | None:
    found = re.search(rb"(?mi)^" + key + rb"[ \t]*" + sign + rb"[ \t]*(.*?)[ \t]*$", header)
    return found[1] if found else None


def _number(header: bytes, key: bytes, sign: bytes) -> int:
    field = _field(header, key, sign) or b""
    return int(field) if re.fullmatch(rb"-?\d+", field) else 0


def _named_files(path: Path, named: bytes) -> Iterator[Path]:
    """The files of voxels beside a header: one, those of a pattern ("ear%03d.gz 1 80 1"), or a list that follows.

    What is not there is left to the reader, which refuses it.
    """
    if named.split()[:1] == [b"LIST"]:
        lines = path.read_bytes().splitlines()
        names = lines[1 + next(n for n, line in enumerate(lines) if line.rstrip().endswith(named)) :]
    elif pattern := re.match(rb"([^\s%]*%0?\d*d[^\s%]*) (\d+) (\d+) ([1-9]\d*)", named):
        names = [pattern[1] % number for number in range(int(pattern[2]), int(pattern[3]) + 1, int(pattern[4]))]
    else:
        names = [named]
    for name in names:
        file_path = path.parent / name.strip().decode("utf-8", "surrogateescape")
        if file_path.is_file():
            yield file_path
