"""Files as exchanges publish them in their archives, made up; and a server that publishes a folder, with faults."""

from __future__ import annotations

import gzip
import hashlib
import io
import threading
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR
KLINE_HEADER = (
    "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore"
)
FUNDING_HEADER = "calc_time,funding_interval_hours,last_funding_rate"
OKX_HEADER = "instrument_name,open,high,low,close,vol,vol_ccy,vol_quote,open_time,confirm"


def ms(text: str) -> int:
    """Return an ISO time in UTC as ms since 1970."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1000


def prices(open_time: int) -> tuple[float, float, float, float]:
    """Return open, high, low and close of a bar, which follow from its time alone."""
    base = 100 + open_time // MINUTE % 977 / 10
    return base, base + 1, base - 1, base + 0.5


def kline_csv(
    start: int, end: int, step: int, *, header: bool = False, unit: int = 1, drop: frozenset[int] = frozenset()
) -> str:
    """Return klines as Binance writes them.

    Parameters
    ----------
    start, end, step : int
        Opens [ms].
    header : bool
        With a header row.
    unit : int
        1 for ms, 1000 for us.
    drop : frozenset of int
        Opens that are missing.
    """
    lines = [KLINE_HEADER] if header else []
    for t in range(start, end, step):
        if t not in drop:
            o, h, low, c = prices(t)
            close_time = (t + step) * unit - 1
            lines.append(f"{t * unit},{o},{h},{low},{c},12.5,{close_time},0.125,7,6,0.06,0")
    return "\n".join(lines) + "\n"


def funding_csv(start: int, end: int, step: int = 8 * HOUR, *, header: bool = True, jitter: int = 3) -> str:
    """Return settlements as Binance writes them, stamped some ms late."""
    lines = [FUNDING_HEADER] if header else []
    lines += [f"{t + jitter},{step // HOUR},{1e-4 * (t // HOUR % 5 - 2):.8f}" for t in range(start, end, step)]
    return "\n".join(lines) + "\n"


def bybit_csv(start: int, end: int, step: int) -> str:
    """Return klines as Bybit writes them for MetaTrader: no header, three hours ahead of UTC."""
    lines = []
    for t in range(start, end, step):
        stamp = datetime.fromtimestamp((t + 3 * HOUR) / 1000, UTC).strftime("%Y.%m.%d %H:%M")
        o, h, low, c = prices(t)
        lines.append(f"{stamp},{o},{h},{low},{c},42.5")
    return "\n".join(lines) + "\n"


def okx_csv(
    start: int, end: int, instrument: str = "BTC-USDT-SWAP", *, confirm: str = "1", last: str | None = None
) -> str:
    """Return bars as OKX writes them; ``last`` is the flag of the last one."""
    lines = [OKX_HEADER]
    for t in range(start, end, MINUTE):
        o, h, low, c = prices(t)
        flag = last if last is not None and t + MINUTE >= end else confirm
        lines.append(f"{instrument},{o},{h},{low},{c},900,9.0,905.5,{t},{flag}")
    return "\n".join(lines) + "\n"


def zipped(name: str, text: str | bytes) -> bytes:
    """Return a ZIP of one member."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression=zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, text)
    return buffer.getvalue()


def put(root: Path, name: str, text: str, *, checksum: str | None = "right") -> Path:
    """Write a file as it is published, and its checksum.

    Parameters
    ----------
    root : Path
        Folder of the archive.
    name : str
        Path below it, ending in .zip, .csv.gz or .csv.
    text : str
        The CSV.
    checksum : {"right", "wrong"} or None
        What stands in the .CHECKSUM beside it; None: no such file.
    """
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if name.endswith(".zip"):
        path.write_bytes(zipped(path.name.replace(".zip", ".csv"), text))
    else:
        path.write_bytes(gzip.compress(text.encode(), mtime=0) if name.endswith(".gz") else text.encode())
    if checksum is not None and name.endswith(".zip"):
        digest = hashlib.sha256(path.read_bytes() if checksum == "right" else b"another file").hexdigest()
        path.with_name(path.name + ".CHECKSUM").write_text(f"{digest}  {path.name}\n")
    return path


