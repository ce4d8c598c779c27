"""Keeps codes in step with vectors: trains codebooks, encodes what has no code, replaces what no longer suits.

Nothing here is needed for right answers: rows without a code are compared exactly. Every step reads and
computes under a snapshot, without a lock, and publishes in one small transaction that checks that what
it started from still stands. A step cut short leaves pieces that the next one continues or removes.
"""

from __future__ import annotations

import logging
import threading
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from vicinal.engine import loading
from vicinal.engine.codes.calibrator import whole_number
from vicinal.engine.codes.held import Unusable
from vicinal.engine.fields import choice_of
from vicinal.engine.fields import current as current_field
from vicinal.engine.fields import save as save_field
from vicinal.engine.read import spec_of
from vicinal.engine.view import View
from vicinal.errors import Corrupted
from vicinal.index import TRAINING_ROWS, Bits, Codebook, scannable, usual_bits
from vicinal.storage import catalog, codes
from vicinal.storage.chunks import Reader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from vicinal.engine.codes.calibrator import Calibrator
    from vicinal.engine.parts import Parts
    from vicinal.indexing import IndexChoice
    from vicinal.storage.catalog import CollectionRecord, FieldRecord
    from vicinal.storage.pool import Pool
    from vicinal.storage.session import Session
    from vicinal.vectors import VectorSpec

_log = logging.getLogger("vicinal")
MIN_ROWS: Final = 16_384
"""From so many rows on a field gets codes; below, an exact scan is as fast."""
_MIN_CHOSEN_ROWS: Final = 1000
"""From so many on where the scan was chosen by hand."""
BULK_ROWS: Final = 512
"""Writes of fewer rows leave the training of codebooks, which takes a second, to maintenance."""
_TAIL_SLOTS: Final = 512
"""So many slots without codes are encoded; fewer are compared exactly by each search."""
_STEP_SLOTS: Final = 32_768
_CODED_PER_WRITE: Final = 131_072
"""Slots that one write of many rows may encode once it is durable."""
_SMALL_STEP_SLOTS: Final = 2048
"""What a write of few rows encodes at most, which then takes some 10 ms."""
_STEP_BYTES: Final = 32 << 20
_DEAD_PIECES: Final = 64
_KEPT_TIMES: Final = 3
"""Coarse codes stay until there are so many times fewer rows than they are made from."""


