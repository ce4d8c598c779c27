"""Ids: str or int64, one type per collection, generated when omitted."""

from __future__ import annotations

from enum import IntEnum

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import vicinal
from vicinal.errors import AlreadyExists, InvalidId, NotFound

INT64 = (-(2**63), -1, 0, 1, 2**63 - 1)
TEXTS = ["a", "A", "\x00", "a\x00b", " ", "é", "e\u0301", "😀", "'; drop table x--", "%", "x" * 65_536, "é" * 32_768]


@pytest.mark.parametrize("ids", [list(INT64), TEXTS], ids=["int", "str"])
def test_every_id_is_found_again_as_it_was(docs, ids) -> None:
    vectors = [[at, 0] for at in range(len(ids))]
    assert docs.add(ids=ids, vectors=vectors) == ids
    assert docs.get().ids == ids
    for at, identity in enumerate(ids):
        assert identity in docs
        assert docs[identity].vector.tolist() == vectors[at]
        assert type(docs[identity].id) is type(identity)
    assert docs.delete(ids[1:]) == len(ids) - 1
    assert docs.get().ids == ids[:1]


@given(ids=st.lists(st.text(min_size=1).filter(lambda text: text.isprintable()), min_size=1, unique=True))
def test_any_text_is_an_id(ids) -> None:
    with vicinal.connect(":memory:", maintenance=False) as db:
        docs = db.collection("docs", dim=1, metric="l2")
        docs.add(ids=ids, vectors=np.arange(len(ids))[:, None])
        assert docs.get(ids).ids == ids
        assert docs.search([0], k=len(ids)).ids == ids


@pytest.mark.parametrize(
    ("ids", "says"),
    [
        ([""], "empty"),
        (["a", ""], r"ids\[1\].*empty"),
        (["x" * 65_537], "65,537 bytes"),
        (["é" * 32_769], "65,538 bytes"),
        (["a\ud800"], "surrogate at character 1"),
        ([2**63], r"ids\[0\]: 9223372036854775808 does not fit"),
        ([1, -(2**63) - 1], r"ids\[1\].*64 bits"),
        (["a", 1], "mix int and str"),
        (["a", "b", "a"], r"ids\[2\]: 'a' stands twice"),
        ([1, True], "not bool: True"),
        ([1.0], "not float: 1.0"),
        ([b"a"], "not bytes"),
        ([None], "not NoneType"),
        ([("a",)], "not tuple"),
        ("ab", "list"),
        (b"ab", "list"),
        ({"a": 1, "b": 2}, "list"),
        (np.array([1.5, 2.5]), "not float"),
        (np.array(5), "one value"),
    ],
)
@pytest.mark.parametrize("verb", ["add", "upsert", "update"])
def test_a_bad_id_is_refused_by_name(docs, ids, says, verb) -> None:
    given = {"vectors": [[0, 0]] * (len(ids) if hasattr(ids, "__len__") and np.ndim(ids) else 1)}
    with pytest.raises(vicinal.errors.InvalidInput, match=says):
        getattr(docs, verb)(ids=ids, **given)
    assert len(docs) == 0


@pytest.mark.parametrize("ids", [b"a", 5.5, {"a": 1}, [["a"]], [1.0], [True], True, np.array(5), [b"a"], [2**63]])
@pytest.mark.parametrize("verb", ["get", "delete"])
def test_reading_and_deleting_refuse_what_is_no_id(docs, ids, verb) -> None:
    docs.add(ids=[1, 97], vectors=[[0, 0], [0, 1]])  # 97 is b"a"[0]
    with pytest.raises(InvalidId):
        getattr(docs, verb)(ids)
    assert docs.get().ids == [1, 97]


@pytest.mark.parametrize(
    "ids", [["a", "b"], ("a", "b"), np.array(["a", "b"]), np.array(["a", "b"], object), "a", np.str_("a")]
)
def test_ids_come_in_any_sequence_or_alone(three, ids) -> None:
    wanted = [ids] if isinstance(ids, str) else list(ids)
    assert three.get(ids).ids == wanted
    assert three.delete(ids) == len(wanted)


