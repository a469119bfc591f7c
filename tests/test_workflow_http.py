"""Agents that are HTTP endpoints, against a real server."""

from __future__ import annotations

import gzip
import json
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from task_pipeline import (
    AgentCallError,
    ConfigurationError,
    MissingExtraError,
    PassingAgentCallError,
    StepTimeoutError,
)
from task_pipeline.documents.workflows import http_agents
from task_pipeline.documents.workflows.http_agents import _wait
from task_pipeline.testing import Gate, ManualClock
from tests.workflow_documents import Context, loaded, results_of, wrong_steps

Answer = tuple[int, dict[str, str], bytes]


def as_json(value: Any, status: int = 200, **headers: str) -> Answer:
    kind = {"Content-Type": "application/json", **headers}
    return status, kind, json.dumps(value).encode()


class Server:
    """Answers each path with what a test says; keeps what it was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, Callable[[Any], Answer]] = {}
        self.asked: list[Any] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                self.body = self.rfile.read(length)
                server.asked.append(self)
                path = urlsplit(self.path).path
                status, headers, content = server.answers[path](self)
                try:
                    self.send_response(status)
                    for name, value in headers.items():
                        self.send_header(name, value)
                    self.send_header("Content-Length", str(len(content)))
                    self.end_headers()
                    self.wfile.write(content)
                except OSError:
                    pass  # whoever asked has gone

            do_GET = do_POST = do_PUT = do_DELETE = answer

            def log_message(self, *args: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.http.server_port}"

    def on(self, path: str, answer: Callable[[Any], Answer] | Answer) -> str:
        self.answers[path] = answer if callable(answer) else lambda asked: answer
        return self.url + path

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


def run(step: dict[str, Any], given: dict[str, Any] | None = None, **options: Any) -> Any:
    return results_of({"a": step}, given, allow={"http"}, **options)["a"]


FAST = {"max_attempts": 3, "delay": 0.0}


def test_the_input_is_sent_as_json_and_json_comes_back(server: Server) -> None:
    url = server.on("/agent", lambda asked: as_json({"got": json.loads(asked.body)}))
    step = {"url": url, "input_mapping": {"n": "${workflow.input.n}"}, "agent_name": "remote"}
    assert run(step, {"n": [1]}) == {"got": {"n": [1]}}
    (asked,) = server.asked
    assert asked.command == "POST"
    assert asked.headers["Content-Type"] == "application/json"
    assert run({"url": url}, {"n": 2}) == {"got": {"n": 2}}


def test_with_get_it_is_the_query(server: Server) -> None:
    def answer(asked: Any) -> Answer:
        return 200, {"Content-Type": "text/plain; charset=latin-1"}, b"caf\xe9"

    url = server.on("/get", answer)
    mapping = {"q": "a b&c", "n": 1, "l": ["x", "y"], "o": {"k": True}}
    assert run({"url": url, "method": "GET", "input_mapping": mapping}) == "café"
    query = parse_qs(urlsplit(server.asked[0].path).query)
    assert query == {"q": ["a b&c"], "n": ["1"], "l": ["x", "y"], "o": ['{"k": true}']}
    assert run({"url": url, "method": "DELETE", "input_mapping": None}) == "café"
    with pytest.raises(ConfigurationError, match="its input becomes the query"):
        run({"url": url, "method": "GET", "input_mapping": [1]})


@pytest.mark.parametrize(
    ("kind", "content", "output"),
    [
        ("application/json", b"", None),
        ("application/problem+json; charset=utf-8", b'{"a": 1}', {"a": 1}),
        ("text/html", "é".encode(), "é"),
        ("text/plain; charset=nonsense", "é".encode(), "é"),
        ("", b"plain", "plain"),
    ],
)
def test_how_answers_are_read(server: Server, kind: str, content: bytes, output: Any) -> None:
    url = server.on("/x", (200, {"Content-Type": kind} if kind else {}, content))
    assert run({"url": url, "method": "PUT"}) == output


def test_url_and_headers_may_have_references_and_secrets(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_AGENTS_TOKEN", "t0psecret")
    monkeypatch.setenv("HTTP_AGENTS_PATH", "hidden-path")
    server.on("/v1/hidden-path", lambda asked: as_json({"echo": asked.headers["X-Key"]}))
    step = {
        "url": "${workflow.input.base}/v1/${env.HTTP_AGENTS_PATH}?key=${env.HTTP_AGENTS_TOKEN}",
        "headers": {"X-Key": "Bearer ${env.HTTP_AGENTS_TOKEN}", "X-N": "n ${workflow.input.n}"},
        "input_mapping": {},
    }
    env = {"HTTP_AGENTS_TOKEN", "HTTP_AGENTS_PATH"}
    output = run(step, {"base": server.url, "n": 3}, env=env)
    (asked,) = server.asked
    assert asked.headers["X-Key"] == "Bearer t0psecret" and asked.headers["X-N"] == "n 3"
    assert asked.path == "/v1/hidden-path?key=t0psecret"
    # What the endpoint sends back of it stays hidden too.
    assert output == {"echo": "Bearer t0psecret"} and "t0psecret" not in repr(output)
    server.on("/v1/hidden-path", as_json({}, 400))
    with pytest.raises(AgentCallError) as caught:
        run(step, {"base": server.url, "n": 3}, env=env)
    assert str(caught.value) == f"step 'a': POST {server.url}/v1/*** has answered 400 Bad Request"
    assert caught.value.status == 400


def test_errors_show_neither_headers_nor_the_query(server: Server) -> None:
    url = server.on("/x", as_json("secret body", 401)).replace("//", "//me:password@")
    step = {"url": f"{url}?token=abc", "headers": {"X": "hdr"}, "retry": 0}
    with pytest.raises(AgentCallError) as caught:
        run(step)
    assert str(caught.value) == f"step 'a': POST {server.url}/x has answered 401 Unauthorized"
    assert caught.value.__cause__ is None and caught.value.__context__ is None


@pytest.mark.parametrize("status", [429, 500, 503])
def test_what_may_pass_is_tried_again(server: Server, status: int) -> None:
    def answer(asked: Any) -> Answer:
        return as_json("later", status) if len(server.asked) < 3 else as_json("now")

    url = server.on("/x", answer)
    assert run({"url": url, "retry": FAST}) == "now"
    assert len(server.asked) == 3
    server.asked.clear()
    with pytest.raises(PassingAgentCallError, match=f"has answered {status}"):
        run({"url": url, "retry": {"max_attempts": 2, "delay": 0}})
    assert len(server.asked) == 2


def test_what_does_not_pass_is_not_tried_again(server: Server) -> None:
    url = server.on("/x", as_json("no", 404))
    with pytest.raises(AgentCallError, match="has answered 404 Not Found") as caught:
        run({"url": url, "retry": FAST})
    assert not isinstance(caught.value, PassingAgentCallError)
    assert len(server.asked) == 1


def test_a_network_that_is_not_there_is_tried_again() -> None:
    made = Server()
    made.close()
    with pytest.raises(PassingAgentCallError, match="has failed: ConnectError"):
        run({"url": made.url, "retry": FAST})


def test_how_often_it_is_tried_by_itself() -> None:
    steps = {"a": {"url": "http://localhost/x"}}
    (spec,) = loaded(steps, allow={"http"})._plan.specs
    assert spec.policy is not None and spec.policy.attempts == 3
    steps["a"]["retry"] = 0  # type: ignore[assignment]  # as a document may have it
    (spec,) = loaded(steps, allow={"http"})._plan.specs
    assert spec.policy is None
    steps["a"]["retry"] = 4  # type: ignore[assignment]  # as a document may have it
    (spec,) = loaded(steps, allow={"http"})._plan.specs
    assert spec.policy is not None and spec.policy.attempts == 5
    assert spec.description == "a" and spec.version


def test_what_an_answer_asks_to_wait() -> None:
    now = datetime.now(UTC)
    assert _wait("3") == 3.0
    assert _wait("999999") == 120.0
    assert _wait("-5") == 0.0
    assert 28.0 < (_wait(format_datetime(now + timedelta(seconds=30), usegmt=True)) or 0) <= 30.0
    assert _wait("Sun, 06 Nov 1994 08:49:37") == 0.0
    assert _wait("soon") is None and _wait("nan") is None and _wait(None) is None


def test_retry_after_is_kept_with_the_error(server: Server) -> None:
    url = server.on("/x", as_json("later", 503, **{"Retry-After": "7"}))
    with pytest.raises(PassingAgentCallError) as caught:
        run({"url": url, "retry": 0})
    assert caught.value.retry_after == 7.0
    assert caught.value.status == 503


class NotingClock(ManualClock):
    """Tells when a timer of so many seconds is set."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds
        self.is_set = threading.Event()

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Any:
        timer = super().call_later(seconds, callback)
        if seconds == self.seconds:
            self.is_set.set()
        return timer


