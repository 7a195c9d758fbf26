"""Files that are whole or absent: written under another name, then renamed."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


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
    with tempfile.TemporaryDirectory(prefix=".writing-", dir=path.parent) as folder:
        unfinished = Path(folder, path.name)
        yield unfinished
        os.replace(unfinished, path)
