"""Sessions: stored, changed only by who knows the present state, pinned and freed."""

import json
from pathlib import Path

import pytest
import sqlalchemy as sa
from databases import address_in

from app.sessions import SessionStore
from app.shares import ShareStore
from app.storage import instance_id
from segmentation_backend.database import open_database
from segmentation_backend.errors import ErrorKind, NotFoundError, ReadOnlyError

STATE = {
    "layers": [
        {"type": "image", "source": "precomputed://{origin}/image/cell", "name": "em"},
        {
            "type": "segmentation",
            "source": "precomputed://{origin}/labels/cell",
            "segments": ["7"],
            "equivalences": [["1", "2"]],
            "name": "mitochondria",
        },
    ]
}


@pytest.fixture
def engine(tmp_path: Path, database: str) -> sa.Engine:
    return open_database(address_in(tmp_path))


@pytest.fixture
def sessions(engine: sa.Engine) -> SessionStore:
    return SessionStore(engine)


def label_source(view_state: str) -> object:
    return json.loads(view_state)["layers"][1]["source"]


def test_a_session_reads_back_as_it_was_made(sessions: SessionStore) -> None:
    made = sessions.create("cell", "ana", STATE)
    assert sessions.get(made.token) == made
    assert len(made.token) == 32
    assert json.loads(made.view_state) == STATE
    assert not made.read_only


def test_an_unknown_token_is_no_session(sessions: SessionStore) -> None:
    with pytest.raises(NotFoundError) as caught:
        sessions.get("0" * 32)
    assert caught.value.kind == ErrorKind.SESSION_NOT_FOUND
    assert sessions.find("0" * 32) is None
    assert sessions.find(None) is None


def test_only_who_knows_the_present_generation_may_save(sessions: SessionStore) -> None:
    made = sessions.create("cell", "ana", STATE)
    assert sessions.save_state(made.token, "{}", before=made.generation, generation="a/1")
    assert not sessions.save_state(made.token, "[]", before=made.generation, generation="b/1")
    assert sessions.save_state(made.token, '{"x":1}', before="a/1", generation="a/2")
    now = sessions.get(made.token)
    assert (now.view_state, now.generation) == ('{"x":1}', "a/2")


def test_pinning_changes_the_label_address_and_the_generation(sessions: SessionStore) -> None:
    made = sessions.create("cell", "ana", STATE)
    pinned = sessions.show_version(made.token, 3)
    assert pinned.read_only
    assert pinned.generation != made.generation
    assert label_source(pinned.view_state) == "precomputed://{origin}/labels/cell@3"
    assert json.loads(pinned.view_state)["layers"][0] == STATE["layers"][0]
    assert "equivalences" not in json.loads(pinned.view_state)["layers"][1]
    freed = sessions.show_version(made.token, None)
    assert label_source(freed.view_state) == "precomputed://{origin}/labels/cell"
    assert not freed.read_only


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([{"url": "precomputed://{origin}/labels/cell"}], "precomputed://{origin}/labels/cell@3"),
        ({"url": "precomputed://{origin}/labels/cell/"}, "precomputed://{origin}/labels/cell@3/"),
        (
            "{origin}/labels/cell@2/|neuroglancer-precomputed:",
            "{origin}/labels/cell@3/|neuroglancer-precomputed:",
        ),
        ("precomputed://{origin}/labels/cell2", "precomputed://{origin}/labels/cell2"),
        (
            "precomputed://https://else.where/labels/cell",
            "precomputed://https://else.where/labels/cell",
        ),
    ],
)
def test_every_form_of_our_own_address_is_pinned_and_no_other(
    sessions: SessionStore, before: object, after: str
) -> None:
    state = {"layers": [{}, {"type": "segmentation", "source": before}]}
    made = sessions.create("cell", "ana", state)
    source = label_source(sessions.show_version(made.token, 3).view_state)
    while not isinstance(source, str):
        source = source[0] if isinstance(source, list) else source["url"]
    assert source == after


def test_a_pinned_page_and_a_page_of_another_volume_take_no_edits(sessions: SessionStore) -> None:
    made = sessions.create("cell", "ana", STATE, pinned_version=2)
    with pytest.raises(ReadOnlyError, match="version 2"):
        sessions.check_editable(made.token, "cell")
    sessions.show_version(made.token, None)
    sessions.check_editable(made.token, "cell")
    sessions.check_editable(None, "cell")
    with pytest.raises(NotFoundError):
        sessions.check_editable(made.token, "other")


def test_two_sessions_do_not_interfere(sessions: SessionStore) -> None:
    one, two = sessions.create("cell", "ana", STATE), sessions.create("cell", "bo", STATE)
    assert one.token != two.token
    sessions.save_state(one.token, "{}", before=one.generation, generation="a/1")
    sessions.show_version(one.token, 1)
    assert sessions.get(two.token) == two


def test_a_share_never_changes_and_an_unknown_one_is_refused(engine: sa.Engine) -> None:
    shares = ShareStore(engine)
    made = shares.create("cell", 4, STATE, "ana")
    assert shares.get(made.share_id) == made
    assert made.to_json()["view_state"] == STATE
    assert shares.create("cell", 4, STATE, "ana").share_id != made.share_id
    with pytest.raises(NotFoundError) as caught:
        shares.get("nothing")
    assert caught.value.kind == ErrorKind.SHARE_NOT_FOUND


def test_a_data_directory_keeps_its_name(engine: sa.Engine) -> None:
    assert instance_id(engine) == instance_id(engine)
    assert len(instance_id(engine)) == 8
