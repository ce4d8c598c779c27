"""What an engine occupies: memory of its process, bytes on the disk."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

__all__ = ["folder_bytes", "forget_peak", "peak_memory_bytes", "resident_bytes"]

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")
_RESET_PEAK = "5"


def resident_bytes() -> int | None:
    """Return the resident memory of this process, or None where the system does not tell."""
    return _status("VmRSS:")


def forget_peak() -> None:
    """Begin the peak of memory anew, where the system can."""
    with contextlib.suppress(OSError):
        _CLEAR.write_text(_RESET_PEAK, encoding="ascii")


def peak_memory_bytes() -> int | None:
    """Return the largest resident memory that this process has had, or None."""
    peak = _status("VmHWM:")
    if peak is not None:
        return peak
    try:
        import resource  # noqa: PLC0415 - not on every system
    except ImportError:
        return None
    # On Linux this would begin with what the parent had, which is why it comes second.
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(used) if sys.platform == "darwin" else int(used) * 1024


def _status(name: str) -> int | None:
    try:
        for line in _STATUS.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith(name):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return None


def folder_bytes(folder: Path) -> int:
    """Return the bytes that the files below a folder occupy; holes in files do not count."""
    total = 0
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            status = path.stat()
            total += getattr(status, "st_blocks", 0) * 512 or status.st_size
    return total
