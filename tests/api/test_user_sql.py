"""The user's own tables and SQL, beside vicinal's, which SQL can read but never change."""

from __future__ import annotations

import contextlib

import pytest

import vicinal
from vicinal.errors import InvalidInput

OWN = "vicinal's own"
PREPARATION = """
    create table mine(x, vicinal_y);
    create table counted(id integer primary key autoincrement, x);
    create view seen as select * from mine;
    insert into mine values (1, 2);
    insert into counted(x) values (1);
"""


@pytest.fixture
def own(db, three) -> vicinal.Database:
    db.execute(PREPARATION)
    return db


REFUSED = [
    "insert into vicinal_row(key, collection, id, slots) values (1, 1, 'x', x'')",
    "insert into vicinal_row select * from vicinal_row",
    "insert into VICINAL_META values ('format', 99)",
    "replace into \"vicinal_meta\" values ('format', 99)",
    "insert into vicinal_meta values ('format', 99) on conflict do update set value = 99",
    "with x as (select 1) update vicinal_collection set version = 1",
    "with x as (select key from vicinal_row) delete from vicinal_row where key in x",
    "delete from vicinal_row",
    "delete from main.vicinal_vector returning key",
    "update vicinal_row set metadata = '{}'",
    "update vicinal_row set metadata = '{}' from mine",
    "drop table vicinal_row",
    "drop index vicinal_row_id",
    "alter table vicinal_row add column more",
    "alter table vicinal_row rename to mine2",
    "alter table vicinal_row rename column id to di",
    "alter table vicinal_row drop column document",
    "create index more on vicinal_row(document)",
    "create index vicinal_more on mine(x)",
    "create trigger t after insert on vicinal_row begin select 1; end",
    "create temp trigger t after insert on vicinal_row begin delete from vicinal_chunk; end",
    "create trigger vicinal_t after insert on mine begin select 1; end",
    "create table vicinal_new(x)",
    "create table VICINAL_NEW as select 1",
    "create view vicinal_new as select 1",
    "create virtual table vicinal_new using fts5(x)",
    "create temp table vicinal_row(key integer primary key, collection, id, slots, expires, metadata, document)",
    "create temp view vicinal_row as select 1",
    "savepoint vicinal_1",
    "select 1; delete from vicinal_row",
]


@pytest.mark.parametrize("sql", REFUSED)
@pytest.mark.parametrize("inside", [False, True])
def test_vicinal_s_own_tables_cannot_be_changed(own, three, sql, inside) -> None:
    with pytest.raises(InvalidInput, match=OWN), own.transaction() if inside else contextlib.nullcontext():
        own.execute(sql)
    unharmed(own, three)


def unharmed(db: vicinal.Database, three: vicinal.Collection) -> None:
    assert three.search([0, 0]).ids == ["a", "b", "c"]
    three.add(ids=["d"], vectors=[[9, 9]])
    assert three.search([9, 9], k=1).ids == ["d"]
    report = db.verify()
    assert report.problems == ()


@pytest.mark.parametrize(
    ("prepare", "fire"),
    [
        ("create trigger t after insert on mine begin delete from vicinal_row; end", "insert into mine values (1, 1)"),
        (
            "create temp trigger t before update on mine begin update vicinal_row set id = 'z'; end",
            "update mine set x = 2",
        ),
        (
            "create trigger t instead of delete on seen begin insert into vicinal_meta values ('a', 1); end",
            "delete from seen",
        ),
    ],
)
def test_nor_through_triggers_of_own_tables(own, three, prepare, fire) -> None:
    own.execute(prepare)
    with pytest.raises(InvalidInput, match=OWN):
        own.execute(fire)
    assert own.execute("select x, vicinal_y from mine") == [(1, 2)]
    unharmed(own, three)


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ("pragma writable_schema = 1", "pragma writable_schema"),
        ("pragma writable_schema(on)", "pragma writable_schema"),
        ("pragma schema_version = 99", "pragma schema_version"),
        ("pragma journal_mode = off", "pragma journal_mode"),
        ("pragma main.synchronous = off", "pragma synchronous"),
        ("pragma application_id = 1", "pragma application_id"),
        ("pragma page_size = 512", "pragma page_size"),
        ("delete from sqlite_sequence", "sqlite_sequence"),
        ("update sqlite_sequence set seq = 0", "sqlite_sequence"),
        ("update sqlite_schema set sql = 'x' where name = 'vicinal_row'", "sqlite_master|sqlite_schema"),
        ("create temp table t(x); alter table t rename to vicinal_row", "temporary table cannot be altered"),
        ("select load_extension('x')", "load_extension|not authorized"),
    ],
)
def test_nor_can_the_ground_be_pulled_from_under_them(own, three, sql, says) -> None:
    with pytest.raises(InvalidInput, match=says):
        own.execute(sql)
    unharmed(own, three)


