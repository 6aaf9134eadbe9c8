"""What an object store answered, in our words: obstore's errors carry it as text only."""

from __future__ import annotations

import re

from obstore.exceptions import (
    GenericError,
    NotSupportedError,
    PermissionDeniedError,
    UnauthenticatedError,
)

from segmentation_backend.errors import ErrorKind, ResourceError

__all__ = ["beyond_the_end", "conditions_unknown", "explained", "is_absent", "is_unanswered"]

_STATUS = re.compile(r"status code: (\d{3})[^:<]*")
_CODE = re.compile(r"<Code>(\w+)</Code>")
_FULL = ("507", "XMinioStorageFull", "QuotaExceeded", "InsufficientCapacity", "EntityTooLarge")
_CAUSES = {
    "TimedOut": "it did not answer in time",
    "ConnectionRefused": "the connection was refused",
    "dns error": "its name could not be looked up",
    "without LOCATION": "the bucket is in another region: set AWS_REGION",
    "ConnectionReset": "the connection broke off",
    "IncompleteMessage": "the connection broke off",
    "Body": "its answer broke off",
}


def beyond_the_end(error: Exception) -> bool:
    """Whether bytes were asked for that the object does not have."""
    return _status(error) == "416"


def conditions_unknown(error: Exception) -> bool:
    """Whether the store does not know requests to write only what is not there yet."""
    return isinstance(error, NotSupportedError) or _status(error) == "501"


def is_absent(error: Exception) -> bool:
    """Whether the bucket is there and the object is not."""
    return isinstance(error, FileNotFoundError) and _code(error) != "NoSuchBucket"


def is_unanswered(error: Exception) -> bool:
    """Whether nobody knows if the store did what it was asked to do."""
    return isinstance(error, GenericError) and _status(error) is None


def explained(error: Exception, what: str, ending: str = "") -> ResourceError:
    """Return our error: what failed, why, and what to do; then `ending`, a sentence."""
    code = _code(error)
    if code == "NoSuchBucket":
        reason = "there is no such bucket: make it, or correct the setting `packs`"
    elif isinstance(error, PermissionDeniedError | UnauthenticatedError):
        reason = (
            f"access was refused{f' ({code})' if code else ''}: AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY must name a key that may read, write, list and delete there"
        )
    elif isinstance(error, FileNotFoundError):
        reason = (
            "it is not there: if `packs` was changed, copy the packs to the new place; if it was "
            "deleted, restore it from a backup"
        )
    else:
        reason = f"{_cause(error)}; try again, and if it stays, look at the object store"
    is_full = code in _FULL or _status(error) in _FULL
    return ResourceError(
        f"{what}: {'the store is full; free some space' if is_full else reason}.{ending}",
        ErrorKind.DISK_FULL if is_full else ErrorKind.SOURCE_UNAVAILABLE,
    )


def _status(error: Exception) -> str | None:
    found = _STATUS.search(str(error))
    return found.group(1) if found else None


def _code(error: Exception) -> str | None:
    found = _CODE.search(str(error))
    return found.group(1) if found else None


def _cause(error: Exception) -> str:
    text = str(error)
    for sign, cause in _CAUSES.items():
        if sign in text:
            return cause
    answer = _STATUS.search(text)
    if answer:
        return f"it answered with {answer.group(0).strip()}"
    return text.partition("\n")[0]
