"""The process of one engine: `python -m vicinal.bench.child JOB`.

It writes lines of JSON to the stdout it was given, and sends whatever libraries print to stderr instead. It ends
when its stdin ends, so that it never outlives its parent.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import numpy as np

from vicinal.bench.engines.catalogue import adapter, named
from vicinal.bench.engines.protocol import Place
from vicinal.bench.footprint import folder_bytes, forget_peak, peak_memory_bytes, resident_bytes
from vicinal.bench.job import Job, found_file, queries_file, rows_file
from vicinal.bench.measuring import Rows, batch_qps, clients_qps, insert_all, insert_some, latency

if TYPE_CHECKING:
    from vicinal.bench.engines.protocol import Engine

__all__ = ["main"]

_ADD_SHARE, _BUILD_SHARE, _SEARCH_SHARE = 0.3, 0.4, 0.8


class Report:
    """The pipe to the parent."""

    def __init__(self, pipe: TextIO) -> None:
        self._pipe = pipe

    def send(self, **message: object) -> None:
        """Send one message."""
        self._pipe.write(json.dumps(message) + "\n")
        self._pipe.flush()

    def progress(self, done: float, stage: str) -> None:
        """Say how far the work has come, from 0 to 1."""
        self.send(progress=done, stage=stage)


def main() -> None:
    """Measure what the job says."""
    report = Report(_own_stdout())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    job = Job.read(Path(sys.argv[1]))
    _limit_cores(job.threads)
    try:
        _measure(job, report)
    except BaseException as error:
        report.send(error=_one_line(error))
        raise SystemExit(1) from error
    # Libraries may hang in their own clean-up, and everything has been said.
    sys.stderr.flush()
    os._exit(0)


def _own_stdout() -> TextIO:
    pipe = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return pipe


def _end_with_parent() -> None:
    with contextlib.suppress(OSError, ValueError):
        while sys.stdin.buffer.read(1):
            pass
    if hasattr(os, "killpg") and os.getpgrp() == os.getpid():
        os.killpg(os.getpid(), signal.SIGKILL)  # with whatever an engine has started
    os._exit(1)


def _limit_cores(n: int) -> None:
    """Keep this process to n cores, also in libraries that ask the system how many there are."""
    if hasattr(os, "sched_setaffinity"):
        with contextlib.suppress(OSError):
            os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:n])


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"[:300] if text else type(error).__name__


def _measure(job: Job, report: Report) -> None:
    rows = Rows(rows_file(Path(job.data)))
    engine = adapter(named(job.engine))
    report.send(durability=engine.durability, live=engine.live)
    forget_peak()
    before = resident_bytes()
    place = _place(job, rows, "all")
    engine.create(place)
    add_s = insert_all(engine, rows, lambda done: report.progress(done * _ADD_SHARE, "adding"))
    report.progress(_ADD_SHARE, "building")
    begin = time.perf_counter()
    engine.build()
    load: dict[str, object] = {"rows": rows.n, "add_s": add_s, "build_s": time.perf_counter() - begin}
    report.send(load=load)
    _search_all(job, engine, report)
    after, peak = resident_bytes(), peak_memory_bytes()
    if before is not None and after is not None and peak is not None:
        # The system updates the peak now and then: it can lag behind what is resident.
        load |= {"memory_bytes": max(0, after - before), "peak_memory_bytes": max(0, peak - before, after - before)}
    engine.close()
    load["disk_bytes"] = folder_bytes(place.folder)
    report.send(load=load)
    _insert_all(job, engine, rows, report)


def _place(job: Job, rows: Rows, name: str) -> Place:
    folder = Path(job.folder) / name
    folder.mkdir()
    return Place(folder=folder, rows=rows.n, dim=rows.dim, metric=job.metric, threads=job.threads)


def _search_all(job: Job, engine: Engine, report: Report) -> None:
    query_sets = [np.load(queries_file(Path(job.data), at)) for at in range(len(job.query_sets))]
    efforts: tuple[float | None, ...] = ((job.efforts or engine.efforts) if engine.effort_name else ()) or (None,)
    for at, effort in enumerate(efforts):
        report.progress(_BUILD_SHARE + (_SEARCH_SHARE - _BUILD_SHARE) * at / len(efforts), "searching")
        if effort is not None:
            engine.set_effort(effort, job.k)
        label = "exact" if effort is None else engine.effort_label(effort)
        for which, queries in enumerate(query_sets):
            measured = latency(engine, queries, job.k, job.seconds)
            np.save(found_file(Path(job.folder), at, which), measured.ids)
            search: dict[str, object] = {
                "effort": label,
                "effort_value": effort,
                "queries": job.query_sets[which],
                "n_queries": len(measured.seconds),
                **{f"p{share}_ms": measured.percentile_ms(share) for share in (50, 95, 99)},
            }
            if which == 0:
                limit = job.seconds / 3  # both are means over many queries, which settle sooner than percentiles
                if engine.concurrent:
                    search["clients_qps"] = clients_qps(engine, queries, job.k, job.threads, limit)
                search["batch_qps"] = batch_qps(engine, queries, job.k, limit)
            report.send(search=search, found=[at, which])


def _insert_all(job: Job, engine: Engine, rows: Rows, report: Report) -> None:
    sizes = [size for size in job.batch_sizes if size <= rows.n]
    for at, size in enumerate(sizes):
        report.progress(_SEARCH_SHARE + (1 - _SEARCH_SHARE) * at / len(sizes), f"inserting by {size:,}")
        engine.create(_place(job, rows, f"by-{size}"))
        n, seconds = insert_some(engine, rows, size, job.seconds)
        engine.close()
        report.send(insert={"batch_size": size, "rows": n, "seconds": seconds, "rows_per_s": n / seconds})


if __name__ == "__main__":
    main()
