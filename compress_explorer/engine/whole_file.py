"""Files that appear whole or not at all."""

import os
import uuid
from contextlib import suppress
from pathlib import Path


def write_whole(path: Path, data: bytes) -> None:
    """Writes a file beside `path` and then moves it over it; an existing one is replaced.

    Raises:
        OSError: when it cannot be written; nothing is left behind then.
    """
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with draft.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        why = error.strerror or str(error)  # not the draft's name, which nobody gave
        raise OSError(
            error.errno, f"Cannot be written: {why}. Pass a path in a folder that is there and takes files", str(path)
        ) from error
    finally:
        with suppress(OSError):  # where nothing could be written, nothing is left, and the first error tells why
            draft.unlink(missing_ok=True)
