"""Which addresses may be opened for somebody who is not the administrator: address in, verdict out.

Nothing is read here, and names are resolved by a function that the caller hands over.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Literal, NamedTuple, TypeAlias
from urllib.parse import unquote

__all__ = ["Place", "Resolver", "SourceRules", "Verdict", "why_not_public"]

Resolver: TypeAlias = Callable[[str], Sequence[str]]
"""Returns the addresses of a host name, as text; raises what it likes where there are none."""

_Address: TypeAlias = IPv4Address | IPv6Address

_SERVER = re.compile(
    r"(?P<scheme>[a-z]+)://(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9._-]+))(?::[0-9]{1,5})?"
)
"""Nothing that two programs could read in two ways: no user, backslash, % or other alphabet."""
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,221}")
_NUMBER = re.compile(r"0[xX][0-9a-fA-F]*|[0-9]+")
_NAT64, _6TO4, _COMPATIBLE = (ip_network(block) for block in ("64:ff9b::/96", "2002::/16", "::/96"))


class Place(NamedTuple):
    """What an address means, whatever its spelling."""

    driver: str
    """`file`, `s3`, `gcs` or `http`."""
    server: str
    """`scheme://host:port`; empty for a file, and for Amazon and Google themselves."""
    bucket: str
    path: str
    """Without slashes at its ends; of a file the real path, with every link followed."""


class Verdict(NamedTuple):
    """What a rule says of a place."""

    refusal: str | None
    """Why it may not be opened, as the end of a sentence; None: it may."""
    is_listed: bool = False
    """Whether it was named by the administrator, so that the server's own keys may be used."""


@dataclass(frozen=True)
class SourceRules:
    """What may be opened: listed places, and everything public or nothing else."""

    text: str
    """As the setting has it."""
    is_public: bool
    places: tuple[Place, ...]

    def judge(self, place: Place, resolve: Resolver) -> Verdict:
        """Return whether a place may be opened; names of listed servers are not resolved."""
        parts = unquote(place.path).replace("\\", "/").split("/")
        if place.driver != "file" and not {".", ".."}.isdisjoint(parts):
            return Verdict("'.' and '..' have no place in the address of a server")
        if any(_is_below(place, listed) for listed in self.places):
            return Verdict(None, is_listed=True)
        if place.driver == "file":
            return Verdict("it is on the server's own disk, in none of the folders that are listed")
        if not self.is_public:
            return Verdict("it is in none of the places that are listed")
        return Verdict(_why_no_public_data(place, resolve))


def _is_below(place: Place, listed: Place) -> bool:
    if (place.driver, place.server.lower(), place.bucket) != (
        listed.driver,
        listed.server.lower(),
        listed.bucket,
    ):
        return False
    return not listed.path or f"{place.path}/".startswith(f"{listed.path}/")


def _why_no_public_data(place: Place, resolve: Resolver) -> str | None:
    if place.bucket and not _BUCKET.fullmatch(place.bucket):
        return f"{place.bucket[:64]!r} is not the name of a bucket"
    return why_not_public(place.server, resolve) if place.server else None


def why_not_public(server: str, resolve: Resolver) -> str | None:
    """Return why a `scheme://host:port` is not one of the public https servers, or None.

    Every address that the name has must be one of the open internet's, in IPv4 and IPv6, also
    where the one is written inside the other and where numbers are decimal, octal or hexadecimal
    (as `inet_aton` reads them). What `resolve` raises is passed on.
    """
    parts = _SERVER.fullmatch(server)
    if parts is None:
        return "its server is not written as https://host:port"
    if parts["scheme"] != "https":
        return f"of public servers only https:// ones are allowed, not {parts['scheme']}://"
    host = parts["host"] or parts["six"]
    try:
        texts = [str(ip_address(host))] if parts["six"] else _numeric(host) or resolve(host)
        addresses = [ip_address(text.partition("%")[0]) for text in texts]
    except _NotAnAddressError:
        return f"{host[:64]!r} is no address"
    for address in addresses:
        if kind := _kind_of(address):
            also = "" if host == str(address) else f" ({address})"
            return f"{host}{also} is a {kind} address"
    return None if addresses else f"{host} has no address"


class _NotAnAddressError(ValueError):
    """A host of numbers that is no address."""


def _numeric(host: str) -> list[str]:
    """Return the IPv4 address that a host of numbers means, nothing for a name."""
    parts = host.removesuffix(".").split(".")
    if not _NUMBER.fullmatch(parts[-1]):
        return []
    try:
        numbers = [_number(part) for part in parts]
    except ValueError as err:
        raise _NotAnAddressError from err
    *high, last = numbers
    if len(numbers) > 4 or max(high, default=0) > 255 or last >= 256 ** (4 - len(high)):
        raise _NotAnAddressError
    for position, number in enumerate(high):
        last += number << (8 * (3 - position))
    return [str(IPv4Address(last))]


def _number(text: str) -> int:
    if text[:2].lower() == "0x":
        return int(text[2:] or "0", 16)
    return int(text, 8 if text.startswith("0") else 10)


_Kind: TypeAlias = Literal["loopback", "link-local", "multicast", "private", "reserved"]


def _kind_of(address: _Address) -> _Kind | None:
    """Return what keeps an address from being one of the open internet's."""
    inner = _embedded(address)
    if inner is not None:
        return _kind_of(inner)
    kinds: tuple[tuple[bool, _Kind], ...] = (
        (address.is_loopback, "loopback"),
        (address.is_link_local, "link-local"),
        (address.is_multicast, "multicast"),
        (address.is_unspecified or address.is_reserved, "reserved"),
        (isinstance(address, IPv6Address) and address.is_site_local, "private"),
        (not address.is_global, "private"),
    )
    return next((kind for applies, kind in kinds if applies), None)


def _embedded(address: _Address) -> IPv4Address | None:
    """Return the IPv4 address that an IPv6 one leads to, if it does."""
    if isinstance(address, IPv4Address):
        return None
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address in _6TO4:
        return address.sixtofour
    if address in _NAT64 or (address in _COMPATIBLE and int(address) > 1):
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return None
