"""What the commands write for people and scripts: lines on standard output, progress beside it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm import tqdm

__all__ = ["complain", "progress_bar", "say"]


def say(line: str) -> None:
    """Write a line to standard output at once, also into a pipe."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def complain(line: str) -> None:
    """Write a line to standard error."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


@contextmanager
def progress_bar(what: str) -> Iterator[Callable[[float, str], None]]:
    """Yield a function that takes a share (0 to 1) and a sentence, and shows them as a bar.

    Shown on a terminal only: logs and pipes stay free of it.
    """
    layout = "{desc}: {percentage:3.0f}% |{bar}| {elapsed}"
    with tqdm(total=1.0, desc=what, bar_format=layout, disable=None, leave=False) as bar:

        def show(share: float, sentence: str) -> None:
            bar.set_description_str(sentence or what, refresh=False)
            bar.update(max(0.0, min(1.0, share) - bar.n))

        yield show
