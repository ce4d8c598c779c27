"""The file format: tables, their invariants, and the numbered migrations that lead to them.

Every table has the prefix `vicinal_`; all other tables of the file belong to the user.
One fixed set of tables serves all collections, so that a thousand small collections cost
a thousand small rows, and a migration is one statement.

Keys are composite integers, `owner << 40 | number`: the rows of a collection, and the slots
of a vector field, lie side by side in the B-tree and are read as one range.

=====================  ====================================================================
`vicinal_collection`   name, specification, `version` (+1 per change), `stamp` (random, new
                       with each change: equal stamps mean equal content), `next_row`
`vicinal_field`        vector fields: type, `next_slot`, and `floor`: the version below which
                       a reader cannot catch up by changes and loads anew; the codebook and the
                       structure that searches use, and `covered`: all live slots below it are coded
`vicinal_row`          key = collection << 40 | row; id, metadata (JSON), document, expiry
                       (UTC microseconds), slots (little-endian int64 per field, -1 = none)
`vicinal_block`        the version at which a block of `BLOCK_ROWS` rows last changed
`vicinal_chunk`        key = field << 40 | first slot; how many slots are written; of each slot
                       the row (int64), whether it is live (one bit) and a checksum of its vector
                       (uint32). Rows and live bits are derived from `vicinal_row`, kept for fast
                       loading, and rebuilt by `repair`. Capacity 0: the chunk was dropped
`vicinal_vector`       the vectors of a chunk, as given, in the field's storage type
`vicinal_codebook`     how a field's vectors are coded for approximate search: arrays with a digest,
                       and what was measured of their recall. Derived: may go at any time
`vicinal_code`         key = codebook << 40 | first slot; the codes of `count` slots, with a digest
`vicinal_structure`    a graph or lists over a field's vectors: what it is, with a digest. In use if its
                       field names it, else in the making or left behind. Derived, too
`vicinal_piece`        key = structure << 40 | number; up to 1 MB of its arrays, with a digest
`vicinal_meta`         the format's version and the file's settings
=====================  ====================================================================

A row number and a slot number are never used twice. A slot's vector is written once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vicinal.errors import UnsupportedVersion

if TYPE_CHECKING:
    import apsw

APPLICATION_ID: Final = 0x76696369  # "vici"
KEY_BITS: Final = 40
BLOCK_ROWS: Final = 2048
PAGE_BYTES: Final = 8192

_FORMAT_1: Final = (
    """create table vicinal_meta(
        key text primary key, value not null) without rowid""",
    """create table vicinal_collection(
        id integer primary key autoincrement,
        name text not null unique,
        spec text not null,
        version integer not null,
        stamp integer not null,
        next_row integer not null)""",
    """create table vicinal_field(
        id integer primary key autoincrement,
        collection integer not null,
        name text not null,
        dim integer,
        dtype text not null,
        metric text not null,
        next_slot integer not null,
        floor integer not null,
        codebook integer,
        covered integer not null default 0,
        structure integer,
        unique(collection, name))""",
    """create table vicinal_row(
        key integer primary key,
        collection integer not null,
        id not null,
        slots blob not null,
        expires integer,
        metadata text,
        document text)""",
    "create unique index vicinal_row_id on vicinal_row(collection, id)",
    """create index vicinal_row_expires on vicinal_row(collection, expires)
        where expires is not null""",
    """create table vicinal_block(
        key integer primary key,
        collection integer not null,
        version integer not null)""",
    "create index vicinal_block_version on vicinal_block(collection, version)",
    """create table vicinal_chunk(
        key integer primary key,
        field integer not null,
        version integer not null,
        capacity integer not null,
        count integer not null,
        alive integer not null,
        live blob not null,
        rows blob not null,
        sums blob not null)""",
    "create index vicinal_chunk_version on vicinal_chunk(field, version)",
    """create index vicinal_chunk_sparse on vicinal_chunk(field)
        where alive * 5 < count * 4""",
    """create table vicinal_vector(
        key integer primary key, data blob not null)""",
    """create table vicinal_codebook(
        id integer primary key autoincrement,
        field integer not null,
        spec text not null,
        data blob not null,
        digest blob not null)""",
    "create index vicinal_codebook_field on vicinal_codebook(field)",
    """create table vicinal_code(
        key integer primary key,
        count integer not null,
        data blob not null,
        digest blob not null)""",
    """create table vicinal_structure(
        id integer primary key autoincrement,
        field integer not null,
        spec text not null,
        digest blob not null)""",
    "create index vicinal_structure_field on vicinal_structure(field)",
    """create table vicinal_piece(
        key integer primary key, data blob not null, digest blob not null)""",
)

MIGRATIONS: Final[tuple[tuple[str, ...], ...]] = (_FORMAT_1,)
"""Migration number n (from 1) is the n-th entry; applied in order, each file keeps its number."""

FORMAT: Final = len(MIGRATIONS)


def format_of(connection: apsw.Connection) -> int:
    """Return the format number of the file, 0 where it holds no vicinal tables yet."""
    known = connection.execute("select 1 from sqlite_schema where name = 'vicinal_meta'").get
    if known is None:
        return 0
    value = connection.execute("select value from vicinal_meta where key = 'format'").get
    return int(value) if value is not None else 0


def check_format(connection: apsw.Connection) -> int:
    """Return the file's format; refuse one that a newer vicinal has written."""
    found = format_of(connection)
    if found > FORMAT:
        message = (
            f"the file has format {found}; this vicinal reads up to {FORMAT}: "
            "upgrade with pip install --upgrade vicinal"
        )
        raise UnsupportedVersion(message)
    return found


def migrate(connection: apsw.Connection) -> None:
    """Bring the file to the current format, inside the caller's write transaction."""
    found = check_format(connection)
    for statements in MIGRATIONS[found:]:
        for statement in statements:
            connection.execute(statement).fetchall()
    if found < FORMAT:
        connection.execute("insert or replace into vicinal_meta(key, value) values ('format', ?)", (FORMAT,)).fetchall()


def first_key(owner: int) -> int:
    """Return the smallest key of `owner` (a collection's rows, or a field's slots)."""
    return owner << KEY_BITS


def last_key(owner: int) -> int:
    """Return the largest key of `owner`."""
    return ((owner + 1) << KEY_BITS) - 1


def number_of(key: int) -> int:
    """Return the row or slot number within its owner."""
    return key & ((1 << KEY_BITS) - 1)
