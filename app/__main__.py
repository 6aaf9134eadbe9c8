"""`mitoglance …` and `python -m app …`."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import NoReturn

from app import cli

__all__ = ["main"]


def main() -> NoReturn:
    """Run the command line and end the process with its exit code, at once."""
    try:
        code: object = cli.main()
    except SystemExit as stop:
        code = stop.code
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    # Everything worth keeping is on disk by now, while a Dask cluster takes up to ten seconds to
    # close politely; its worker ends with this process.
    os._exit(code if isinstance(code, int) else int(code is not None))


if __name__ == "__main__":
    main()
