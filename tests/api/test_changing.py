"""Patches, removals and expiry."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from vicinal.errors import AlreadyExists, InvalidInput, NotFound


def test_update_by_id_patches_what_is_given(three) -> None:
    assert three.update(ids=["a", "b"], metadata=[{"n": 5, "new": None}, {}], unset=["tag", "gone"]) == 2
    assert [row.metadata for row in three.get()] == [{"n": 5, "new": None}, {"n": 2}, {}]
    three.update(ids=["a"], documents=["changed"])
    three.update(ids=["b"], vectors=[[9, 9]])
    three.update(ids=["a", "c"], metadata={"both": True})
    assert three["a"].document == "changed"
    assert three["a"].metadata == {"n": 5, "new": None, "both": True}
    assert three["b"].vector.tolist() == [9, 9]
    assert three["a"].vector.tolist() == [0, 0]


def test_update_by_filter_patches_all_that_match(three) -> None:
    assert three.update(where="n >= 1", metadata={"n": 7, "m": {"x": 1}}, unset=["tag"]) == 2
    assert [row.metadata for row in three.get()] == [{"n": 7, "m": {"x": 1}}, {"n": 7, "m": {"x": 1}}, {}]
    assert three.update(where="n = 1", metadata={"n": 0}) == 0
    assert three.get().documents == ["first", None, "third"]


def test_rows_that_say_different_things_never_lose_a_document(three) -> None:
    with pytest.raises(InvalidInput, match=r"rows\[1\] has no 'document'"):
        three.update([{"id": "a", "document": "new"}, {"id": "c", "n": 3}])
    assert three.get().documents == ["first", None, "third"]
    assert three.update([{"id": "a", "n": 8}, {"id": "c", "m": 3}]) == 2
    assert [row.metadata for row in three.get(["a", "c"])] == [{"n": 8}, {"m": 3}]


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda docs: docs.update(metadata={"n": 1}), "update needs ids="),
        (lambda docs: docs.update(ids=["a"], where="n = 1"), "name ids"),
        (lambda docs: docs.update(where="n = 1", metadata=[{"n": 2}]), "one metadata dict"),
        (lambda docs: docs.update(where="n = 1", unset=[""]), "unset takes names"),
        (lambda docs: docs.update(where="n = 1", unset=[5]), "unset takes names"),
        (lambda docs: docs.update([{"id": "a", "n": 2}], documents=["x"]), "not both"),
        (lambda docs: docs.delete(), "delete needs ids or where="),
        (lambda docs: docs.delete(where={}), "would delete every row"),
    ],
)
def test_unclear_changes_are_refused(three, call, says) -> None:
    before = three.info(), three.get().to_dicts()
    with pytest.raises(InvalidInput, match=says):
        call(three)
    assert (three.info(), three.get().to_dicts()) == before


def test_deleting_by_id_and_filter_takes_their_intersection(three) -> None:
    assert three.delete(["a", "b", "gone"], where="n = 2") == 1
    assert three.delete([]) == 0
    assert three.get().ids == ["a", "c"]
    assert three.delete(where="n is null") == 1
    assert three.get().ids == ["a"]


def test_an_expired_row_is_gone_at_once_from_everywhere(three, clock) -> None:
    three.update(ids=["b"], ttl=10)
    clock[0] += 9.999
    assert three.count() == 3
    clock[0] += 0.001
    assert (three.count(), len(three), three.count("n = 2")) == (2, 2, 0)
    assert three.get().ids == three.search([0, 0]).ids == three.get(order_by="n").ids == ["a", "c"]
    assert three.search([0, 0], where="n = 2 or n = 1").ids == ["a"]
    assert three.search_batch([[1, 0]], k=1, arrays=True).ids.tolist() == [["a"]]
    assert [page.ids for page in three.iterate()] == [["a", "c"]]
    assert three.get(["b"]).ids == []
    assert "b" not in three
    assert three.delete(["b"]) == 0
    assert three.info()["rows"] == 2
    assert three.explain([0, 0]).passing == 2


@pytest.mark.parametrize("swept", [False, True])
def test_an_expired_id_is_free_and_cannot_be_updated(db, three, clock, swept) -> None:
    three.update(where="n = 2", ttl=0)
    if swept:
        db.compact()
    with pytest.raises(NotFound, match="'b'"):
        three.update(ids=["b"], metadata=[{"n": 3}])
    with pytest.raises(AlreadyExists, match="'a'"):
        three.add(ids=["b", "a"], vectors=[[5, 5], [5, 5]])
    assert "b" not in three
    three.add(ids=["b"], vectors=[[5, 5]])
    assert three["b"].metadata == {}
    assert three["b"].document is None
    assert three.search([5, 5], k=1).ids == ["b"]
    assert db.verify().ok


def test_expiry_is_given_per_row_replaced_and_lifted(docs, clock) -> None:
    moment = datetime.fromtimestamp(clock[0] + 100, UTC)
    docs.add(ids=["a", "b", "c"], vectors=[[0, 0]] * 3, expires=[moment, None, moment])
    docs.upsert(ids=["c"], vectors=[[0, 0]])  # replaced as a whole: it no longer expires
    docs.add([{"id": "d", "vector": [0, 0], "ttl": 100}])
    docs.update(ids=["d"], expires=[None])
    clock[0] += 100
    assert docs.get().ids == ["b", "c", "d"]


def test_expiry_in_the_past_is_none_at_all(docs, clock) -> None:
    docs.add(ids=["a"], vectors=[[0, 0]], expires=datetime(1969, 1, 1, tzinfo=UTC))
    assert len(docs) == 0
    clock[0] = -86_400.0 * 800  # a clock that goes back brings rows back
    assert len(docs) == 1