def put_binance(
    root: Path,
    market: str,
    kind: str,
    label: str,
    *,
    timeframe: str = "1h",
    margin: str = "um",
    checksum: str | None = "right",
    text: str | None = None,
) -> Path:
    """Write a month or a day of Binance, whole unless ``text`` says otherwise."""
    step = {"1m": MINUTE, "1h": HOUR}[timeframe]
    start, end = span(label)
    rhythm = "monthly" if len(label) == 7 else "daily"
    where = f"data/futures/{margin}/{rhythm}/{kind}/{market}"
    if kind == "fundingRate":
        name = f"{where}/{market}-fundingRate-{label}.zip"
        return put(root, name, funding_csv(start, end) if text is None else text, checksum=checksum)
    name = f"{where}/{timeframe}/{market}-{timeframe}-{label}.zip"
    return put(root, name, kline_csv(start, end, step) if text is None else text, checksum=checksum)


def span(label: str) -> tuple[int, int]:
    """Return the month or day of a label [ms]."""
    if len(label) == 7:
        year, month = map(int, label.split("-"))
        after = f"{year + month // 12:04d}-{month % 12 + 1:02d}-01"
        return ms(f"{label}-01"), ms(after)
    return ms(label), ms(label) + DAY


@dataclass
class Fault:
    """What a server does wrong with a path, so many times.

    Attributes
    ----------
    status : int
        Its answer; 200 with ``cut`` sends half of the file.
    times : int
        How often before it behaves.
    skip : int
        How often it behaves before that.
    retry_after : str or None
        Header of that name.
    cut : bool
        Close the connection in the middle of the file.
    """

    status: int = 500
    times: int = 1
    retry_after: str | None = None
    cut: bool = False
    skip: int = 0

    def strikes(self) -> bool:
        """Return whether the next answer is wrong, and count it."""
        if self.skip > 0:
            self.skip -= 1
            return False
        self.times -= 1
        return self.times >= 0


@dataclass
class ArchiveServer:
    """A folder published on 127.0.0.1.

    Attributes
    ----------
    address : str
        Where.
    faults : dict of str to Fault
        By path.
    requests : Counter of str
        How often each path was asked for; listings count under ``"?"`` and their prefix.
    """

    address: str
    faults: dict[str, Fault] = field(default_factory=dict)
    requests: Counter[str] = field(default_factory=Counter)

    def asked(self, ending: str) -> int:
        """Return how many requests ended so."""
        return sum(count for path, count in self.requests.items() if path.endswith(ending))


@contextmanager
def published(root: Path, *, lists: bool = False, page: int = 1000) -> Iterator[ArchiveServer]:
    """Serve a folder; with ``lists`` it answers ``?prefix=`` as stores of the S3 kind do, ``page`` names at a time."""
    state = ArchiveServer("")
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            path = unquote(parts.path).lstrip("/")
            query = parse_qs(parts.query)
            name = f"?{query['prefix'][0]}" if "prefix" in query else path
            with lock:
                state.requests[name] += 1
                fault = state.faults.get(name)
                is_faulty = fault is not None and fault.strikes()
            if is_faulty and fault is not None and not fault.cut:
                self.answer(fault.status, b"out of order", retry_after=fault.retry_after)
            elif "prefix" in query:
                marker = query.get("marker", [""])[0]
                self.answer(200, listing(root, query["prefix"][0], marker, page) if lists else b"<html>an index</html>")
            elif not (root / path).is_file():
                self.answer(404, b"no such file")
            else:
                self.answer(200, (root / path).read_bytes(), cut=is_faulty)

        def answer(self, status: int, content: bytes, *, retry_after: str | None = None, cut: bool = False) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            if retry_after is not None:
                self.send_header("Retry-After", retry_after)
            self.end_headers()
            self.wfile.write(content[: len(content) // 2] if cut else content)
            if cut:
                self.close_connection = True

        def log_message(self, *args: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            """Say nothing of clients that go away, which is what some tests are about."""

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    state.address = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def listing(root: Path, prefix: str, marker: str, page: int) -> bytes:
    """Return one page of a listing as S3 writes it."""
    names = sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file())
    fitting = [n for n in names if n.startswith(prefix) and "/" not in n[len(prefix) :] and n > marker]
    shown, more = fitting[:page], len(fitting) > page
    keys = "".join(f"<Contents><Key>{escape(n)}</Key></Contents>" for n in shown)
    following = f"<NextMarker>{escape(shown[-1])}</NextMarker>" if more else ""
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<IsTruncated>{str(more).lower()}</IsTruncated>{following}{keys}</ListBucketResult>"
    ).encode()
