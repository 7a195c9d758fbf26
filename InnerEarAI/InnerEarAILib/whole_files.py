"""Files that are whole or absent: written in a folder beside their place, then renamed."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def unfinished_folder(directory: Path) -> Iterator[Path]:
    """A hidden folder for what is written before it takes its place; gone at the end of the block.

    Those of tempfile are open to their owner alone, and so, with Windows, are files that have moved out of them; and
    where Windows forbids new files, tempfile tries again for hours.

    Args:
        directory: exists.

    Raises:
        OSError: if nothing can be made there.
    """
    folder = directory / f".writing-{secrets.token_hex(8)}"
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def replacing_set(directory: Path, names: Sequence[str], overwrite: bool = True) -> Iterator[Path]:
    """Files that belong together, to be written in place of earlier ones, which they become at the end of the block.

    Args:
        directory: where they are to stand; exists.
        names: of all files that belong to the set, old or new; others stay as they are.
        overwrite: whether earlier ones may go; they may have come while the block was writing.

    Yields:
        The folder to write to. Where the block or a move fails, the earlier files are as they were.

    Raises:
        FileExistsError: if an earlier file may not go; its name is the error's `filename`.
        OSError: if the folder cannot be written to.
    """
    with unfinished_folder(directory) as folder:
        new, old = folder / "new", folder / "old"
        new.mkdir()
        old.mkdir()
        yield new
        earlier = [] if overwrite else [name for name in names if os.path.lexists(directory / name)]
        if earlier:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), earlier[0])
        _exchange(new, old, directory, names)


def _exchange(new: Path, old: Path, directory: Path, names: Sequence[str]) -> None:
    """Sets the files of a folder aside and moves new ones in; undone if it fails half-way."""
    moved: list[tuple[Path, Path]] = []

    def move(source: Path, target: Path) -> None:
        if source.exists():
            moved.append((source, target))
            os.replace(source, target)

    try:
        for name in names:
            move(directory / name, old / name)
        for name in names:
            move(new / name, directory / name)
    except BaseException:
        for source, target in reversed(moved):
            if target.exists() and not source.exists():
                os.replace(target, source)
        raise


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file to be written in place of another, which it becomes at the end of the block.

    Args:
        path: what is written in the end; an existing file is replaced. Its folder exists.

    Yields:
        The path to write to, of the same name and in a folder of its own beside `path`. Where the block fails, it is
        removed with all that lies beside it, and `path` is as it was.

    Raises:
        OSError: if the folder cannot be written to, or the block has written no file.

    Example:
        with replacing(folder / "result.json") as unfinished:
            unfinished.write_text(text, encoding="utf-8")
    """
    with unfinished_folder(path.parent) as folder:
        unfinished = folder / path.name
        yield unfinished
        os.replace(unfinished, path)
