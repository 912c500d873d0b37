"""A loopback exchange: real HTTP on 127.0.0.1, for real clients.

In a test::

    with ExchangeServer(Market.generated(seed=3), venue="binance", now=utc("2024-03-20")) as server:
        client.urls["api"] = ...  # every address at server.url
        ...
        assert [seen.path for seen in server.requests()] == [...]

The server stops with the ``with`` block, also when the test fails; connections that still wait are ended. An error
inside the server is answered with 500 and raised at the end of the block.

As a process, for tests that kill the client: ``python -m tests.exchange.server --venue binance --seed 3 --now
2024-03-20`` prints its address as the only line of stdout and ends when its stdin closes.

What a client has to know: ccxt takes addresses from ``exchange.urls["api"]`` (a dict; Bybit's hold ``{hostname}``);
keep the path of each, since Binance's end in ``/fapi/v1``. A request on a connection that was used before and ends
without a byte is sent once more by aiohttp itself, so one ccxt call can be two requests here. ``exchange.close()``
sleeps ``timeout_on_exit`` = 250 ms.
"""

from __future__ import annotations

import argparse
import json
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, urlencode, urlsplit

from tests.exchange import binance, binance_spot, bitget, blofin, bybit, coinm, gate, hyperliquid, krakenfutures, okx
from tests.exchange.answer import Answer, Request
from tests.exchange.contract import utc
from tests.exchange.faults import ROW_FAULTS, Fault, FaultKind, FaultPlan, Rule
from tests.exchange.market import Market

_VENUES = {
    "binance": binance,
    "bybit": bybit,
    "okx": okx,
    "blofin": blofin,
    "hyperliquid": hyperliquid,
    "gate": gate,
    "bitget": bitget,
    "krakenfutures": krakenfutures,
}
_HTML = "<html><head><title>{status}</title></head><body><h1>{status} {reason}</h1><hr>gateway</body></html>"


@dataclass(frozen=True)
class Seen:
    """One request that the server received.

    Attributes
    ----------
    path : str
        Path without the query.
    query : dict
        Decoded parameters.
    time : float
        Arrival, of a clock that only goes forward [s].
    status : int or None
        HTTP status of the answer; None when nothing was answered.
    fault : Fault or None
        What went wrong on purpose.
    """

    path: str
    query: dict[str, str]
    time: float
    status: int | None
    fault: Fault | None


@dataclass(frozen=True)
class Reply:
    """What goes over the wire.

    Attributes
    ----------
    status : int or None
        HTTP status; None when the connection ends without an answer.
    body : bytes
        What Content-Length announces.
    headers : mapping
        Further header fields.
    sent : int or None
        Bytes of the body after which the connection ends; None for all of them and an open connection.
    delay : float
        Time before the answer [s].
    hangs : bool
        Nothing happens until one of both sides goes away.
    """

    status: int | None
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    sent: int | None = None
    delay: float = 0.0
    hangs: bool = False


