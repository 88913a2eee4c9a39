"""What SQLite says of a broken ledger, in the words of the store."""

from __future__ import annotations

import inspect
import sqlite3
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any, TypeVar

from pixelmill.errors import PixelmillError

_Class = TypeVar("_Class", bound=type)
_TROUBLE = (sqlite3.Error, ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError)
"""What a file that is no ledger of ours can lead to; SQLite itself lets any column hold any type."""


def explained(unusable: Callable[[Any, Exception], PixelmillError]) -> Callable[[_Class], _Class]:
    """Let the public methods of a class raise `unusable(self, error)` where SQLite, or a value it gave, is wrong."""

    def decorate(cls: _Class) -> _Class:
        for name, method in list(vars(cls).items()):
            if inspect.isfunction(method) and not name.startswith("_"):
                setattr(cls, name, _wrapped(method, unusable))
        return cls

    return decorate


def _wrapped(method: Callable[..., Any], unusable: Callable[[Any, Exception], PixelmillError]) -> Callable[..., Any]:
    @wraps(method)
    def call(self: object, *values: Any, **named: Any) -> Any:
        try:
            return method(self, *values, **named)
        except PixelmillError:
            raise
        except _TROUBLE as error:
            raise unusable(self, error) from error

    @wraps(method)
    def generate(self: object, *values: Any, **named: Any) -> Iterator[Any]:
        try:
            yield from method(self, *values, **named)
        except PixelmillError:
            raise
        except _TROUBLE as error:
            raise unusable(self, error) from error

    if hasattr(method, "__wrapped__"):  # a context manager: what happens inside it is not the ledger's
        return method
    return generate if inspect.isgeneratorfunction(method) else call