def test_nor_in_a_file_that_is_attached(own, three, tmp_path) -> None:
    other = str(tmp_path / "other.db")
    with vicinal.connect(other, maintenance=False) as second:
        second.collection("docs", dim=1, metric="l2").add(ids=["x"], vectors=[[1]])
    own.execute("attach ? as other", (other,))
    assert own.execute("select id from other.vicinal_row") == [("x",)]
    with pytest.raises(InvalidInput, match=OWN):
        own.execute("delete from other.vicinal_row")
    unharmed(own, three)
    own.execute("detach other")


@pytest.mark.parametrize(
    "sql", ["delete from vicinal_row where key = ?", "update vicinal_row set slots = ?2 where key = ?1"]
)
def test_nor_by_the_very_text_that_vicinal_has_prepared_itself(own, three, sql) -> None:
    three.upsert(ids=["a"], vectors=[[0, 0]])
    three.delete(["c"])
    key = own.execute("select key from vicinal_row where id = 'a'")[0][0]
    with pytest.raises(InvalidInput, match=OWN):
        own.execute(sql, (key, b"") if "?2" in sql else (key,))
    assert three["a"].vector.tolist() == [0, 0]


def test_own_tables_are_the_user_s(own, three) -> None:
    own.execute("update mine set vicinal_y = ?, x = ?", (5, "'; drop table mine"))
    assert own.execute("select * from mine") == [("'; drop table mine", 5)]
    own.execute("alter table mine add column z; alter table mine rename to yours")
    own.execute("drop table counted")
    own.execute("alter table yours rename column z to zz; create index i on yours(zz); drop index i")
    found = own.execute("select r.id, y.x from vicinal_row r join yours y where r.id = :id", {"id": "b"})
    assert found == [("b", "'; drop table mine")]
    assert [row[1] for row in own.execute("pragma table_info(yours)")] == ["x", "vicinal_y", "zz"]
    assert own.execute("pragma user_version = 7") == []
    assert own.execute("pragma user_version") == [(7,)]
    unharmed(own, three)


@pytest.mark.parametrize("value", [None, 5, 2**63 - 1, 0.5, "text", "\x00", b"\x00bytes"])
def test_parameters_are_bound(db, value) -> None:
    assert db.execute("select ?", (value,)) == [(value,)]
    assert db.execute("select :v", {"v": value}) == [(value,)]


@pytest.mark.parametrize(
    ("sql", "parameters", "says"),
    [
        ("selekt 1", None, "syntax error"),
        ("select * from nowhere", None, "no such table: nowhere"),
        ("select ?", (), "bindings"),
        ("select ?", (1, 2), "bindings"),
        ("select ?", ([],), "not supported|type"),
        (b"select 1", None, "sql is text, not bytes"),
        (5, None, "sql is text, not int"),
    ],
)
def test_a_mistake_in_sql_is_a_plain_error(db, sql, parameters, says) -> None:
    with pytest.raises(InvalidInput, match=says):
        db.execute(sql, parameters)
    assert db.execute("select 1") == [(1,)]


@pytest.mark.parametrize("text", ["' or 1=1 --", '"; delete from vicinal_row; --', "a.$'--", "x' union select 1", "\\"])
def test_no_value_or_name_is_ever_read_as_sql(db, text) -> None:
    docs = db.collection(text, vectors={text: {"dim": 1, "metric": "l2"}})
    docs.add(ids=[text, "other"], vectors={text: [[1], [2]]}, metadata=[{text: text}, {}], documents=[text, None])
    where = vicinal.filters.ast.Compare((text,), "==", text)
    assert docs.get(where=where).ids == docs.search([1], where=where, using=text).ids == [text]
    assert docs.update(where=where, metadata={text: [text]}) == 1
    assert docs.update(ids=[text], metadata=[{"n": text}], unset=[text]) == 1
    assert docs[text].metadata == {"n": text}
    assert docs.delete([text]) == 1
    assert docs.get().ids == ["other"]
    assert db.verify().ok
