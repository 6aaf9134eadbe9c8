"""Archives from strangers: read where they are plain, refused whole where they are not."""

import stat
import struct
import zipfile

import pytest

from segmentation_backend.errors import ErrorKind, FormatError
from segmentation_backend.models.archives import holds_code, unpack, write_archive

MANIFEST = "model: mine.pth\n"


def archive(path, members, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, content in members:
            file.writestr(name, content)
    return path


def refused(path, tmp_path, reason):
    folder = tmp_path / "unpacked"
    folder.mkdir()
    with pytest.raises(FormatError, match=reason) as caught:
        unpack(path, folder)
    assert caught.value.kind is ErrorKind.UNSUPPORTED_FORMAT
    assert "nothing of it was kept" in caught.value.message


def test_a_plain_archive_is_unpacked_by_plain_names(tmp_path):
    path = archive(tmp_path / "a.empanada", [("mine/mine.yaml", MANIFEST), ("mine/mine.pth", b"x")])
    folder = tmp_path / "out"
    folder.mkdir()
    unpacked = unpack(path, folder)
    assert unpacked.manifest == folder / "mine.yaml"
    assert unpacked.weights == (folder / "mine.pth",)
    assert (folder / "mine.pth").read_bytes() == b"x"


def test_what_is_written_can_be_unpacked(tmp_path):
    (tmp_path / "w").write_bytes(b"weights" * 100)
    write_archive(tmp_path / "a.empanada", "m.yaml", MANIFEST, {"m.pth": tmp_path / "w"})
    folder = tmp_path / "out"
    folder.mkdir()
    assert unpack(tmp_path / "a.empanada", folder).weights[0].read_bytes() == b"weights" * 100
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize(
    "name",
    [
        "../mine.pth",
        "a/../../mine.pth",
        "/etc/mine.pth",
        "C:\\mine.pth",
        "..\\mine.pth",
        "a//mine.pth",
        ".hidden.pth",
        "mi\nne.pth",
        "mine.pth ",
        "x" * 300 + ".pth",
    ],
)
def test_a_path_that_is_not_plain_is_refused(name, tmp_path):
    path = archive(tmp_path / "a.zip", [("mine.yaml", MANIFEST), (name, b"x")])
    refused(path, tmp_path, "member")
    assert not (tmp_path / "mine.pth").exists()
    assert list((tmp_path / "unpacked").iterdir()) == []


@pytest.mark.parametrize("name", ["run.py", "mine.so", "mine.pth.exe", "README"])
def test_an_unexpected_file_is_refused(name, tmp_path):
    path = archive(tmp_path / "a.zip", [("mine.yaml", MANIFEST), (name, b"x")])
    refused(path, tmp_path, "neither")


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO])
def test_links_and_devices_are_refused(kind, tmp_path):
    link = zipfile.ZipInfo("mine.pth")
    link.external_attr = (kind | 0o777) << 16
    path = archive(tmp_path / "a.zip", [("mine.yaml", MANIFEST), (link, "/etc/passwd")])
    refused(path, tmp_path, "link")


def test_a_bomb_is_refused_before_anything_is_written(tmp_path):
    path = archive(tmp_path / "a.zip", [("mine.yaml", MANIFEST), ("mine.pth", bytes(2**26))])
    refused(path, tmp_path, "inflates")
    assert list((tmp_path / "unpacked").iterdir()) == []


def test_a_large_description_is_refused(tmp_path):
    path = archive(tmp_path / "a.zip", [("mine.yaml", "a" * 2**17), ("mine.pth", b"x")])
    refused(path, tmp_path, "more than")


def test_a_member_that_says_it_is_smaller_than_it_is_is_refused(tmp_path):
    path = archive(tmp_path / "a.zip", [("mine.yaml", MANIFEST), ("mine.pth", b"y" * 5000)])
    content = path.read_bytes().replace(struct.pack("<I", 5000), struct.pack("<I", 10))
    path.write_bytes(content)
    refused(path, tmp_path, "cannot be used")


def test_a_declared_size_beyond_the_limit_is_refused(tmp_path):
    path = archive(tmp_path / "a.zip", [("mine.yaml", MANIFEST), ("mine.pth", b"y" * 5000)])
    content = path.read_bytes().replace(struct.pack("<I", 5000), struct.pack("<I", 2**32 - 2))
    path.write_bytes(content)
    refused(path, tmp_path, r"inflates|more than")


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ([("mine.pth", b"x")], "0 descriptions"),
        ([("a.yaml", MANIFEST), ("b.yml", MANIFEST), ("mine.pth", b"x")], "2 descriptions"),
        ([("mine.yaml", MANIFEST)], "no weights"),
        ([("mine.yaml", MANIFEST), ("a/m.pth", b"x"), ("b/M.pth", b"y")], "same name"),
        ([("mine.yaml", MANIFEST), *((f"{i}.pth", b"x") for i in range(20))], "21 files"),
    ],
)
def test_the_wrong_number_of_files_is_refused(members, reason, tmp_path):
    refused(archive(tmp_path / "a.zip", members), tmp_path, reason)


def test_damage_is_refused(tmp_path):
    members = [("mine.yaml", MANIFEST), ("mine.pth", bytes(range(256)) * 40)]
    whole = archive(tmp_path / "a.zip", members, zipfile.ZIP_STORED).read_bytes()
    for number, content in enumerate((b"", b"PK\x03\x04", whole[: len(whole) // 2])):
        (tmp_path / "broken.zip").write_bytes(content)
        folder = tmp_path / str(number)
        folder.mkdir()
        refused(tmp_path / "broken.zip", folder, "not a whole zip")
    flipped = bytearray(whole)
    flipped[whole.index(bytes(range(256))) + 1000] ^= 1
    (tmp_path / "broken.zip").write_bytes(flipped)
    refused(tmp_path / "broken.zip", tmp_path, "CRC")


def test_an_encrypted_member_is_refused(tmp_path):
    path = archive(tmp_path / "a.zip", [("mine.yaml", MANIFEST), ("mine.pth", b"x")])
    content = bytearray(path.read_bytes())
    for at in (i for i in range(len(content)) if content[i : i + 4] == b"PK\x01\x02"):
        content[at + 8] |= 1
    path.write_bytes(content)
    refused(path, tmp_path, "encrypted")


def test_code_is_told_from_numbers(tmp_path):
    script = archive(tmp_path / "a.pth", [("net/code/__torch__.py", "x"), ("net/data.pkl", b"")])
    numbers = archive(tmp_path / "b.pt", [("net/data.pkl", b""), ("net/data/0", b"")])
    (tmp_path / "c.pt").write_bytes(b"\x80\x02 an old pickle")
    (tmp_path / "d.onnx").write_bytes(b"graph")
    names = ("c.pt", "d.onnx")
    assert [holds_code(p) for p in (script, numbers, *(tmp_path / n for n in names))] == [
        True,
        False,
        True,
        False,
    ]
