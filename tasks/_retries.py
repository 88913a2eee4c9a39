"""Which failures may pass when tried again."""

from __future__ import annotations

from typing import Any

from pixelmill.errors import PixelmillError, StoreBusy, WeightsUnavailable


def may_pass(_task: object, _run: object, state: Any) -> bool:
    """Whether a failed task is worth another try: not when Pixelmill says that the cause will stay."""
    try:
        state.result()
    except PixelmillError as error:
        return isinstance(error, WeightsUnavailable | StoreBusy)
    except Exception:
        return True
    return False
