"""Names that files may have: those that can be told to ITK and VTK, which take UTF-8 alone."""

from __future__ import annotations

from pathlib import Path

from InnerEarAILib.volume import InputError


def check_name(path: Path) -> None:
    """Refuses a path with a name that is not UTF-8, as old archives and foreign disks bring them along.

    SimpleITK would end the whole process at it, without a word.

    Args:
        path: need not exist.

    Raises:
        InputError: which name it is; other characters than UTF-8's stand as “?”.
    """
    for part in path.parts:
        try:
            part.encode()
        except UnicodeEncodeError as error:
            shown = part.encode(errors="replace").decode()
            raise InputError(f"The name “{shown}” cannot be read as UTF-8; rename this file or folder.") from error
