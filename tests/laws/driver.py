"""A random life of one database file, step by step, beside the model of it.

`World(path, seed)` and `step()` are all there is: the same seed is the same life. Who acts: this
process, another process, a foreign connection with the shared caches of this process, and a reader of
this process outside its transaction. One of them writes at a time; a foreign reader may hold an old
snapshot meanwhile.
"""

from __future__ import annotations

import contextvars
import importlib.util
import random
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vicinal.filters import Node, parse_filter

from .actors import MICRO, READS, Foreign, Local, Remote
from .model import PAIRS, Refused, State, nearest

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType


def _generation() -> ModuleType:
    """Return the generator of rows and filters of `tests/filters`, which is another package."""
    path = Path(__file__).parents[1] / "filters" / "generation.py"
    spec = importlib.util.spec_from_file_location("generation_of_filters", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


generation: Any = _generation()
DIM = 8
CODED_PAIRS = [pair for pair in PAIRS if pair[1] in ("cosine", "l2", "dot")]
NAMES = ("one", "two", "three", "four")
IDS: dict[type, list[Any]] = {
    int: [*range(1, 40), -5, 2**40],
    str: [*"abcdefghijklmnopqrstuvwxyz", "\u00e9", "e\u0301"],  # twins that look alike
}
ORDERS = (["a"], ["-a"], ["b", "-a"], ["n.x"], ["-l", "a"], ["gone"])


@dataclass
class Frame:
    """Something that can be rolled back: a transaction, a nested one, or a savepoint of the user's SQL."""

    kind: str
    before: State
    name: str = ""
    block: Any = None


class World:
    def __init__(self, path: str, seed: int, *, small: bool, coded: bool = False) -> None:
        self.random = random.Random(seed)
        self.pick = self.random.choice
        self.now = 1_700_000_000 * MICRO
        self.budget = self.pick([None, None, 700]) if small else None
        self.local = Local(path, [self.now], budget=self.budget)
        self.foreign = Foreign(path, self.local.db._backend._parts)
        self.remote = Remote(path, small=small, coded=coded)
        self.state = State()
        self.stack: list[Frame] = []
        self.owner = ""
        self.pinned: State | None = None
        self.dim = 16 if coded else DIM  # fewer dimensions are not coded
        self.log: deque[str] = deque(maxlen=60)
        self.counts: dict[str, int] = {}
        self.batches = [1, 4, 12, 24] if coded else [1, 1, 2, 4, 12]
        self.pairs = CODED_PAIRS if coded else PAIRS
        pairs = CODED_PAIRS if coded else [*PAIRS, ("f32", "cosine")]
        for at, name in enumerate(NAMES[:3]):
            n = 3 if coded else 5
            specs = pairs[at * n : at * n + n]
            self.create(name, {f"v{i}": (self.dim, *pair) for i, pair in enumerate(specs)})

    # --- one step

    def step(self) -> None:
        chance = self.random.random()
        if chance < 0.62:
            self.read()
        elif chance < 0.83:
            self.write()
        elif chance < 0.95:
            self.begin_or_end()
        elif chance < 0.98:
            self.now += self.pick([0, 1, 5, 30]) * MICRO
        else:
            self.upkeep()

    def close(self) -> None:
        self.end_all()
        self.unpin()
        self.foreign.connection.close()
        self.remote.close()
        with self.local.db as db:
            assert db.verify().problems == ()

    def done(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1
        self.log.append(what)

    # --- calls

    def perform(self, who: str, verb: str, name: str, given: dict[str, Any]) -> Any:
        match who:
            case "foreign":
                return self.foreign.perform(verb, name, given, self.now)
            case "remote":
                return self.remote.perform(verb, name, given, self.now)
            case "outside":  # this process, but not its transaction
                return contextvars.Context().run(self.local.perform, verb, name, given, self.now)
        return self.local.perform(verb, name, given, self.now)

    def check(self, who: str, verb: str, name: str, given: dict[str, Any], state: State) -> None:
        """Perform the call, and compare with what the model says."""
        self.log.append(f"{who}: {verb} {name} {given}")
        self.counts[who] = self.counts.get(who, 0) + 1
        found = self.perform(who, verb, name, given)
        if verb in ("add", "upsert") and given["ids"] is None and isinstance(found, list):
            given = {**given, "generated": found}
        try:
            expected = state.apply(verb, name, given, self.now)
        except Refused as refused:
            expected, found = ("error", str(refused)), found[:2]
        if verb not in ("search", "search_batch"):
            assert found == expected, (found, expected)
            return
        metric = state.tables[name].fields[given["using"]][2]
        pairs = [(expected, found)] if verb == "search" else list(zip(expected, found, strict=True))
        for wanted, answer in pairs:
            assert nearest(wanted, metric, answer), (sorted(wanted[1])[: wanted[0]], answer)

    def read(self) -> None:
        everyone = ["local", "local", "outside", "foreign", "remote"]
        who = self.pick(everyone)
        state = self.seen_by(who)
        if not state.tables:
            return
        name = self.pick([*state.tables] * 5 + [*NAMES])
        if name in state.tables:
            verb, given = self.reading(state, name)
            self.check(who, verb, name, given, state)
        elif who != "foreign":
            self.check(who, "count", name, {"where": None}, state)

    def seen_by(self, who: str) -> State:
        """Return what an actor must see: its own transaction, its snapshot, or what is committed."""
        if who == "foreign" and self.pinned is not None:
            return self.pinned
        if who == self.owner or not self.stack:
            return self.state
        return self.stack[0].before

    def write(self) -> None:
        who = self.owner or self.pick(["local", "local", "local", "foreign", "remote"])
        if who == "foreign" and self.pinned is not None:
            who = "local"
        name = self.pick(NAMES)
        if name in self.state.tables:
            verb, given = self.writing(self.state, name)
            who = "local" if verb in ("drop", "rename") and not self.owner else who
            self.check(who, verb, name, given, self.state)
        elif self.owner != "foreign":
            who = "local" if who == "foreign" else who
            self.check(who, "create", name, {"fields": self.fields()}, self.state)

    def create(self, name: str, fields: dict[str, tuple[int, str, str]]) -> None:
        self.check("local", "create", name, {"fields": fields}, self.state)

    def fields(self) -> dict[str, tuple[int, str, str]]:
        return {f"v{i}": (self.dim, *self.pick(self.pairs)) for i in range(self.pick([1, 1, 2, 3]))}

    # --- what is asked for

    def where(self) -> Node | None:
        while True:
            spec = self.pick([None, 1, 1]) and generation.spec(self.pick, self.pick([1, 2, 3]))
            if spec is None:
                return None
            if "regex" not in repr(spec):
                return parse_filter(generation.as_expression(spec))

    def condition(self) -> Node:
        return self.where() or parse_filter("a is not null or b is not null")

    def vector(self, dtype: str, *, missing: bool = False) -> Any:
        if missing and self.random.random() < 0.2:
            return None
        if dtype == "bit":
            return np.array([self.random.randrange(4)], np.uint8)
        numbers = [self.random.randrange(-2, 3) for _ in range(self.dim)]
        numbers[self.random.randrange(self.dim)] = self.pick([1, 3])
        offset = self.pick([0, 0, 0, 1024]) if dtype == "f32" else 0
        kind = {"f32": np.float32, "f16": np.float16, "i8": np.int8}[dtype]
        return (np.array(numbers) + offset).astype(kind)

    def ids(self, state: State, name: str, n: int) -> list[Any]:
        kind = state.tables[name].id_type or self.pick([int, str])
        if self.random.random() < 0.02:
            kind = self.pick([int, str])
        return self.random.sample(IDS[kind], n)

    def reading(self, state: State, name: str) -> tuple[str, dict[str, Any]]:
        verb = self.pick([*READS, "search", "search", "search_batch"])
        where = self.where()
        match verb:
            case "count":
                return verb, {"where": where}
            case "contains":
                return verb, {"identity": self.ids(state, name, 1)[0]}
            case "get":
                return verb, {
                    "ids": self.pick([None, None, self.ids(state, name, self.pick([1, 5, 9]))]),
                    "where": where,
                    "order_by": self.pick([[], *ORDERS]),
                    "limit": self.pick([None, 0, 1, 5]),
                    "offset": self.pick([0, 0, 1, 4]),
                }
        using = self.pick([*state.tables[name].fields])
        dtype = state.tables[name].fields[using][1]
        common = {"using": using, "k": self.pick([1, 2, 5, 100]), "where": where}
        if verb == "search":
            return verb, {"query": self.vector(dtype), **common}
        return verb, {"queries": np.stack([self.vector(dtype) for _ in range(self.pick([1, 3]))]), **common}

    def columns(self, state: State, name: str, n: int, *, some: bool) -> dict[str, Any]:
        fields = state.tables[name].fields
        chosen = [field for field in fields if self.random.random() < 0.7]
        if not some and not chosen:
            chosen = [self.pick([*fields])]
        texts = [None, "", "text", "é"]
        return {
            "vectors": {key: [self.vector(fields[key][1], missing=True) for _ in range(n)] for key in chosen},
            "documents": self.pick([None, [self.pick(texts) for _ in range(n)]]),
            "metadata": self.pick([None, [generation.row(self.pick) for _ in range(n)]]),
            "ttl": self.pick([None, None, None, 0, 3, 60]),
        }

    def writing(self, state: State, name: str) -> tuple[str, dict[str, Any]]:
        verb = self.pick(["add"] * 4 + ["upsert"] * 4 + ["update"] * 3 + ["patch"] * 2 + ["delete"] * 3)
        if self.random.random() < 0.03 and self.owner != "foreign":
            return self.pick([("drop", {}), ("rename", {"new_name": self.pick(NAMES)})])
        n = self.pick(self.batches)
        match verb:
            case "add" | "upsert":
                given = self.columns(state, name, n, some=False)
                ids = None if self.random.random() < 0.15 else self.ids(state, name, n)
                return verb, {"ids": ids, "n": n, **given}
            case "update":
                known = [key for key, _ in state.tables[name].live(self.now)]
                n = min(n, len(known))
                ids = self.random.sample(known, n) if n and self.pick([1, 1, 0]) else self.ids(state, name, 1)
                unset = self.pick([[], [], ["a"], ["b", "gone"]])
                return verb, {"ids": ids, "unset": unset, **self.columns(state, name, len(ids), some=True)}
            case "patch":
                given = {"metadata": generation.row(self.pick), "unset": self.pick([[], ["a", "l"], ["a.b"]])}
                return verb, {"where": self.condition(), "ttl": self.pick([None, None, None, 20]), **given}
        if self.pick([True, True, False]):
            return verb, {"ids": self.ids(state, name, self.pick([1, 3, 8])), "where": self.where()}
        return verb, {"ids": None, "where": self.condition()}

    # --- transactions

    def begin_or_end(self) -> None:
        if not self.stack:
            self.pick([self.begin_local, self.begin_local, self.begin_foreign, self.pin, self.pin])()
        else:
            inner = [self.savepoint, self.savepoint, self.roll_back_to, self.release, self.end, self.nest]
            self.pick([*inner, self.end_all])()

    def end_all(self) -> None:
        """End what is open: else few lives would see more than one transaction, or any upkeep."""
        while self.stack:
            self.end()

    def sql(self, text: str) -> None:
        self.log.append(f"{self.owner}: {text}")
        if self.owner == "local":
            self.stack[0].block[1].execute(text)
        else:
            self.foreign.connection.execute(text).fetchall()

    def enter(self, kind: str) -> None:
        manager = self.local.db.transaction()
        frame = Frame(kind, self.state.copy(), block=(manager, manager.__enter__()))
        self.stack.append(frame)
        self.done(kind)

    def begin_local(self) -> None:
        self.owner = "local"
        self.enter("transaction")

    def begin_foreign(self) -> None:
        if self.pinned is not None:
            return
        self.owner = "foreign"
        text = self.pick(["begin immediate", "begin", "savepoint outer"])
        self.stack.append(Frame(text, self.state.copy(), name="outer" if text.startswith("savepoint") else ""))
        self.sql(text)
        self.done(text)

    def pin(self) -> None:
        """Hold a snapshot on the foreign connection, or let it go."""
        if self.pinned is None:
            self.foreign.connection.execute("begin; select count(*) from vicinal_row").fetchall()
            self.pinned = self.state.copy()
            self.done("pin")
        else:
            self.unpin()

    def unpin(self) -> None:
        if self.pinned is not None:
            self.foreign.connection.execute(self.pick(["commit", "rollback"]))
            self.pinned = None

    def nest(self) -> None:
        if self.owner == "local" and len(self.stack) < 6:
            self.enter("nested")

    def savepoint(self) -> None:
        if len(self.stack) < 6:
            name = self.pick("ab")
            self.sql(f"savepoint {name}")
            self.stack.append(Frame("savepoint", self.state.copy(), name=name))

    def known_savepoint(self) -> int | None:
        """Return the place of a savepoint that SQL may name: the newest of its name, above nested blocks."""
        places: dict[str, int] = {}
        for at, frame in enumerate(self.stack):
            if frame.block is not None:
                places = {}
            elif frame.name and at:
                places[frame.name] = at
        return self.pick([*places.values()]) if places else None

    def roll_back_to(self) -> None:
        at = self.known_savepoint()
        if at is not None:
            self.sql(f"rollback to {self.stack[at].name}")
            self.state = self.stack[at].before.copy()
            del self.stack[at + 1 :]
            self.done("rollback to")

    def release(self) -> None:
        at = self.known_savepoint()
        if at is not None:
            self.sql(f"release {self.stack[at].name}")
            del self.stack[at:]
            self.done("release")

    def end(self) -> None:
        """End the innermost block of this process, or the foreign transaction; savepoints in it go along."""
        at = max(at for at, frame in enumerate(self.stack) if frame.block is not None or at == 0)
        frame = self.stack[at]
        undone = self.random.random() < 0.4
        self.done(f"{'undo' if undone else 'keep'} {frame.kind}")
        if frame.block is not None:
            error = RuntimeError("wanted")
            try:
                frame.block[0].__exit__(*((RuntimeError, error, None) if undone else (None, None, None)))
            except RuntimeError as raised:
                assert raised is error  # noqa: PT017 - ours comes back, another is a failure
        else:
            keep = self.pick(["commit", f"release {frame.name}" if frame.name else "end"])
            self.sql("rollback" if undone else keep)
        del self.stack[at:]
        if undone:
            self.state = frame.before
        if not self.stack:
            self.owner = ""

    # --- maintenance, reopening

    def upkeep(self) -> None:
        self.end_all()
        what = self.pick(["sweep", "sweep", "compact", "verify", "reopen"])
        who = self.pick(["local", "remote"])
        self.done(what)
        if what == "verify":
            assert self.perform(who, "verify", "", {}) == []
        elif what == "reopen":
            self.local.db.close()
            self.local.open()
            self.foreign.parts = self.local.db._backend._parts
        else:
            self.perform(who, what, "", {})
            self.state.apply("sweep", "", {}, self.now)


def lived(world: World, seed: int, n_steps: int, at_times: Callable[[], None] = lambda: None) -> World:
    """Run one life of `n_steps`, `at_times` after every fiftieth; on failure say which step of which life it was."""
    done = 0
    try:
        while done < n_steps:
            done += 1
            world.step()
            if done % 50 == 0:
                at_times()
        world.end_all()
        at_times()
        world.close()
    except BaseException:
        print("\n".join(world.log))  # noqa: T201 - how to repeat a failure
        print(f"\nseed {seed}, step {done}: repeat with live(path, {seed}, {done}, patch)")  # noqa: T201
        world.remote.process.kill()
        world.remote.process.wait()
        raise
    return world
