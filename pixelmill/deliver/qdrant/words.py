"""Qdrant's server, as far as deliveries ask it: its client, and what is wrong in words."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from json import JSONDecodeError
from typing import Any, Final

import httpx
from pydantic import ValidationError
from qdrant_client import QdrantClient
from qdrant_client.common.client_exceptions import QdrantException
from qdrant_client.http.exceptions import ApiException, ResponseHandlingException, UnexpectedResponse

from pixelmill.deliver import base
from pixelmill.deliver.address import EXAMPLES, shown_target
from pixelmill.deliver.delivery import Delivery
from pixelmill.deliver.endpoint import Endpoint, token_of, variable_of
from pixelmill.errors import DeliveryRefused, TargetUnavailable
from pixelmill.watch.calls import go_on

PORT: Final = 6333
KEY: Final = "QDRANT_API_KEY"
TOO_LARGE: Final = 413
_LATER: Final = (408, 425, 429)


class QdrantServer:
    """A server, by its own client; whatever does not answer as it should is TargetUnavailable or DeliveryRefused."""

    def __init__(self, delivery: Delivery) -> None:
        self.shown, self._variable = shown_target(delivery.to), variable_of(delivery)
        endpoint = Endpoint.of(delivery.to, port=PORT, secure_port=PORT)
        if endpoint.user:
            raise DeliveryRefused(
                f"Expected no user in {self.shown!r}: Qdrant asks for a key. Use {EXAMPLES['qdrant']}."
            )
        self._key = token_of(delivery, KEY)
        with warnings.catch_warnings():  # that a key goes over HTTP is for whoever wrote the address to know
            warnings.simplefilter("ignore")
            self.client = QdrantClient(
                url=endpoint.url + endpoint.prefix, api_key=self._key, timeout=max(math.ceil(base.SECONDS), 1),
                check_compatibility=False,
            )  # fmt: skip
        self.client.http.client.add_middleware(_going_on)

    @contextmanager
    def in_words(self) -> Iterator[None]:
        """Errors of the client in words. They do not go along: what was sent stands in some of them."""
        try:
            yield
        except UnexpectedResponse as error:
            raise self._refused(error.status_code or 0, _reason(error)) from None
        except ResponseHandlingException as error:
            raise self._unanswered(error.source) from None
        except (JSONDecodeError, UnicodeDecodeError, QdrantException, OSError) as error:  # asked too often, for one
            raise self._unanswered(error) from None
        except ApiException as error:
            raise DeliveryRefused(f"Expected Qdrant at {self.shown} to take a delivery. It says: {error}.") from None

    def _unanswered(self, error: Exception) -> TargetUnavailable | DeliveryRefused:
        if isinstance(error, ValidationError | JSONDecodeError | UnicodeDecodeError):
            return DeliveryRefused(
                f"Expected Qdrant at {self.shown}. What answers there is something else: see whether the address is "
                "right, and what stands before it."
            )
        reason = str(error).rstrip(".") or type(error).__name__
        return TargetUnavailable(
            f"Expected an answer of Qdrant at {self.shown} within {base.SECONDS:.0f} s. There was none: {reason}. "
            "See whether it runs and is reached from here."
        )

    def _refused(self, status: int, reason: str) -> TargetUnavailable | DeliveryRefused:
        begun = f"Expected Qdrant at {self.shown} to take a delivery. It answers {status}: {reason}."
        if status in _LATER or status >= 500:
            return TargetUnavailable(f"{begun} What is there stays; see to that, and the next delivery goes on.")
        if status == 404 and reason.startswith("Not found: Collection"):
            return TargetUnavailable(f"{begun} Something else has deleted it: the next delivery makes it anew.")
        if status == 401 or (status == 403 and not self._key):
            return DeliveryRefused(
                f"Expected the API key of Qdrant at {self.shown}. "
                f"{'It does not take the one given' if self._key else 'None was given'}: set {self._variable}."
            )
        return DeliveryRefused(begun + _TO_DO.get(status, ""))


_TO_DO: Final = {
    403: " Give the delivery a key that may write there, and a collection without such a limit.",
    404: " See whether the address is right, and what stands before it.",
    TOO_LARGE: " Raise how much it takes at once (`service.max_request_size_mb`, or that of what stands before it), or "
    "leave the longest column out.",
}  # fmt: skip


def _going_on(request: httpx.Request, send: Callable[[httpx.Request], httpx.Response]) -> httpx.Response:
    """Each answer says that a call goes on, which may take many."""
    answer = send(request)
    go_on()
    return answer


def _reason(error: UnexpectedResponse) -> str:
    """What the server says, or the name of its status: what lies between may answer with anything."""
    with suppress(ValueError, KeyError, TypeError, AttributeError):
        told: Any = error.structured()["status"]["error"]
        return str(told).rstrip(".")[:300]
    return str(error.reason_phrase) or "no more"