class Coder:
    """Brings the codes of collections up to date, one step at a time; safe to share between threads."""

    def __init__(self, pool: Pool, parts: Parts, now: Callable[[], int], threads: int, calibrator: Calibrator) -> None:
        self._pool = pool
        self._parts = parts
        self._now = now
        self._threads = threads
        self._calibrator = calibrator
        self._publisher = calibrator.publisher
        self._busy = threading.Lock()
        self._codebooks: dict[int, Codebook] = {}

    @property
    def busy(self) -> bool:
        """Whether a thread is at work."""
        return self._busy.locked()

    def along(self, session: Session, name: str, rows: int) -> bool:
        """Encode what the caller's write of so many rows has brought, inside its transaction, if there is a codebook.

        What cannot be encoded here, because codes are missing, damaged or of other bits, or because earlier rows
        left much more to do than this write should take, is left to `after`. Returns whether it may find any.
        """
        record = catalog.find(session, name)
        most = _STEP_SLOTS if rows >= BULK_ROWS else _SMALL_STEP_SLOTS
        for number in range(0 if record is None else len(record.fields)):
            if record is not None and _is_along(session, record.fields[number], most):
                with suppress(Corrupted):
                    self._encode_along(View(session, record, self._parts, self._now()), record.fields[number])
                record = catalog.find(session, name)
        if record is None:
            return False
        return any(entry.codebook is not None or choice_of(record, entry).kind != "flat" for entry in record.fields)

    def _encode_along(self, view: View, entry: FieldRecord) -> None:
        spec, identity = spec_of(entry), entry.codebook
        if spec is None or identity is None:
            return
        codebook = self._codebook(view.session, entry, spec, identity)
        found = self._codes_of(view, entry, spec, codebook, entry.covered, entry.next_slot)
        codes.add_codes(view.session, identity, entry.covered, found)
        save_field(view.session, view.record, replace(entry, covered=entry.next_slot))

    def after(self, name: str, rows: int) -> None:
        """Train, encode and calibrate what a write of many rows has brought, now that it is durable."""
        if rows >= BULK_ROWS:
            self.settle(name, _CODED_PER_WRITE)

    def settle(self, name: str, most_slots: int) -> bool:
        """Work on one collection until its codes are up to date, or `most_slots` were encoded; whether they are.

        Does nothing while another thread is at it, or inside a transaction.
        """
        with self._turn() as mine:
            done: int | None = 0
            while mine and done is not None and done < most_slots:
                encoded = self._step(name)
                done = None if encoded is None else done + encoded
            if mine and done is None:
                self._calibrator.calibrate(name, first=True)
            return done is None

    def tend(self, *, waiting: bool = False) -> bool:
        """Do one step for any collection, the least urgent ones too; return whether there may be more.

        Without `waiting`, raises Locked almost at once where another process writes.
        """
        with self._turn() as mine:
            if not mine:
                return False
            with self._pool.reader() as session, session.reading():
                names = catalog.names(session)
            self._publisher.patient = waiting
            try:
                return any(map(self._tend, names))
            finally:
                self._publisher.patient = False

    def _tend(self, name: str) -> bool:
        try:
            return self._step(name) is not None or self._clear(name) or self._calibrator.calibrate(name, first=False)
        except Corrupted as error:  # vectors are damaged: verify names them, and other collections go on
            _log.warning("the codes of %r cannot be kept in step: %s", name, error)
            return False

    @contextmanager
    def _turn(self) -> Iterator[bool]:
        """Take the turn to work, and tell whether it is ours."""
        held: list[bool] = []
        try:
            if not self._pool.in_transaction:
                held.extend(map(self._busy.acquire, (False,)))  # in C: Ctrl-C cannot fall in between
            yield any(held)
        finally:
            if held and held[0]:  # no call in between, behind which Ctrl-C could come
                self._busy.release()

    def _clear(self, name: str) -> bool:
        """Delete codes of chunks that are gone; return whether there were any."""
        with self._pool.reader() as session, session.reading():
            record = catalog.find(session, name)
            dead = [
                (entry.id, entry.codebook)
                for entry in (() if record is None else record.fields)
                if entry.codebook is not None and codes.has_dead_codes(session, entry.id, entry.codebook)
            ]
        for field, identity in dead:
            with self._publisher.publishing() as session:
                codes.drop_dead_codes(session, field, identity, _DEAD_PIECES)
        return bool(dead)

    def _step(self, name: str) -> int | None:
        """Do one piece of work; return how many slots it encoded, None where there is nothing to do."""
        with self._pool.reader() as session, session.reading():
            record = catalog.find(session, name)
            if record is None:
                return None
            view = View(session, record, self._parts, self._now())
            for entry in record.fields:
                spec = spec_of(entry)
                if spec is None or not scannable(spec):
                    continue
                if max(entry.next_slot, entry.covered) < _fewest(choice_of(record, entry)):
                    continue
                work = self._next(view, entry, spec)
                if work is not None:
                    break
            else:
                return None
        return work()

    def _next(self, view: View, entry: FieldRecord, spec: VectorSpec) -> Callable[[], int] | None:
        """Return what publishes the next step of a field, computed now; None where there is nothing to do."""
        session, record = view.session, view.record
        choice = choice_of(record, entry)
        if choice.kind == "flat":
            some = entry.codebook is not None or codes.codebook_ids(session, entry.id)
            return (lambda: self._forget(record, entry)) if some else None
        asked = choice.parameters.get("bits") if choice.kind == "scan" else None
        seen = self._parts.peek(record, ("codes", entry.id))
        unusable = isinstance(seen, Unusable) and seen.identity == entry.codebook
        if unusable or not 0 <= entry.covered <= entry.next_slot:
            return lambda: self._forget(record, entry)
        staged = [each for each in codes.codebook_ids(session, entry.id) if each != entry.codebook]
        if entry.codebook is not None and not staged:
            bits, much = self._bits(session, entry.codebook), entry.next_slot - entry.covered >= _TAIL_SLOTS
            if not much and bits in (None, asked or _bits_for(entry.next_slot, spec.dim, bits)):
                return None
            if bits is not None and bits == (asked or _bits_for(view.slots(entry).n_live, spec.dim, bits)):
                return self._encoded(view, entry, spec, entry.codebook, entry.covered) if much else None
        elif staged:
            if asked is not None and self._bits(session, staged[-1]) != asked:
                return lambda: self._forget(record, entry)
            try:
                start = codes.coded_until(session, staged[-1])
            except Corrupted:
                return lambda: self._forget(record, entry)
            return self._encoded(view, entry, spec, staged[-1], start)
        return self._trained(view, entry, spec)

    def _bits(self, session: Session, identity: int) -> int | None:
        try:
            return whole_number(codes.describe_codebook(session, identity).get("bits"))
        except Corrupted:
            return None

    def _trained(self, view: View, entry: FieldRecord, spec: VectorSpec) -> Callable[[], int] | None:
        slot_map, choice = view.slots(entry), choice_of(view.record, entry)
        if slot_map.n_live < _fewest(choice) // 2:
            return None
        positions = np.flatnonzero(slot_map.live)
        chosen = np.random.default_rng(len(positions)).permutation(positions)[:TRAINING_ROWS]
        with Reader(view.session, entry.id, spec) as reader:
            sample = reader.at(slot_map.slots.view[np.sort(chosen)])
        asked = choice.parameters.get("bits") if choice.kind == "scan" else None
        bits: Bits = _bits_for(slot_map.n_live, spec.dim, None) if asked is None else 1 if asked == 1 else 2
        codebook = Codebook.train(sample, spec, bits, threads=self._threads)
        described = {"bits": bits, "rows": slot_map.n_live}

        def publish() -> int:
            identity = None
            with self._publisher.publishing() as session:
                current = current_field(session, view.record, entry)
                known = codes.codebook_ids(session, entry.id)
                if (
                    current is not None
                    and choice_of(*current) == choice
                    and all(each == current[1].codebook for each in known)
                ):
                    identity = codes.add_codebook(session, entry.id, described, codebook.arrays())
            if identity is not None:  # committed: before, the id may yet become another codebook's
                self._codebooks = {identity: codebook}
            return 0

        return publish

    def _encoded(
        self, view: View, entry: FieldRecord, spec: VectorSpec, identity: int, start: int
    ) -> Callable[[], int]:
        try:
            codebook = self._codebook(view.session, entry, spec, identity)
        except Corrupted:
            return lambda: self._forget(view.record, entry)
        if start > entry.next_slot:
            return lambda: self._forget(view.record, entry)
        end = min(entry.next_slot, start + max(1, min(_STEP_SLOTS, _STEP_BYTES // spec.row_bytes)))
        found = self._codes_of(view, entry, spec, codebook, start, end)

        def publish() -> int:
            with self._publisher.publishing() as session:
                current = current_field(session, view.record, entry)
                stands = identity in codes.codebook_ids(session, entry.id)
                if current is None or not stands:
                    return end - start
                record, now = current
                used = now.codebook == identity
                if start != (now.covered if used else codes.coded_until(session, identity)):
                    return end - start
                codes.add_codes(session, identity, start, found)
                if used or now.codebook is None or end >= now.next_slot - _TAIL_SLOTS:
                    if not used and now.codebook is not None:
                        codes.drop_codebook(session, entry.id, now.codebook)
                    save_field(session, record, replace(now, codebook=identity, covered=end))
            return end - start

        return publish

    def _codebook(self, session: Session, entry: FieldRecord, spec: VectorSpec, identity: int) -> Codebook:
        known = self._codebooks.get(identity)
        if known is None:
            known = Codebook.from_arrays(spec, codes.codebook(session, entry.id, identity).arrays)
            self._codebooks = {identity: known}
        return known

    def _codes_of(
        self, view: View, entry: FieldRecord, spec: VectorSpec, codebook: Codebook, start: int, end: int
    ) -> NDArray[np.uint8]:
        """Return the codes (end - start, width) of slots; those of dead ones are zeros."""
        slot_map = view.slots(entry)
        low, high = (int(at) for at in np.searchsorted(slot_map.slots.view, (start, end)))
        found = np.zeros((end - start, codebook.code_bytes), np.uint8)
        if low < high:
            slots, vectors = loading.read_live(view, entry, spec, slot_map, slice(low, high))
            if len(slots):
                found[slots - start] = codebook.encode(vectors, threads=self._threads)
        return found

    def _forget(self, record: CollectionRecord, entry: FieldRecord) -> int:
        """Drop the codes of a field, to be made anew."""
        with self._publisher.publishing() as session:
            current = current_field(session, record, entry)
            if current is not None:
                for identity in codes.codebook_ids(session, entry.id):
                    codes.drop_codebook(session, entry.id, identity)
                save_field(session, current[0], replace(current[1], codebook=None, covered=0))
        return 0


def _is_along(session: Session, entry: FieldRecord, most: int) -> bool:
    """Return whether so much has come that it is encoded by the write, and the field tells of its codes what is so."""
    if entry.codebook is None or not _TAIL_SLOTS <= entry.next_slot - entry.covered <= most:
        return False
    if codes.codebook_ids(session, entry.id) != [entry.codebook]:
        return False  # another is being made, or this one is another field's
    try:
        return codes.coded_until(session, entry.codebook) == entry.covered
    except Corrupted:
        return False


def _fewest(choice: IndexChoice) -> int:
    """Return from how many rows on a field gets codes."""
    return min(MIN_ROWS, _MIN_CHOSEN_ROWS) if choice.kind == "scan" else MIN_ROWS


def _bits_for(n: int, dim: int, now: int | None) -> Bits:
    return usual_bits(n * _KEPT_TIMES if now == 1 else n, dim)
