"""Every error the backend raises on purpose, grouped by what a caller does about it.

SegmentationError
├── NotFoundError       (KeyError)    fix the name
├── InvalidInputError   (ValueError)  fix the input
├── ConflictError                     refresh, then try again
├── ReadOnlyError                     "edit from here" first, or ask whoever runs the server
├── ResourceError                     wait and retry: it may pass
└── FormatError                       the data or the weights are not what they claim
"""

from enum import StrEnum

__all__ = [
    "ConflictError",
    "ErrorKind",
    "FormatError",
    "InvalidInputError",
    "NotFoundError",
    "ReadOnlyError",
    "ResourceError",
    "SegmentationError",
]


class ErrorKind(StrEnum):
    """The machine-readable part of an error; append-only, since user code matches on it."""

    VOLUME_NOT_FOUND = "volume-not-found"
    MODEL_NOT_FOUND = "model-not-found"
    OBJECT_NOT_FOUND = "object-not-found"
    OPERATION_NOT_FOUND = "operation-not-found"
    VERSION_NOT_FOUND = "version-not-found"
    SHARE_NOT_FOUND = "share-not-found"
    SESSION_NOT_FOUND = "session-not-found"
    JOB_NOT_FOUND = "job-not-found"
    PATH_NOT_FOUND = "path-not-found"
    ROUTE_NOT_FOUND = "route-not-found"
    BRANCH_NOT_FOUND = "branch-not-found"
    TAG_NOT_FOUND = "tag-not-found"
    DATASET_NOT_FOUND = "dataset-not-found"

    INVALID_JSON = "invalid-json"
    INVALID_PARAMETER = "invalid-parameter"
    INVALID_ID = "invalid-id"
    INVALID_VIEW_STATE = "invalid-view-state"
    INVALID_NAME = "invalid-name"
    ROI_OUT_OF_BOUNDS = "roi-out-of-bounds"
    ROI_EMPTY = "roi-empty"
    ROI_TOO_LARGE = "roi-too-large"
    MERGE_SAME_OBJECT = "merge-same-object"
    BACKGROUND_NOT_AN_OBJECT = "background-not-an-object"
    SEEDS_OUTSIDE_OBJECT = "seeds-outside-object"
    SEEDS_ON_ONE_SIDE = "seeds-on-one-side"
    NOTHING_TO_UNDO = "nothing-to-undo"
    NOTHING_TO_REDO = "nothing-to-redo"
    METHOD_NOT_ALLOWED = "method-not-allowed"
    NOTHING_TO_CHANGE = "nothing-to-change"
    TOO_MANY_OBJECTS = "too-many-objects"

    STALE_VERSION = "stale-version"
    NAME_TAKEN = "name-taken"
    JOB_FINISHED = "job-finished"
    REQUEST_ID_REUSED = "request-id-reused"
    MAINTENANCE_RUNNING = "maintenance-running"

    READ_ONLY = "read-only"
    SOURCE_REFUSED = "source-refused"

    SOURCE_UNAVAILABLE = "source-unavailable"
    DISK_FULL = "disk-full"
    MODEL_UNAVAILABLE = "model-unavailable"
    WORKERS_UNAVAILABLE = "workers-unavailable"
    OUT_OF_MEMORY = "out-of-memory"
    SERVER_BUSY = "server-busy"

    UNSUPPORTED_FORMAT = "unsupported-format"
    UNSUPPORTED_DTYPE = "unsupported-dtype"
    UNSUPPORTED_RANK = "unsupported-rank"
    CORRUPT_CHUNK = "corrupt-chunk"
    WEIGHTS_CHECKSUM_MISMATCH = "weights-checksum-mismatch"
    WEIGHTS_UNREADABLE = "weights-unreadable"
    BASE_CHANGED = "base-changed"
    CORRUPT_DATABASE = "corrupt-database"
    CORRUPT_BACKUP = "corrupt-backup"
    MODEL_OUTPUT_INVALID = "model-output-invalid"

    INTERNAL = "internal"


class SegmentationError(Exception):
    """A failure with a sentence for the user and a `kind` for programs."""

    def __init__(self, message: str, kind: ErrorKind) -> None:
        """Keep the sentence and its kind."""
        super().__init__(message)
        self.message = message
        self.kind = kind

    def __str__(self) -> str:
        """Return the sentence alone (KeyError would quote it)."""
        return self.message

    def __reduce__(self) -> tuple[type["SegmentationError"], tuple[str, ErrorKind]]:
        """Let the error travel between processes."""
        return type(self), (self.message, self.kind)


class NotFoundError(SegmentationError, KeyError):
    """Something was named that does not exist."""


class InvalidInputError(SegmentationError, ValueError):
    """The request cannot be right, whatever the state of the data."""


class ConflictError(SegmentationError):
    """Someone else changed the same thing since."""


class ReadOnlyError(SegmentationError):
    """The version or volume takes no edits, or the server no such source."""


class ResourceError(SegmentationError):
    """A disk, a network or a worker failed; it may pass."""


class FormatError(SegmentationError):
    """The data or the weights are not what they claim to be."""
