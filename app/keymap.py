"""The keys and mouse gestures of the page, in one place: the viewer binds them, `?` shows them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["ACTION_PREFIX", "KEYMAP", "Binding"]

ACTION_PREFIX = "mitoglance-"
"""Every action of ours arrives in the page as the DOM event `action:mitoglance-<name>`."""

_WORDS = {
    "control": "Ctrl",
    "shift": "Shift",
    "alt": "Alt",
    "meta": "⌘",
    "escape": "Esc",
    "enter": "Enter",
    "slash": "/",
    "delete": "Del",
    "dblclick0": "Double click",
    "mousedown0": "Click",
    "mousedown2": "Right click",
}


@dataclass(frozen=True, slots=True)
class Binding:
    """One action and what triggers it."""

    action: str
    """Name without the prefix."""
    events: tuple[str, ...]
    """Neuroglancer event identifiers, such as `control+keyz`."""
    help: str
    scope: str = "viewer"
    """`viewer`: anywhere in the viewer. `dataView`: only over a data panel. `native`: a binding of
    Neuroglancer's own, listed for help only."""

    @property
    def keys(self) -> tuple[str, ...]:
        """The events as people read them, such as `Ctrl+Z`."""
        return tuple(_readable(event) for event in self.events)

    def to_json(self) -> dict[str, Any]:
        """Return what help shows, and what the page matches while its panel has the focus."""
        return {
            "action": self.action,
            "keys": list(dict.fromkeys(self.keys)),
            "events": [] if self.scope == "native" else list(self.events),
            "help": self.help,
        }


def _readable(event: str) -> str:
    if event == "shift+slash":
        return "?"
    parts = event.removeprefix("at:").split("+")
    return "+".join(_WORDS.get(p, p.removeprefix("key").upper()) for p in parts)


KEYMAP = (
    Binding("segment-slice", ("keyg",), "Segment the slice under view"),
    Binding("segment-box", ("shift+keyg",), "Segment the visible box, section by section"),
    Binding("segment-orthoplane", ("keyt",), "Segment the visible box, three planes voting"),
    Binding("follow", ("keyf",), "Follow: segment each slice that comes into view"),
    Binding("cancel", ("escape",), "Cancel the job, or leave a drawing, a split or an offer"),
    Binding("pick", ("dblclick0",), "Pick an object, or put it back", scope="native"),
    Binding("pick-here", ("keyp",), "Pick at the pointer, or at the centre of the view"),
    Binding("clear-picks", ("keyx",), "Put all picked objects back"),
    Binding("merge", ("keym",), "Merge the picked objects"),
    Binding("delete", ("delete",), "Delete the picked objects"),
    Binding("split-source", ("keyq",), "Split: mark this side at the pointer"),
    Binding("split-sink", ("keyw",), "Split: mark the other side at the pointer"),
    Binding("split-source", ("at:control+mousedown0",), "Split: mark this side", scope="dataView"),
    Binding(
        "split-sink",
        ("at:control+shift+mousedown0",),
        "Split: mark the other side",
        scope="dataView",
    ),
    Binding("confirm", ("enter",), "Preview the split, then confirm it"),
    Binding("undo", ("control+keyz", "meta+keyz"), "Undo your last operation"),
    Binding(
        "redo", ("control+shift+keyz", "control+keyy", "meta+shift+keyz"), "Redo what you undid"
    ),
    Binding("contrast", ("keyc",), "Set the contrast of the image, or invert it"),
    Binding("share", ("keyk",), "Make a link to this view"),
    Binding("history", ("keyh",), "Show the history"),
    Binding("help", ("shift+slash",), "Show the keys"),
)
"""Every binding of the page, in the order in which help lists them."""