class ExchangeServer:
    """One exchange on a free port of 127.0.0.1; a context manager.

    Parameters
    ----------
    market : Market
        What it serves.
    venue : str
        A key of ``_VENUES``; ``binance`` speaks for USD-M (``/fapi``), COIN-M (``/dapi``) and spot.
    now : int, callable or None
        The exchange's clock [ms]: a fixed moment, a function, or None for this machine's clock.
    faults : FaultPlan or None
        What goes wrong.
    delay : float
        Time that each answer takes at least [s].
    """

    def __init__(
        self,
        market: Market,
        venue: str = "binance",
        *,
        now: int | Callable[[], int] | None = None,
        faults: FaultPlan | None = None,
        delay: float = 0.0,
    ) -> None:
        self.market = market
        self.venue = venue
        self.faults = faults
        self.delay = delay
        self._clock = _clock(now)
        self._lock = threading.Lock()
        self._seen: list[Seen] = []
        self._count = 0
        self._errors: list[BaseException] = []
        self._open = threading.Event()
        self._open.set()
        self._stopping = threading.Event()
        self._http = _HttpServer(self)
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), name="exchange", daemon=True)

    @property
    def url(self) -> str:
        """Address without a path, as in ``http://127.0.0.1:40123``."""
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    @property
    def now(self) -> int:
        """Time of the exchange [ms]; may be set."""
        return self._clock()

    @now.setter
    def now(self, moment: int | Callable[[], int] | None) -> None:
        self._clock = _clock(moment)

    def requests(self, path: str = "") -> list[Seen]:
        """Return the requests so far whose path ends so, in the order of their answers."""
        with self._lock:
            return [seen for seen in self._seen if seen.path.endswith(path)]

    def forget(self) -> None:
        """Empty the log of requests."""
        with self._lock:
            self._seen.clear()

    def pause(self) -> None:
        """Let requests wait until `resume`."""
        self._open.clear()

    def resume(self) -> None:
        """Answer those that wait, and all that follow."""
        self._open.set()

    def start(self) -> Self:
        """Begin to listen to requests; the port is taken since the server was made."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """End all connections and threads of the server."""
        self._stopping.set()
        self._open.set()
        if self._thread.is_alive():
            self._http.shutdown()
            self._thread.join()
        self._http.end_connections()
        self._http.server_close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()
        if kind is None and self._errors:
            raise self._errors[0]

    # what follows is called by the threads of connections

    def wait(self, seconds: float) -> None:
        """Wait, but not longer than the server lives."""
        self._stopping.wait(seconds)

    def respond(self, target: str, headers: Mapping[str, str]) -> tuple[Answer, Fault | None]:
        """Return the answer to a request and the fault that it is to suffer."""
        parts = urlsplit(target)
        with self._lock:
            number, self._count = self._count, self._count + 1
        fault = self.faults.choose(parts.path, parts.query) if self.faults is not None else None
        self._open.wait()
        request = Request(parts.path, dict(parse_qsl(parts.query, keep_blank_values=True)), headers, self.now, number)
        try:
            others = (m for m in (coinm, binance_spot) if parts.path.startswith(m.PREFIX) and self.venue == "binance")
            venue = next(others, _VENUES[self.venue])
            answer = venue.answer(self.market, request)
        except Exception as error:  # noqa: BLE001 # a bug of the server must reach the test, not only a thread
            self._errors.append(error)
            answer = Answer({"code": -1000, "msg": repr(error)}, 500)
        if fault is not None and fault.kind in ROW_FAULTS and answer.rows is not None:
            fault.spoil(answer.rows)
        return answer, fault

    def spoil(self, answer: Answer, fault: Fault | None) -> Reply:
        """Return what is sent of an answer that suffers a fault."""
        body = json.dumps(answer.body, separators=(",", ":")).encode()
        reply = Reply(answer.status, body, answer.headers)
        if fault is None:
            return reply
        if fault.kind in (FaultKind.HANG, FaultKind.REFUSE):
            return Reply(None, hangs=fault.kind is FaultKind.HANG)
        if fault.kind is FaultKind.STATUS:
            retry = {} if fault.seconds is None else {"Retry-After": f"{fault.seconds:g}"}
            return Reply(fault.status, json.dumps(_VENUES[self.venue].fault_body(fault.status)).encode(), retry)
        if fault.kind is FaultKind.HTML:
            page = _HTML.format(status=fault.status, reason=HTTPStatus(fault.status).phrase).encode()
            return Reply(fault.status, page, {"Content-Type": "text/html"})
        if fault.kind is FaultKind.TRUNCATED:
            return replace(reply, body=body[: len(body) * 2 // 3])
        if fault.kind is FaultKind.CUT:
            return replace(reply, sent=len(body) // 2)
        if fault.kind is FaultKind.SLOW:
            return replace(reply, delay=fault.seconds or 0.0)
        return reply

    def record(self, target: str, arrival: float, status: int | None, fault: Fault | None) -> None:
        """Write a request into the log."""
        parts = urlsplit(target)
        with self._lock:
            self._seen.append(Seen(parts.path, dict(parse_qsl(parts.query)), arrival, status, fault))


def _clock(now: int | Callable[[], int] | None) -> Callable[[], int]:
    if now is None:
        return skewed_clock(0)
    if callable(now):
        return now
    return lambda: now


def skewed_clock(milliseconds: int) -> Callable[[], int]:
    """Return this machine's clock, set forward (or, negative, back) by some milliseconds."""
    return lambda: int(time.time() * 1000) + milliseconds