def test_what_an_endpoint_asks_to_wait_is_waited(server: Server) -> None:
    def answer(asked: Any) -> Answer:
        return as_json(1) if len(server.asked) > 1 else as_json(0, 429, **{"Retry-After": "90"})

    pipeline = loaded({"a": {"url": server.on("/x", answer)}}, allow={"http"})
    clock = NotingClock(90.0)
    with clock.installed():
        started = pipeline.start(Context())
    assert clock.is_set.wait(30)
    assert len(server.asked) == 1
    clock.advance(90)
    assert started.result().results["a"] == 1


def test_redirects_are_followed_in_their_own_place_only(server: Server) -> None:
    other = Server()
    try:
        there = server.on("/there", lambda asked: as_json(asked.body.decode()))
        here = server.on("/here", (307, {"Location": there}, b""))
        assert run({"url": here, "input_mapping": 1}) == "1"
        server.on("/here", (302, {"Location": other.on("/x", as_json(1))}, b""))
        with pytest.raises(AgentCallError, match="redirected to another place, http://127"):
            run({"url": here, "headers": {"X-Key": "k"}})
        server.on("/here", (302, {"Location": "file:///etc/passwd"}, b""))
        with pytest.raises(AgentCallError):
            run({"url": here})
        assert other.asked == []
        server.on("/here", (307, {"Location": here}, b""))
        with pytest.raises(AgentCallError, match="redirected more than 5 times"):
            run({"url": here})
        server.on("/here", (300, {}, b""))
        with pytest.raises(AgentCallError, match="has answered 300"):
            run({"url": here})
    finally:
        other.close()


