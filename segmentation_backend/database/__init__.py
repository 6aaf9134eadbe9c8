"""The metadata database: SQLite by default, PostgreSQL by URL; the same promises on both."""

from segmentation_backend.database.engine import (
    confirm,
    open_database,
    read,
    write,
)
from segmentation_backend.database.locks import hold

__all__ = ["confirm", "hold", "open_database", "read", "write"]
