"""Every place that packs are kept in keeps the same promises; each is checked behind its back."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from packs import ABSENT, BUCKET, CHUNKS, MEGABYTE, bucket, chunks, data_of, name_of, read_back

from segmentation_backend.errors import ErrorKind, FormatError, InvalidInputError, ResourceError
from segmentation_backend.labels import ChunkKey, PackStore, StoredChunk, open_packs
from segmentation_backend.labels.pack_bucket import PackBucket
from segmentation_backend.labels.pack_folder import PackFolder


class PackStoreContract:
    """What must hold wherever packs are kept; subclasses look at the place itself."""

    @pytest.fixture
    def packs(self) -> PackStore:
        raise NotImplementedError

    def sibling(self, packs: PackStore, name: str) -> PackStore:
        """Return the packs of another volume beside these."""
        raise NotImplementedError

    def raw(self, packs: PackStore) -> dict[str, bytes]:
        """Return what lies there, by path below the store."""
        raise NotImplementedError

    def replace(self, packs: PackStore, path: str, content: bytes | None) -> None:
        """Change or delete what lies there."""
        raise NotImplementedError

    def test_chunks_read_back_in_any_order(self, packs: PackStore) -> None:
        first, second = packs.write(CHUNKS), packs.write(chunks(5, 3000))
        wanted = [*reversed(first.values()), *second.values(), *first.values()]
        found = dict(packs.read(wanted))
        assert {key: found[place] for key, place in first.items()} == data_of(CHUNKS)
        assert {key: found[place] for key, place in second.items()} == data_of(chunks(5, 3000))
        assert list(packs.read([])) == []

    def test_one_write_is_one_file_under_the_name_that_its_places_say(
        self, packs: PackStore
    ) -> None:
        names = [name_of(packs.write(CHUNKS)) for _ in range(3)]
        assert set(self.raw(packs)) == {f"{name[:2]}/{name}.pack" for name in names}
        for path, content in self.raw(packs).items():
            name = path[3:-5]
            assert packs.content(name) == content
            assert packs.verify(name) == 2

    def test_ages_are_told(self, packs: PackStore, monkeypatch: pytest.MonkeyPatch) -> None:
        names = {name_of(packs.write(CHUNKS)) for _ in range(2)}
        found = dict(packs.names())
        assert set(found) == names
        assert all(-2 < age < 60 for age in found.values())
        later = time.time() + 7200
        monkeypatch.setattr(time, "time", lambda: later)
        assert all(7190 < age < 7260 for _, age in packs.names())

    def test_only_ones_own_packs_are_listed(self, packs: PackStore) -> None:
        assert list(packs.names()) == []
        self.sibling(packs, "2").write(CHUNKS)
        self.sibling(packs, "/deeper").write(CHUNKS)
        self.replace(packs, "ab/notes.txt", b"mine")
        self.replace(packs, "ab/no pack.pack", b"mine")
        assert list(packs.names()) == []

    def test_a_missing_pack_is_an_outage_and_never_empty(self, packs: PackStore) -> None:
        for call in (
            lambda: list(packs.read([ABSENT])),
            lambda: packs.content(ABSENT.pack),
            lambda: packs.verify(ABSENT.pack),
        ):
            with pytest.raises(ResourceError) as caught:
                call()
            assert caught.value.kind == ErrorKind.SOURCE_UNAVAILABLE
            assert ABSENT.pack in str(caught.value)

    @pytest.mark.parametrize("damage", ["flip", "cut", "cut in a record", "empty"])
    def test_a_damaged_chunk_is_an_error_not_zeros(self, packs: PackStore, damage: str) -> None:
        places = packs.write(CHUNKS)
        ((path, content),) = self.raw(packs).items()
        altered = bytearray(content)
        altered[-30] ^= 1
        changed = {
            "flip": bytes(altered),
            "cut": content[:-17],
            "cut in a record": content[:-25],
            "empty": b"",
        }
        self.replace(packs, path, changed[damage])
        name = name_of(places)
        if damage != "cut":  # of the footer alone: the chunks are whole
            with pytest.raises(FormatError) as caught:
                list(packs.read(places.values()))
            assert caught.value.kind == ErrorKind.CORRUPT_CHUNK
            assert name in str(caught.value)
        with pytest.raises(FormatError):
            packs.verify(name)
        assert packs.content(name) == changed[damage]

    def test_damage_in_one_pack_spares_the_others(self, packs: PackStore) -> None:
        places = packs.write(CHUNKS)
        ((path, content),) = self.raw(packs).items()
        others = packs.write(CHUNKS)
        self.replace(packs, path, content[:10])
        assert read_back(packs, others) == data_of(CHUNKS)
        with pytest.raises(FormatError):
            list(packs.read([*others.values(), *places.values()]))

    def test_a_removed_pack_is_gone_and_may_be_removed_again(self, packs: PackStore) -> None:
        places, others = packs.write(CHUNKS), packs.write(CHUNKS)
        name = name_of(places)
        packs.remove(name)
        packs.remove(name)
        assert [found for found, _ in packs.names()] == [name_of(others)]
        assert read_back(packs, others) == data_of(CHUNKS)
        with pytest.raises(ResourceError):
            list(packs.read(places.values()))

    def test_a_pack_can_be_copied_and_mended(self, packs: PackStore) -> None:
        places = packs.write(chunks(3, 500))
        name = name_of(places)
        ((path, content),) = self.raw(packs).items()
        copy = self.sibling(packs, "-copy")
        for _ in range(2):
            copy.put(name, packs.content(name))
            assert self.raw(copy) == {path: content}
        assert read_back(copy, places) == data_of(chunks(3, 500))
        self.replace(packs, path, content[:100])
        packs.put(name, copy.content(name))
        assert self.raw(packs) == {path: content}

    def test_nothing_but_a_whole_pack_is_put(self, packs: PackStore) -> None:
        name = name_of(packs.write(CHUNKS))
        content = packs.content(name)
        before = self.raw(packs)
        for wrong in (b"", content[:-1], content[:40], content[::-1]):
            with pytest.raises(FormatError):
                packs.put(name, wrong)
        for wrong_name in ("../../outside", "", "ab/cd", "notes", "ab12\n"):
            with pytest.raises(InvalidInputError) as caught:
                packs.put(wrong_name, content)
            assert caught.value.kind == ErrorKind.INVALID_NAME
        assert self.raw(packs) == before

    def test_eight_threads_write_and_read_at_once(self, packs: PackStore) -> None:
        def work(seed: int) -> list[dict[ChunkKey, StoredChunk]]:
            made = []
            for turn in range(5):
                written = chunks(3, 2000, seed * 100 + turn)
                made.append(packs.write(written))
                assert read_back(packs, made[-1]) == data_of(written)
            return made

        with ThreadPoolExecutor(8) as pool:
            made = [places for found in pool.map(work, range(8)) for places in found]
        assert {name for name, _ in packs.names()} == {name_of(places) for places in made}
        assert len(made) == 40

    def test_steps_are_told_in_order(self, packs: PackStore) -> None:
        steps: list[str] = []
        packs._hook = steps.append  # type: ignore[attr-defined]
        packs.write(CHUNKS)
        assert steps[0] == "pack-opened"
        assert steps[-1] == "pack-durable"

    def test_a_place_that_is_there_passes_the_check(self, packs: PackStore) -> None:
        packs.write(CHUNKS)
        packs.check()


class TestFolder(PackStoreContract):
    @pytest.fixture
    def packs(self, tmp_path: Path) -> PackStore:
        return open_packs(tmp_path / "store" / "cell")

    def sibling(self, packs: PackStore, name: str) -> PackStore:
        assert isinstance(packs, PackFolder)
        return open_packs(f"{packs.folder}{name}")

    def raw(self, packs: PackStore) -> dict[str, bytes]:
        assert isinstance(packs, PackFolder)
        files = (path for path in packs.folder.rglob("*") if path.is_file())
        return {str(path.relative_to(packs.folder)): path.read_bytes() for path in files}

    def replace(self, packs: PackStore, path: str, content: bytes | None) -> None:
        assert isinstance(packs, PackFolder)
        target = packs.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True) if content is None else target.write_bytes(content)

    def test_a_folder_that_is_gone_fails_the_check(self, tmp_path: Path) -> None:
        with pytest.raises(ResourceError, match="gone"):
            open_packs(tmp_path / "gone").check()


class TestBucket(PackStoreContract):
    @pytest.fixture
    def packs(self, s3: Any) -> PackStore:
        self.s3 = s3
        return bucket(s3.endpoint)

    def prefix(self, packs: PackStore) -> str:
        assert isinstance(packs, PackBucket)
        return packs._prefix

    def sibling(self, packs: PackStore, name: str) -> PackStore:
        return bucket(self.s3.endpoint, self.prefix(packs) + name)

    def raw(self, packs: PackStore) -> dict[str, bytes]:
        prefix = f"{self.prefix(packs)}/"
        listed = self.s3.client.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", [])
        return {
            item["Key"].removeprefix(prefix): self.s3.client.get_object(
                Bucket=BUCKET, Key=item["Key"]
            )["Body"].read()
            for item in listed
        }

    def replace(self, packs: PackStore, path: str, content: bytes | None) -> None:
        self.s3.put(f"{self.prefix(packs)}/{path}", content)

    def test_a_pack_of_many_megabytes_is_one_object(self, packs: PackStore) -> None:
        written = chunks(20, MEGABYTE)
        places = packs.write(written)
        ((_, content),) = self.raw(packs).items()
        assert packs.content(name_of(places)) == content
        assert packs.verify(name_of(places)) == 20
        assert read_back(packs, places) == data_of(written)
        packs.put(name_of(places), content)
        assert read_back(packs, places) == data_of(written)


def test_both_places_hold_the_same_files(s3: Any, tmp_path: Path) -> None:
    folder, remote = PackFolder(tmp_path), bucket(s3.endpoint, "same")
    places = folder.write(chunks(4, 900))
    name = name_of(places)
    s3.upload(tmp_path, "same")  # as any tool would copy it
    assert read_back(remote, places) == data_of(chunks(4, 900))
    assert remote.content(name) == folder.content(name)
    assert [found for found, _ in remote.names()] == [name]
