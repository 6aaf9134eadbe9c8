"""What all tests share: their options."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--kills", type=int, default=10, help="How many processes the crash tests kill."
    )
