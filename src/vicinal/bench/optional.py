"""Packages that need not be installed: looked up by name, refused with the line that installs them.

Everything beyond NumPy and rich is looked up here, so that importing the room needs none of it.
"""

from __future__ import annotations

import importlib
from importlib import metadata, util
from typing import TYPE_CHECKING

from vicinal.errors import MissingExtra

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import ModuleType

__all__ = ["BENCH_EXTRA", "is_installed", "optional", "version_of"]

BENCH_EXTRA = 'pip install "vicinal[bench]"'


def optional(module: str, what: str, install: str = BENCH_EXTRA) -> ModuleType:
    """Return a module. Raises MissingExtra with the `install` line where it is not there."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        if error.name is not None and error.name.partition(".")[0] != module.partition(".")[0]:
            message = f"{what}: {module} does not load: {error}"
            raise MissingExtra(message) from error
        message = f"{what} needs {module.partition('.')[0]}: {install}"
        raise MissingExtra(message) from None


def is_installed(modules: Iterable[str]) -> bool:
    """Return whether all modules can be found, without importing them."""
    return all(util.find_spec(module) is not None for module in modules)


def version_of(distribution: str) -> str | None:
    """Return the version of an installed distribution, or None."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
