"""Agents that are HTTP endpoints: called with the step's input, which may end at any time."""

from __future__ import annotations

import contextlib
import email.utils
import importlib
import importlib.util
import json
import math
import os
import re
import ssl
import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ...config import RetryPolicy
from ...context import PipelineContext
from ...errors import (
    AgentCallError,
    ConfigurationError,
    MissingExtraError,
    PassingAgentCallError,
    StepTimeoutError,
)
from ...steps import Default
from ..resolving.secrets import MASK
from ..resolving.vault import Vault
from ..typed_steps import version_of
from .agents import NO_MAPPING, WorkflowStep, agent_input
from .models import RetryFields
from .values import View

Context = PipelineContext[Any]

WITHOUT_BODY = ("GET", "DELETE")
LARGEST = 10_000_000
"""Bytes that an answer may have."""
PATIENCE = 60.0
"""Seconds to wait for an endpoint that says nothing, if no deadline is nearer."""
LONGEST_WAIT = 120.0
"""Seconds that are waited at most because an endpoint has asked for it."""
MOST_REDIRECTS = 5

_reading = threading.Lock()
_trusted: dict[tuple[str | None, ...], ssl.SSLContext] = {}  # is added to under the lock
_TEXT = re.compile(r"charset=[\"']?([\w-]+)", re.IGNORECASE)


class HttpAgentStep(WorkflowStep):
    """Calls an HTTP endpoint with the step's input; what that answers is the step's output.

    The input is sent as JSON, or with GET and DELETE as the query. An answer of JSON is read,
    any other is text.
    """

    if not TYPE_CHECKING:
        version = Default(lambda step: step.written_version())

    def __init__(
        self,
        view: View,
        url: str,
        method: str,
        headers: Mapping[str, str],
        mapping: Any,
        env: frozenset[str],
    ) -> None:
        self.step_id = view.step_id
        self.view = view
        self.place = view.place
        self.url = url
        self.method = method
        self.headers = headers
        self.mapping = mapping
        self.env = env
        self.retries = self.policy(2)

    @staticmethod
    def policy(retry: RetryFields | int | None) -> RetryPolicy:
        """When it is called again: after what may pass, and only then."""
        if not isinstance(retry, RetryFields):
            fields = {"max_attempts": (retry or 0) + 1, "delay": 0.5, "max_delay": 10.0}
            retry = RetryFields.model_validate(fields)
        return retry.policy(retry_on=(PassingAgentCallError, StepTimeoutError))

    def written_version(self) -> str:
        """The same for what is written alike."""
        given = [] if self.mapping is NO_MAPPING else [self.mapping]
        return version_of("http", self.url, self.method, dict(self.headers), *given)

    async def run(self, context: Context) -> None:
        """Call the endpoint, and set the step's output."""
        raised: BaseException
        try:
            self.put_out(context, await self.call(context))
            return
        except Exception as error:  # noqa: BLE001  # whatever it is, it must tell no secret
            raised = self.hidden(error)
        # Out of the handler, so that what has a secret in it is not its context.
        raise raised

    async def call(self, context: Context) -> Any:
        """What the endpoint answers."""
        httpx = importlib.import_module("httpx")
        given = agent_input(self.view, self.mapping, context)
        url = self.view.resolve(self.url, "url", context)
        what = f"step {self.step_id!r}: {self.method} {self._shown(url)}"
        headers = _texts(self.view.resolve(dict(self.headers), "headers", context), what)
        require_url(url, what)
        body = {"json": given}
        if self.method in WITHOUT_BODY:
            body = {"params": _query(given, what)}
        left = context.remaining
        patience = PATIENCE if left is None else max(0.001, min(left, PATIENCE))
        # Nobody looks at certificates without TLS; a redirect to another scheme is not followed.
        tls = _certificates(httpx) if url.startswith("https:") else False
        async with httpx.AsyncClient(verify=tls, timeout=patience) as client:
            with _said(httpx, what):
                request = client.build_request(self.method, url, headers=headers, **body)
            return await self._answer(client, request, what, httpx)

    async def _answer(self, client: Any, request: Any, what: str, httpx: Any) -> Any:
        for _ in range(MOST_REDIRECTS + 1):
            with _said(httpx, what):
                response = await client.send(request, stream=True)
            try:
                following = response.next_request
                if following is None:
                    with _said(httpx, what):
                        return await _read(response, what)
            finally:
                await response.aclose()
            if _place(following.url) != _place(request.url):
                raise AgentCallError(
                    f"{what} is redirected to another place, "
                    f"{self._shown(str(following.url))}, where it is not followed; write that "
                    "address if it is meant",
                    status=response.status_code,
                )
            request = following
        raise AgentCallError(f"{what} is redirected more than {MOST_REDIRECTS} times")

    def _shown(self, url: Any) -> str:
        """An address as messages show it: without what may be secret in it."""
        if not isinstance(url, str):
            return MASK
        try:
            parts = urlsplit(str.__str__(url))
            host = parts.hostname or ""
            port = f":{parts.port}" if parts.port else ""
        except ValueError:
            return MASK
        return Vault(self.env).masked(f"{parts.scheme}://{host}{port}{parts.path}")


