"""The kinds of field a request may have: how each is checked, read from a query, documented."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from math import isfinite
from typing import Any

from segmentation_backend.errors import ErrorKind, InvalidInputError
from segmentation_backend.geometry import Coordinate, Roi, parse_coordinate

__all__ = ["KINDS", "Field", "Kind", "invalid", "type_name"]

_LONGEST_TEXT = 4096
_LONGEST_MASK = 16 * 2**20
_BIGGEST_ID = 2**64 - 1
_LONGEST_EDGE_NM = 1e9
_FARTHEST = 2**53
"""No volume reaches beyond; what does would overflow somewhere inside."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a body or query."""

    name: str
    kind: str
    """A key of `KINDS`."""
    help: str
    required: bool = False


@dataclass(frozen=True, slots=True)
class Kind:
    """How a field's JSON value is checked, read from a query string, and documented."""

    check: Callable[[str, Any], Any]
    from_text: Callable[[str], Any]
    schema: Mapping[str, Any]


def invalid(message: str, kind: ErrorKind = ErrorKind.INVALID_PARAMETER) -> InvalidInputError:
    """Return the error for a field that cannot be right; the message begins a sentence."""
    return InvalidInputError(message[0].upper() + message[1:], kind)


def type_name(value: object) -> str:
    """Return what a JSON value is, in words."""
    names = {dict: "an object", list: "an array", str: "a text", bool: "true or false"}
    return names.get(type(value), "null" if value is None else "a number")


def _text(name: str, value: object) -> str:
    if not isinstance(value, str) or not 1 <= len(value) <= _LONGEST_TEXT or "\0" in value:
        raise invalid(f"{name} must be a text of 1 to {_LONGEST_TEXT} characters.")
    return value


def _integer(name: str, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise invalid(f"{name} must be a whole number, not {value!r}.")
    if not -(2**63) <= value < 2**63:
        raise invalid(f"{name} is {value}, which is beyond 64 bits.")
    return value


def _number(name: str, value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not isfinite(value):
        raise invalid(f"{name} must be a number, not {str(value)[:40]!r}.")
    return float(value)


def _boolean(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise invalid(f"{name} must be true or false, not {str(value)[:40]!r}.")
    return value


def _time(name: str, value: object) -> datetime:
    try:
        time = datetime.fromisoformat(str(value))
    except ValueError:
        time = None
    # A time without a zone means another moment to whoever reads it elsewhere.
    if time is None or time.tzinfo is None:
        raise invalid(
            f"{name} must be a time in ISO 8601 with a zone, such as 2026-01-31T12:00:00Z, not "
            f"{str(value)[:40]!r}."
        )
    return time


def _mask(name: str, value: object) -> str:
    if not isinstance(value, str) or not 1 <= len(value) <= _LONGEST_MASK:
        raise invalid(f"{name} must be a text of 1 to {_LONGEST_MASK} characters.")
    return value


def _object(name: str, value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise invalid(f"{name} must be a JSON object, not {type_name(value)}.")
    return value


def _view_state(name: str, value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise invalid(
            f"{name} must be a Neuroglancer view state, a JSON object, not {type_name(value)}.",
            ErrorKind.INVALID_VIEW_STATE,
        )
    return value


def _list(name: str, value: object) -> list[Any]:
    if not isinstance(value, list) or not value:
        raise invalid(f"{name} must be an array with at least one entry.")
    return value


def _coordinate(name: str, value: object) -> Coordinate:
    point = parse_coordinate(value, name)
    if max(map(abs, point)) > _FARTHEST:
        raise invalid(f"{name} is {str(list(point))[:100]}, beyond any volume.")
    return point


def _points(name: str, value: object) -> list[Coordinate]:
    return [_coordinate(f"{name}[{i}]", p) for i, p in enumerate(_list(name, value))]


def _groups(name: str, value: object) -> list[list[Coordinate]]:
    return [_points(f"{name}[{i}]", g) for i, g in enumerate(_list(name, value))]


def _ids(name: str, value: object) -> list[int]:
    return [_id(f"{name}[{i}]", v) for i, v in enumerate(_list(name, value))]


def _id(name: str, value: object) -> int:
    number = value
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 40:
        number = int(value)
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number <= _BIGGEST_ID:
        raise invalid(
            f"{name} is {str(value)[:64]!r}, but an object id is a whole number from 1 to "
            "2**64 - 1 (as a text, since JavaScript cannot hold large ones).",
            ErrorKind.INVALID_ID,
        )
    return number


def _roi(name: str, value: object) -> Roi:
    roi = Roi.from_json(value)
    _coordinate(f"{name}.offset", list(roi.offset))
    _coordinate(f"{name}.shape", list(roi.shape))
    return roi


def _voxel_size(name: str, value: object) -> tuple[float, float, float]:
    if isinstance(value, list) and len(value) == 3 and all(_is_length(edge) for edge in value):
        return (float(value[0]), float(value[1]), float(value[2]))
    raise invalid(f"{name} must be three lengths in nm above zero, [z, y, x].")


def _is_length(value: object) -> bool:
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and 0 < value < _LONGEST_EDGE_NM
    )


def _numbers_of(text: str) -> list[object]:
    parts = text.split(",")
    return [_number_of(p) for p in parts]


def _number_of(text: str) -> object:
    stripped = text.strip()
    digits = stripped.removeprefix("-")
    return int(stripped) if digits.isdecimal() and len(digits) < 40 else text


def _flag_of(text: str) -> object:
    return {"true": True, "false": False}.get(text, text)


def _real_of(text: str) -> object:
    try:
        return float(text)
    except ValueError:
        return text


def _roi_of(text: str) -> object:
    numbers = _numbers_of(text)
    if len(numbers) != 6:
        raise invalid("Roi must be six integers z,y,x,dz,dy,dx: the offset, then the shape.")
    return {"offset": numbers[:3], "shape": numbers[3:]}


_COORDINATE_SCHEMA = {"type": "array", "items": {"type": "integer"}, "minItems": 3, "maxItems": 3}
_POINTS_SCHEMA = {"type": "array", "items": _COORDINATE_SCHEMA, "minItems": 1}
_ROI_SCHEMA = {
    "type": "object",
    "properties": {"offset": _COORDINATE_SCHEMA, "shape": _COORDINATE_SCHEMA},
    "required": ["offset", "shape"],
}

KINDS: Mapping[str, Kind] = {
    "text": Kind(_text, str, {"type": "string"}),
    "integer": Kind(_integer, _number_of, {"type": "integer"}),
    "number": Kind(_number, _real_of, {"type": "number"}),
    "boolean": Kind(_boolean, _flag_of, {"type": "boolean"}),
    "time": Kind(_time, str, {"type": "string", "format": "date-time"}),
    "mask": Kind(_mask, str, {"type": "string", "contentEncoding": "base64"}),
    "object": Kind(_object, str, {"type": "object"}),
    "view_state": Kind(_view_state, str, {"type": "object"}),
    "coordinate": Kind(_coordinate, _numbers_of, _COORDINATE_SCHEMA),
    "points": Kind(_points, str, _POINTS_SCHEMA),
    "groups": Kind(_groups, str, {"type": "array", "items": _POINTS_SCHEMA, "minItems": 2}),
    "id": Kind(_id, str, {"type": "string"}),
    "ids": Kind(_ids, str, {"type": "array", "items": {"type": "string"}, "minItems": 1}),
    "roi": Kind(_roi, _roi_of, _ROI_SCHEMA),
    "voxel_size": Kind(_voxel_size, _numbers_of, {"type": "array", "items": {"type": "number"}}),
}
"""Every kind of field there is."""
