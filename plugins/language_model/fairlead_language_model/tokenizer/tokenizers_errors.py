"""Turns what the tokenizers library throws into one error that names the file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import LanguageModelError, TokenizerError, clipped


@contextmanager
def library_errors(where: Path | str, what: str) -> Iterator[None]:
    """Raise TokenizerError("WHERE: WHAT: ...") for whatever the library throws inside the block.

    The library raises bare Exception for a malformed file, and a panic of its Rust code comes as a PanicException,
    which is no Exception at all.
    """
    try:
        yield
    except LanguageModelError:
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise TokenizerError(f"{where}: {what}: {clipped(str(error), 300)}") from error
