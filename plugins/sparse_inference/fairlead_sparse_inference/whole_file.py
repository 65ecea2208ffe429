"""Files that are there whole or not at all, for whom the process's other files are."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from safetensors import SafetensorError


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield where to write: that takes the place of `path` when the block ends, and is gone where anything fails.

    Who may read it the umask says, whatever writes it: safetensors leaves files that their owner alone can read.

    Raises:
        OSError: it cannot be written, a full disk for one; names `path`.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        partial.unlink(missing_ok=True)
        # What a new file gets is seen by making one: asking for the umask would change it, for other threads too.
        partial.touch()
        mode = stat.S_IMODE(partial.stat().st_mode)
        yield partial
        partial.chmod(mode)
        with partial.open("rb+") as written:
            os.fsync(written.fileno())
        partial.replace(path)
    except OSError as error:
        raise OSError(error.errno or errno.EIO, error.strerror or str(error), str(path)) from error
    except SafetensorError as error:
        # The library wraps what the system said.
        raise OSError(errno.EIO, str(error), str(path)) from error
    finally:
        partial.unlink(missing_ok=True)
