"""Deliveries: exact mirrors of a store's vectors in the databases and tables where people search them. Called, the
package is the function `pixelmill.deliver`."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from pixelmill.called import CalledPackage


def _function() -> Any:
    from pixelmill.api.delivering import deliver

    return deliver


def _package() -> ModuleType:
    return sys.modules[__name__]


_package().__class__ = CalledPackage
