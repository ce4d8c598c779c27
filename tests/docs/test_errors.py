"""Every error can be told apart by programs and looked up by people."""

from __future__ import annotations

import inspect

import pytest

from vicinal import errors

CLASSES = [value for value in vars(errors).values() if inspect.isclass(value) and issubclass(value, Exception)]

parametrize_errors = pytest.mark.parametrize("error", CLASSES, ids=lambda error: error.__name__)


@parametrize_errors
def test_error_is_documented(error):
    assert error.__dict__.get("__doc__")


@parametrize_errors
def test_error_is_exported(error):
    assert error.__name__ in errors.__all__


@parametrize_errors
def test_error_is_drawn_in_the_tree(error):
    drawn = errors.__doc__.replace("│", " ").replace("├──", " ").replace("└──", " ").split()
    assert error.__name__ in drawn


@parametrize_errors
def test_error_has_a_code_of_its_own(error):
    assert "code" in error.__dict__
    assert error.code == error.code.lower()
    assert error.code.isidentifier()


@parametrize_errors
def test_error_has_an_http_status_and_an_exit_code(error):
    assert 400 <= error.status < 600
    assert 1 <= error.exit_code < 126


def test_codes_are_unique():
    codes = [error.code for error in CLASSES]
    assert sorted(set(codes)) == sorted(codes)


def test_everything_exported_exists():
    assert [name for name in errors.__all__ if not hasattr(errors, name)] == []
