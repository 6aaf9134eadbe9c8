"""The OpenAPI document, made from the routes themselves: rules, docstrings, declared fields."""

from __future__ import annotations

import re
from importlib.metadata import version
from typing import Any

from flask import current_app
from werkzeug.routing import Rule

from app.fields import KINDS, Field
from app.requests import Endpoint

__all__ = ["document"]

_PREFIX = "/api/v1"
_ERROR = {
    "description": "An error, in the one shape that all routes share.",
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
}


def document() -> dict[str, Any]:
    """Return the OpenAPI 3.1 description of every route under /api/v1."""
    paths: dict[str, dict[str, Any]] = {}
    for rule in current_app.url_map.iter_rules():
        if rule.rule.startswith(_PREFIX):
            path = re.sub(r"<(?:[^:>]+:)?([^>]+)>", r"{\1}", rule.rule)
            for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
                paths.setdefault(path, {})[method.lower()] = _operation(rule)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Mitoglance", "version": version("mitoglance")},
        "paths": dict(sorted(paths.items())),
        "components": {"schemas": {"Error": _error_schema()}},
    }


def _operation(rule: Rule) -> dict[str, Any]:
    view = current_app.view_functions[rule.endpoint]
    summary, _, details = (view.__doc__ or "").partition("\n")
    operation: dict[str, Any] = {
        "operationId": rule.endpoint.replace(".", "_"),
        "summary": summary.strip(),
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in sorted(rule.arguments)
        ],
        "responses": {"2XX": {"description": "`ok` is true."}, "4XX": _ERROR, "5XX": _ERROR},
    }
    if details.strip():
        operation["description"] = " ".join(details.split())
    if isinstance(view, Endpoint):
        _add_fields(operation, view)
    return operation


def _add_fields(operation: dict[str, Any], view: Endpoint) -> None:
    operation["parameters"] += [
        {
            "name": field.name,
            "in": "query",
            "required": field.required,
            "description": field.help,
            # In a query, arrays are written as comma-separated texts.
            "schema": {"type": "integer" if field.kind == "integer" else "string"},
        }
        for field in view.query or ()
    ]
    if view.body is not None:
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": _object_schema(view.body)}},
        }


def _object_schema(fields: tuple[Field, ...]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {
            field.name: {**KINDS[field.kind].schema, "description": field.help} for field in fields
        },
        "required": [field.name for field in fields if field.required],
        "additionalProperties": False,
    }


def _error_schema() -> dict[str, Any]:
    fields = {
        "kind": {"type": "string"},
        "message": {"type": "string"},
        "status": {"type": "integer"},
        "request_id": {"type": "string"},
    }
    error = {"type": "object", "properties": fields, "required": list(fields)}
    return {
        "type": "object",
        "properties": {"ok": {"const": False}, "error": error},
        "required": ["ok", "error"],
    }
