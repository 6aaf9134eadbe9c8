"""What is left out where addresses are shown."""

import pytest

from segmentation_backend.sources.secrets import without_secrets


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://me:pw@x.org/a.zarr", "https://…@x.org/a.zarr"),
        ("zarr3://https://me@x.org/a", "zarr3://https://…@x.org/a"),
        ("https://x.org/a?sig=p/q%2F&b=1 is away", "https://x.org/a?… is away"),
        ('"https://x.org/a?sig=1" (s3://bucket/a)', '"https://x.org/a?…" (s3://bucket/a)'),
        ("s3://bucket/a.zarr", "s3://bucket/a.zarr"),
        ("Is ana@x.org there? Yes.", "Is ana@x.org there? Yes."),
    ],
)
def test_addresses_are_shown_without_user_password_and_query(text: str, shown: str) -> None:
    assert without_secrets(text) == shown
