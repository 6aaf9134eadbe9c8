"""What may be opened for somebody who is not the administrator: address in, verdict out."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segmentation_backend.errors import ErrorKind, InvalidInputError, ReadOnlyError
from segmentation_backend.sources import specs
from segmentation_backend.sources.allowed import why_not_public
from segmentation_backend.sources.specs import CloudSettings, locate, source_rules

INSIDE_4 = [
    ip_network(block)
    for block in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16",
        "172.16.0.0/12", "192.168.0.0/16", "198.18.0.0/15", "224.0.0.0/4", "240.0.0.0/4",
    )
]  # fmt: skip
INSIDE_6 = [
    ip_network(block)
    for block in ("::/127", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8", "2001:db8::/32")
]
inside_4 = st.sampled_from(INSIDE_4).flatmap(
    lambda block: st.integers(int(block[0]), int(block[-1])).map(IPv4Address)
)
inside_6 = st.sampled_from(INSIDE_6).flatmap(
    lambda block: st.integers(int(block[0]), int(block[-1])).map(IPv6Address)
)
public_4 = st.ip_addresses(v=4).filter(lambda a: a.is_global and not a.is_multicast)


def nobody(host: str) -> list[str]:
    raise AssertionError(f"{host} is no name and must not be asked for")


def spellings(address: IPv4Address) -> list[str]:
    """Return how C libraries let one IPv4 address be written, and IPv6 addresses that hold it."""
    number = int(address)
    a, b, c, d = address.packed
    low = number & 0xFFFFFF
    embedded = [
        IPv6Address((0xFFFF << 32) | number),
        IPv6Address((0x0064FF9B << 96) | number),
        IPv6Address((0x2002 << 112) | (number << 80)),
    ]
    return [
        str(address), f"{address}.", str(number), hex(number), f"0{number:o}",
        f"{a:#x}.{b:#x}.{c:#x}.{d:#x}", f"0{a:o}.0{b:o}.0{c:o}.0{d:o}",
        f"{a}.{low}", f"{a}.{b}.{number & 0xFFFF}", f"0{a:o}.{b:#x}.{number & 0xFFFF}",
        *(f"[{six}]" for six in embedded), f"[::ffff:{address}]",
    ]  # fmt: skip


@given(inside_4, st.sampled_from(["", ":443", ":9000"]))
def test_no_spelling_of_an_address_inside_is_public(address: IPv4Address, port: str) -> None:
    for host in spellings(address):
        assert why_not_public(f"https://{host}{port}", nobody), host


@given(inside_6)
def test_no_ipv6_address_inside_is_public(address: IPv6Address) -> None:
    assert why_not_public(f"https://[{address}]", nobody)
    assert why_not_public(f"https://[{address.exploded}]:8443", nobody)


@given(public_4)
def test_public_addresses_are_public_however_they_are_spelled(address: IPv4Address) -> None:
    for host in spellings(address):
        assert why_not_public(f"https://{host}", nobody) is None, host


@given(st.lists(public_4, max_size=3), inside_4 | inside_6, st.integers(0, 3))
def test_one_address_inside_is_enough_to_refuse_a_name(
    open_ones: list[IPv4Address], inside: IPv4Address | IPv6Address, place: int
) -> None:
    addresses = [str(a) for a in open_ones]
    asked: list[str] = []

    def resolve(host: str) -> list[str]:
        asked.append(host)
        return addresses

    assert (why_not_public("https://data.example.org", resolve) is None) is bool(addresses)
    addresses.insert(place, str(inside))
    refusal = why_not_public("https://data.example.org:8443", resolve)
    assert refusal is not None
    assert str(inside) in refusal
    assert asked == ["data.example.org"] * 2


@given(st.text(max_size=40))
def test_whatever_is_no_plain_server_is_refused(text: str) -> None:
    def resolve(host: str) -> list[str]:
        # A name is asked for as it stands in the address, so nothing can be read in two ways.
        assert text.lower().startswith(host.lower())
        return ["10.0.0.1"]

    assert why_not_public(f"https://{text}", resolve)


@pytest.mark.parametrize(
    "server",
    [
        "http://93.184.215.14", "https://user@93.184.215.14", "https://93.184.215.14\\@127.0.0.1",
        "https://１２７.0.0.1", "https://a%2eb", "https://[fe80::1%25eth0]", "https://1.2.3.4.5",
        "https://08.1.1.1", "https://256.1.1.1", "https://1.1.1.99999", "https://", "ftp://a.org",
    ],
)  # fmt: skip
def test_servers_that_could_be_misread_are_refused(server: str) -> None:
    assert why_not_public(server, nobody)


def refused(address: str, sources: str, endpoint: str | None = None) -> str:
    with pytest.raises(ReadOnlyError) as error:
        locate(address, CloudSettings(endpoint, "key", "secret", sources=sources))
    assert error.value.kind is ErrorKind.SOURCE_REFUSED
    assert "setting `sources`" in error.value.message
    return error.value.message


def keys_used(address: str, sources: str, endpoint: str | None = None) -> bool:
    place = locate(address, CloudSettings(endpoint, "key", "secret", sources=sources))
    return place.cloud.access_key_id is not None


def test_public_buckets_are_read_without_the_servers_keys_and_listed_ones_with_them() -> None:
    assert not keys_used("s3://janelia-cosem-datasets/a.n5", "public")
    assert not keys_used("n5://gs://bucket/a", "public")
    assert not keys_used("https://93.184.215.14/a.zarr", "public")
    assert keys_used("s3://ours/a", "public, s3://ours")
    assert not keys_used("s3://others/a", "public, s3://ours")
    assert keys_used("s3://ours/a", "any")
    # An address cannot make the server show its keys to a server of its own.
    assert not keys_used("s3+https://93.184.215.14/ours/a", "public, s3://ours")
    assert "in none of the places" in refused("s3+https://93.184.215.14/ours/a", "s3://ours")
    inside = "http://10.0.0.5:9000"
    assert keys_used("s3://ours/a", "public, s3://ours", inside)
    assert "only https://" in refused("s3://others/a", "public, s3://ours", inside)


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("/etc/passwd.zarr", "own disk"),
        ("file:///srv/else", "own disk"),
        ("zarr://relative", "own disk"),
        ("/srv/em/../other", "own disk"),
        ("/srv/emigrants", "own disk"),
        ("/srv/other.zip/inside", "own disk"),
        ("http://93.184.215.14/a", "only https://"),
        ("https://127.1/a.zip", "loopback"),
        ("zarr3://https://[fe80::1]/a", "link-local"),
        ("https://169.254.169.254/latest|zarr2:", "link-local"),
        ("s3+http://93.184.215.14/bucket/a", "only https://"),
        ("s3+https://2130706433/bucket/a", "loopback"),
        ("s3+https://[fd00::1]:9000/bucket/a", "private"),
        ("https://data.our.org/open/../secret", "no place"),
        ("https://data.our.org/open/%2e%2E/secret", "no place"),
        ("s3://a@b/c", "name of a bucket"),
    ],
)
def test_what_is_not_allowed_is_refused_with_the_reason(address: str, why: str) -> None:
    assert why in refused(address, "public, /srv/em, https://data.our.org/open")


def test_what_is_listed_is_opened_though_it_is_not_public() -> None:
    rules = "/srv/em, http://10.0.0.5:8000/data, s3+http://10.0.0.5:9000/bucket/em"
    for address in (
        "/srv/em", "/srv/em/cell.zarr/em", "/srv/em/a.zip/b", "http://10.0.0.5:8000/data/a.n5",
        "s3+http://10.0.0.5:9000/bucket/em/a",
    ):  # fmt: skip
        locate(address, CloudSettings(sources=rules))
    for address in (
        "http://10.0.0.5:8000/other", "http://10.0.0.5/data", "https://10.0.0.5:8000/data",
        "s3+http://10.0.0.5:9000/bucket/else", "s3://janelia-cosem-datasets/a",
        "https://93.184.215.14/a",
    ):  # fmt: skip
        assert "listed" in refused(address, rules)


def test_a_link_does_not_lead_out_of_a_listed_folder(tmp_path: Path) -> None:
    for name in ("ours", "theirs/em.zarr"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "ours/link").symlink_to(tmp_path / "theirs")
    (tmp_path / "listed").symlink_to(tmp_path / "ours")
    rules = f"{tmp_path}/listed"
    assert "own disk" in refused(f"{tmp_path}/ours/link/em.zarr", rules)
    place = locate(f"{tmp_path}/ours", CloudSettings(sources=rules))
    assert place.child("em.zarr").path.endswith("ours/em.zarr")
    with pytest.raises(ReadOnlyError):
        place.child("link")


def test_a_name_is_looked_up_each_time_it_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    now = ["93.184.215.14"]
    monkeypatch.setattr(specs, "_addresses", lambda host: now)
    locate("https://turns.example.org/a", CloudSettings(sources="public"))
    now[0] = "192.168.1.1"
    assert "192.168.1.1" in refused("https://turns.example.org/a", "public")
    locate("https://turns.example.org/a", CloudSettings(sources="https://turns.example.org"))


@pytest.mark.parametrize("text", ["any, public", "relative/folder", "everything", "ftp://a/b"])
def test_rules_that_mean_nothing_are_refused(text: str) -> None:
    with pytest.raises(InvalidInputError):
        source_rules(text)
