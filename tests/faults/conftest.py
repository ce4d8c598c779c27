"""No process outlives the test that started it."""

from __future__ import annotations

import pytest

from .harness import Worker


@pytest.fixture(autouse=True)
def _no_process_is_left():
    yield
    while Worker.running:
        worker = Worker.running.pop()
        worker.process.kill()
        worker.process.communicate()