@pytest.mark.parametrize("dtype", [np.int8, np.uint32, np.int64, ">i4"])
def test_numpy_ints_become_ints(docs, dtype) -> None:
    ids = docs.add(ids=np.array([3, 1], dtype), vectors=[[0, 0], [1, 1]])
    assert [(type(identity), identity) for identity in ids] == [(int, 3), (int, 1)]
    assert np.int64(3) in docs
    assert docs[np.int32(1)].id == 1


def test_members_of_an_enumeration_are_the_ints_they_stand_for(docs) -> None:
    member = IntEnum("Member", {"ONE": 1}).ONE
    assert docs.add(ids=[member], vectors=[[0, 0]]) == [1]
    assert member in docs
    assert type(docs[member].id) is int


def test_ids_of_the_other_type_are_refused_or_just_not_there(three) -> None:
    with pytest.raises(InvalidId, match="'docs' has str ids; got int: 1"):
        three.add(ids=[1], vectors=[[0, 0]])
    assert 1 not in three
    assert three.get([1]).ids == []
    assert three.delete([1]) == 0


def test_repeated_ids_are_read_once_in_the_order_asked_for(three) -> None:
    assert three.get(["c", "a", "gone", "c"]).ids == ["c", "a"]


def test_generated_ids_are_new_and_of_the_type_of_the_collection(db, docs) -> None:
    assert docs.add(vectors=[[0, 0], [1, 1]]) == [1, 2]
    docs.add(ids=[10], vectors=[[0, 0]])
    assert docs.add(vectors=[[0, 0]]) == [11]
    texts = db.collection("texts", dim=1)
    texts.add(ids=["a"], vectors=[[1]])
    made = texts.add(vectors=[[1]] * 100)
    assert len(set(made)) == 100
    assert all(isinstance(identity, str) and identity in texts for identity in made)


def test_no_id_is_generated_beyond_64_bits(docs) -> None:
    docs.add(ids=[2**63 - 1], vectors=[[0, 0]])
    with pytest.raises(InvalidId, match="no int ids left"):
        docs.add(vectors=[[0, 0]])
    assert len(docs) == 1


def test_adding_nothing_changes_nothing(docs) -> None:
    before = docs.info()
    assert docs.add([]) == docs.add(ids=[], vectors=np.empty((0, 2))) == docs.upsert(rows=()) == []
    assert docs.info() == before
    assert docs.add(ids=["the type of ids is still open"], vectors=[[0, 0]])


def test_an_id_that_exists_is_named_and_nothing_is_stored(three) -> None:
    with pytest.raises(AlreadyExists, match="id 'b' exists in 'docs' already"):
        three.add(ids=["new", "b"], vectors=[[0, 0], [1, 1]])
    with pytest.raises(NotFound, match=r"ids\[1\]: no row with id 'gone'"):
        three.update(ids=["a", "gone"], metadata=[{"n": 9}, {}])
    with pytest.raises(NotFound, match="'gone' in 'docs'"):
        three["gone"]
    assert three.get().to_dicts() == three.get(["a", "b", "c"]).to_dicts()
    assert three["a"].metadata == {"n": 1}


def test_an_id_that_has_expired_is_free_among_many(tmp_path) -> None:
    now = [1000.0]
    with vicinal.connect(tmp_path / "app.db", clock=lambda: now[0]) as db:
        docs = db.collection("docs", dim=2)
        docs.add(ids=["kept", "gone"], vectors=[[1, 0], [0, 1]], ttl=[None, 5.0])
        many = [f"new {at}" for at in range(120)]
        for taken in ("kept", "gone"):
            with pytest.raises(AlreadyExists, match=f"id '{taken}' exists"):
                docs.add(ids=[*many, taken, "last"], vectors=np.ones((122, 2)))
            assert docs.get().ids == ["kept", "gone"]
        now[0] += 6
        docs.add(ids=[*many, "gone", "last"], vectors=np.ones((122, 2)))
        assert docs.get().ids == ["kept", *many, "gone", "last"]
        assert db.verify().ok