def test_an_answer_that_is_too_large_is_not_read(server: Server) -> None:
    packed = gzip.compress(b"x" * 11_000_000)
    url = server.on("/x", (200, {"Content-Encoding": "gzip"}, packed))
    with pytest.raises(AgentCallError, match="answered more than 10,000,000 bytes"):
        run({"url": url})
    assert len(server.asked) == 1


def test_an_answer_that_is_not_what_it_says(server: Server) -> None:
    url = server.on("/x", (200, {"Content-Type": "application/json"}, b"{"))
    with pytest.raises(AgentCallError, match="is no JSON, though it says so"):
        run({"url": url})
    url = server.on("/x", (200, {"Content-Encoding": "gzip"}, b"no gzip"))
    with pytest.raises(AgentCallError, match="DecodingError"):
        run({"url": url})


def test_an_input_that_cannot_be_sent(server: Server) -> None:
    url = server.on("/x", as_json(1))
    with pytest.raises(AgentCallError, match="has failed: TypeError"):
        run({"url": url}, {"set": {1}})
    for sign in ("\n", "é"):
        with pytest.raises(AgentCallError, match="has failed") as caught:
            run({"url": url, "headers": {"X": "${workflow.input.h}"}}, {"h": f"value{sign}"})
        assert "value" not in str(caught.value)
    with pytest.raises(ConfigurationError, match="the header 'X' is to be a text"):
        run({"url": url, "headers": {"X": "${workflow.input.h}"}}, {"h": 3})
    for wrong in ("ftp://x/y", 3, "http://[", "http://x:99999999/"):
        with pytest.raises((ConfigurationError, AgentCallError)):
            run({"url": "${workflow.input.u}", "retry": 0}, {"u": wrong})