def _certificates(httpx: Any) -> ssl.SSLContext:
    """Those that are trusted: to read them takes longer than many a call."""
    where = tuple(os.environ.get(name) for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"))
    made = _trusted.get(where)
    if made is None:
        with _reading:
            made = _trusted.get(where) or httpx.create_ssl_context()
            _trusted[where] = made
    return made


def require_httpx() -> None:
    """Raise `MissingExtraError` if it is not installed."""
    if importlib.util.find_spec("httpx") is None:
        raise MissingExtraError("An agent with a url", "http", "httpx")


def require_url(url: Any, what: str) -> None:
    """Raise `ConfigurationError` for what is not the address of an HTTP endpoint."""
    try:
        parts = urlsplit(url if isinstance(url, str) else "")
        is_right = parts.scheme in ("http", "https") and bool(parts.netloc)
    except ValueError:
        is_right = False
    if not is_right:
        raise ConfigurationError(f"{what} is not an address that begins with http:// or https://")


def _texts(headers: dict[str, Any], what: str) -> dict[str, str]:
    wrong = [name for name, value in headers.items() if not isinstance(value, str)]
    if wrong:
        raise ConfigurationError(f"{what}: the header {wrong[0]!r} is to be a text")
    return headers


def _query(given: Any, what: str) -> dict[str, Any]:
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise ConfigurationError(
            f"{what}: its input becomes the query, so it must be an object; map it to one in "
            "input_mapping"
        )
    plain = (str, int, float, bool)
    return {
        key: value
        if isinstance(value, plain)
        or (isinstance(value, list) and all(isinstance(one, plain) for one in value))
        else json.dumps(value, ensure_ascii=False)
        for key, value in given.items()
    }


@contextlib.contextmanager
def _said(httpx: Any, what: str) -> Iterator[None]:
    """Say in our words what went wrong; theirs may have the address or a header in them."""
    text, passes = "", False
    try:
        yield
        return
    except httpx.ConnectError as error:
        kind, text, passes = type(error).__name__, f": {error}", True
    except (httpx.UnsupportedProtocol, httpx.LocalProtocolError, httpx.InvalidURL) as error:
        kind = type(error).__name__
    except httpx.TransportError as error:
        kind, passes = type(error).__name__, True
    except (httpx.HTTPError, ValueError) as error:  # a header's signs, for one
        kind = type(error).__name__
    except TypeError as error:  # an input that JSON has no way for
        kind, text = type(error).__name__, f": {error}"
    said = f"{what} has failed: {kind}{text}"
    raise (PassingAgentCallError if passes else AgentCallError)(said)


async def _read(response: Any, what: str) -> Any:
    """What an answer says; raises for one that is an error, or too large."""
    status = response.status_code
    if not 200 <= status < 300:
        passes = status == 429 or status >= 500
        raise (PassingAgentCallError if passes else AgentCallError)(
            f"{what} has answered {status} {response.reason_phrase}".rstrip(),
            status=status,
            retry_after=_wait(response.headers.get("retry-after")) if passes else None,
        )
    content = bytearray()
    async for chunk in response.aiter_bytes():
        content += chunk
        if len(content) > LARGEST:
            raise AgentCallError(f"{what} has answered more than {LARGEST:,} bytes", status=status)
    kind = response.headers.get("content-type", "").lower()
    if "json" in kind.partition(";")[0]:
        if not content.strip():
            return None
        try:
            return json.loads(content)
        except (ValueError, RecursionError) as error:
            raise AgentCallError(
                f"{what} has answered what is no JSON, though it says so: {type(error).__name__}",
                status=status,
            ) from None
    named = _TEXT.search(kind)
    try:
        return content.decode(named.group(1) if named else "utf-8", "replace")
    except LookupError:  # a character set that nobody knows
        return content.decode("utf-8", "replace")


def _place(url: Any) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


def _wait(given: str | None) -> float | None:
    """Seconds that an answer asks to wait: a number of them, or a date."""
    if given is None:
        return None
    try:
        seconds = float(given)
    except ValueError:
        try:
            at = email.utils.parsedate_to_datetime(given)
        except ValueError:
            return None
        if at.tzinfo is None:
            at = at.replace(tzinfo=UTC)
        seconds = (at - datetime.now(UTC)).total_seconds()
    if math.isnan(seconds):
        return None
    return min(max(0.0, seconds), LONGEST_WAIT)