class _HttpServer(ThreadingHTTPServer):
    """Knows its connections, so that it can end them."""

    daemon_threads = True  # a server that nobody stopped does not keep the process alive
    request_queue_size = 128

    def __init__(self, exchange: ExchangeServer) -> None:
        self.exchange = exchange
        self._connections: dict[socket.socket, threading.Thread] = {}
        self._guard = threading.Lock()
        super().__init__(("127.0.0.1", 0), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        thread = threading.Thread(
            target=self.process_request_thread, args=(request, client_address), name="exchange connection", daemon=True
        )
        with self._guard:
            self._connections[request] = thread
        thread.start()

    def shutdown_request(self, request: Any) -> None:
        with self._guard:
            self._connections.pop(request, None)
        super().shutdown_request(request)

    def end_connections(self) -> None:
        """End what is open and wait for its threads: none outlives a test."""
        with self._guard:
            remaining = dict(self._connections)
            for connection in remaining:
                with suppress(OSError):  # the client was first
                    connection.shutdown(socket.SHUT_RDWR)
        for thread in remaining.values():
            thread.join(timeout=5)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Forget clients that went away; anything else is a bug of ours."""
        error = sys.exception()
        if error is not None and not isinstance(error, OSError):
            self.exchange._errors.append(error)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _HttpServer
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        self._answer(self.path)

    def do_POST(self) -> None:
        sent = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        inner = [pair for value in sent.values() if isinstance(value, dict) for pair in value.items()]
        fields = {k: v for k, v in (*sent.items(), *inner) if not isinstance(v, dict)}
        self._answer(f"{self.path}?{urlencode(fields)}")

    def date_time_string(self, timestamp: float | None = None) -> str:
        """Return the time of the exchange, which is what the header ``Date`` says."""
        return super().date_time_string(self.server.exchange.now / 1000 if timestamp is None else timestamp)

    def _answer(self, target: str) -> None:
        exchange, arrival = self.server.exchange, time.monotonic()
        answer, fault = exchange.respond(target, {name.lower(): value for name, value in self.headers.items()})
        reply = exchange.spoil(answer, fault)
        exchange.wait(exchange.delay + reply.delay)
        # written down before the first byte leaves: whoever has the answer finds the request in the log
        exchange.record(target, arrival, reply.status, fault)
        self._send(reply)

    def _send(self, reply: Reply) -> None:
        if reply.hangs:
            self.connection.recv(1)  # until the client goes away or the server stops: both make it readable
        if reply.status is None:
            self.close_connection = True
            return
        self.send_response(reply.status)
        fields = {
            "Content-Type": "application/json;charset=UTF-8",
            "Content-Length": str(len(reply.body)),
            **reply.headers,
        }
        for name, value in fields.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(reply.body[: reply.sent])
        if reply.sent is not None:
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 # the name is the base class's
        """Stay silent: the log of requests is `ExchangeServer.requests`."""


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.exchange.server", description=__doc__)
    parser.add_argument("--venue", choices=sorted(_VENUES), default="binance")
    parser.add_argument("--seed", type=int, default=0, help="of the made-up market and of the faults")
    parser.add_argument("--real", type=Path, help="folder of real data to serve instead of a made-up market")
    parser.add_argument(
        "--now", help="ISO time at which the exchange's clock stands still; default: this machine's clock"
    )
    parser.add_argument("--delay", type=float, default=0.0, help="seconds that each answer takes at least")
    parser.add_argument(
        "--failing", type=float, default=0.0, help="share of requests answered with 500, twice each at most"
    )
    return parser.parse_args()


def main() -> None:
    """Serve until stdin closes."""
    options = _arguments()
    market = Market.from_real(options.real) if options.real else Market.generated(options.seed)
    rule = Rule(Fault.failing(500), share=options.failing, attempts=2)
    now = utc(options.now) if options.now else None
    plan = FaultPlan(rule, seed=options.seed)
    with ExchangeServer(market, options.venue, now=now, faults=plan, delay=options.delay) as server:
        print(server.url, flush=True)  # noqa: T201 # the address is this program's output
        sys.stdin.read()


if __name__ == "__main__":
    main()