def test_a_timeout_ends_the_call(server: Server) -> None:
    gate = Gate()

    def answer(asked: Any) -> Answer:
        gate.wait()
        return as_json(1)

    url = server.on("/x", answer)
    begun = time.monotonic()
    with pytest.raises((StepTimeoutError, PassingAgentCallError)):
        run({"url": url, "timeout": 0.1, "retry": 0})
    assert time.monotonic() - begun < 5
    gate.open()


def test_a_call_that_took_too_long_is_tried_again(server: Server) -> None:
    gate = Gate()
    asked: list[int] = []

    def answer(_: Any) -> Answer:
        asked.append(len(asked))
        if len(asked) == 1:
            gate.wait()
        return as_json(len(asked))

    step = {"url": server.on("/slow", answer), "timeout": 0.2, "retry": FAST}
    try:
        assert run(step) == 2
    finally:
        gate.open()


def test_trusted_certificates_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    def create() -> ssl.SSLContext:
        made.append(ssl.create_default_context())
        return made[-1]

    monkeypatch.setattr(http_agents, "_trusted", {})
    monkeypatch.setattr(httpx, "create_ssl_context", create)
    for _ in range(2):
        with pytest.raises(PassingAgentCallError, match="ConnectError"):
            run({"url": "https://127.0.0.1:1/", "retry": 0})
    assert len(made) == 1
    monkeypatch.setenv("SSL_CERT_DIR", "/nowhere")
    with pytest.raises(PassingAgentCallError):
        run({"url": "https://127.0.0.1:1/", "retry": 0})
    assert len(made) == 2


def test_cancelling_the_run_ends_the_call(server: Server) -> None:
    gate, closed = Gate(), threading.Event()

    def answer(asked: Any) -> Answer:
        gate.wait_until_reached(0)
        asked.connection.settimeout(30)
        reached.set()
        if asked.connection.recv(1) == b"":  # whoever asked has gone
            closed.set()
        return as_json(1)

    reached = threading.Event()
    pipeline = loaded({"a": {"url": server.on("/x", answer)}}, allow={"http"})
    started = pipeline.start(Context())
    assert reached.wait(30)
    started.cancel()
    assert closed.wait(30)


def test_it_is_refused_unless_it_is_allowed() -> None:
    (mistake,) = wrong_steps({"a": {"url": "http://localhost/"}})
    assert "steps.a.url: an agent with a url is not allowed: a document may only call" in mistake
    assert "allow={'http'}" in mistake


@pytest.mark.parametrize("url", ["ftp://x/y", "localhost/x", "http://", "file:///etc/passwd"])
def test_an_address_must_be_one(url: str) -> None:
    (mistake,) = wrong_steps({"a": {"url": url}}, allow={"http"})
    assert "the url is not an address that begins with http:// or https://" in mistake


def test_a_method_must_be_one() -> None:
    told = wrong_steps({"a": {"url": "http://x/", "method": "TRACE"}}, allow={"http"})
    assert "steps.a.method: must be one of" in told[0]


def test_without_httpx_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "httpx", None)
    with pytest.raises(MissingExtraError, match="An agent with a url needs httpx"):
        loaded({"a": {"url": "http://localhost/"}}, allow={"http"})
