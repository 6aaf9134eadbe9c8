"""What a request carries: checked against a declared table before any route sees it."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from typing import Any

from flask import request
from flask.typing import ResponseReturnValue

from app.fields import KINDS, Field, invalid, type_name
from segmentation_backend.errors import ErrorKind, InvalidInputError

__all__ = ["Endpoint", "Values", "parse_json", "takes"]

Values = Mapping[str, Any]
"""A request's fields by name, each of its declared type; None where it was left out."""


class Endpoint:
    """A view whose body and query are parsed by declared fields, which OpenAPI also shows."""

    def __init__(
        self,
        view: Callable[..., ResponseReturnValue],
        body: tuple[Field, ...] | None,
        query: tuple[Field, ...] | None,
    ) -> None:
        """Wrap `view`, which gets `body=` and `query=` where those are declared."""
        functools.update_wrapper(self, view)
        self._view = view
        self.body = body
        self.query = query

    def __call__(self, **path: object) -> ResponseReturnValue:
        """Answer the request."""
        carried: dict[str, Values] = {}
        if self.body is not None:
            carried["body"] = _read_body(self.body)
        if self.query is not None:
            carried["query"] = _read_query(self.query)
        return self._view(**path, **carried)


def takes(
    *, body: tuple[Field, ...] | None = None, query: tuple[Field, ...] | None = None
) -> Callable[[Callable[..., ResponseReturnValue]], Endpoint]:
    """Declare what a view takes; unknown, missing and ill-typed fields are refused for it."""
    return lambda view: Endpoint(view, body, query)


def parse_json(data: bytes, what: str) -> dict[str, Any]:
    """Return the JSON object in `data`, or say in which way it is none."""

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not JSON")

    try:
        value = json.loads(data.decode("utf-8"), parse_constant=refuse)
        # A lone surrogate is legal in JSON but cannot be stored as text.
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError) as err:
        raise InvalidInputError(
            f"{what} is not valid JSON ({err}).", ErrorKind.INVALID_JSON
        ) from err
    if not isinstance(value, dict):
        raise InvalidInputError(
            f"{what} must be a JSON object, not {type_name(value)}.", ErrorKind.INVALID_JSON
        )
    return value


def _read_body(fields: tuple[Field, ...]) -> Values:
    # Browsers send this type across sites only after asking, so no foreign page can post here.
    if request.mimetype != "application/json":
        raise InvalidInputError(
            "Send the body as JSON with the header Content-Type: application/json, not "
            f"{request.mimetype or 'without a type'!r}.",
            ErrorKind.INVALID_JSON,
        )
    return _checked(fields, parse_json(request.get_data(), "The request body"), "the body")


def _read_query(fields: tuple[Field, ...]) -> Values:
    kinds = {f.name: KINDS[f.kind] for f in fields}
    sent: dict[str, Any] = {}
    for name, text in request.args.items():
        if text:  # `?volume=` asks for nothing in particular
            sent[name] = kinds[name].from_text(text) if name in kinds else text
    return _checked(fields, sent, "the query")


def _checked(fields: tuple[Field, ...], sent: dict[str, Any], where: str) -> Values:
    known = [f.name for f in fields]
    for name in sent:
        if name not in known:
            raise invalid(
                f"{where} has no field {name[:64]!r}; it takes {', '.join(known) or 'none'}."
            )
    values: dict[str, Any] = {}
    for field in fields:
        value = sent.get(field.name)
        if value is None and field.required:
            raise invalid(f"{where} needs the field {field.name!r}: {field.help}")
        values[field.name] = None if value is None else KINDS[field.kind].check(field.name, value)
    return values
