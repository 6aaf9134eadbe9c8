"""What is read over TLS: certificates are verified; redirections are tested where they are used."""

import ssl
import urllib.request

import pytest

from segmentation_backend import tls
from segmentation_backend.errors import InvalidInputError


def test_certificates_are_verified() -> None:
    handlers = tls._opener("").handlers
    (handler,) = (h for h in handlers if isinstance(h, urllib.request.HTTPSHandler))
    context = handler._context or ssl._create_default_https_context()
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


@pytest.mark.parametrize(
    "url", ["http://example.org", "http://localhost.example.org", "file:///etc", "//[::1", "x"]
)
def test_no_other_address_is_opened(url: str) -> None:
    with pytest.raises(InvalidInputError, match=r"not an https:// address; fetch it yourself\."):
        tls.open_tls(url, 1.0, "fetch it yourself.")
