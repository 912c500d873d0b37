"""The one CSV of a downloaded file, unpacked in memory: nothing is extracted to a disk, and nothing is believed.

An archive that an exchange publishes holds one CSV and no folders. Whatever else a file claims to be is refused: other
members, paths, encryption, archives inside, and sizes that no table of bars reaches, both as declared and as counted
while inflating.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import re
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO

from backtester.errors import DataError

_ZIP_MAGIC = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")
_GZIP_MAGIC = b"\x1f\x8b"
_CHUNK = 1 << 20
_FETCH_AGAIN = "Fetch it again; it is left out, the other files come in."
_NOT_OURS = "No exchange publishes such a file: do not trust where it came from."
_UNREADABLE = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError, ValueError, OSError)


@dataclass(frozen=True)
class Limits:
    """What an archive may grow to.

    Attributes
    ----------
    packed : int
        Largest file as it is published [bytes].
    inflated : int
        Largest CSV [bytes]. A month of 1m bars has 6 million.
    ratio : int
        Largest ratio of the two, for a CSV above ``always``. Bars reach 5, and 40 where nothing trades.
    always : int
        Size of a CSV that any ratio may reach [bytes].
    """

    packed: int = 1 << 28
    inflated: int = 1 << 30
    ratio: int = 200
    always: int = 1 << 23

    def allowed(self, packed: int) -> int:
        """Return how many bytes may come out of ``packed`` ones."""
        return min(self.inflated, max(self.always, self.ratio * packed))


DEFAULT_LIMITS = Limits()


def unpack(content: bytes, name: str, limits: Limits = DEFAULT_LIMITS) -> bytes:
    """Return the CSV inside a ZIP or gzip file, or the CSV that the content is.

    Parameters
    ----------
    content : bytes
        The file; what it is shows its first bytes, not its name.
    name : str
        What to call it in an error.
    limits : Limits
        Sizes that are refused.

    Raises
    ------
    DataError
        It is damaged, or holds anything but one CSV of a possible size.
    """
    if len(content) > limits.packed:
        raise DataError(name, f"the file has {len(content):,} bytes, more than {limits.packed:,}", hint=_NOT_OURS)
    if content.startswith(_GZIP_MAGIC):
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
            out = _read_counted(file, name, "gzip", limits.allowed(len(content)))
    elif content.startswith(_ZIP_MAGIC) or (name.lower().endswith(".zip") and not _is_text(content)):
        out = _unzip(content, name, limits)
    else:
        out = content
    if is_packed(out):
        raise DataError(name, "there is another archive inside", hint=_NOT_OURS)
    if not _is_text(out):
        raise DataError(name, "this is no CSV", hint=_FETCH_AGAIN)
    return out


def is_packed(head: bytes) -> bool:
    """Return whether a file that begins so is a ZIP or a gzip file."""
    return head.startswith((*_ZIP_MAGIC, _GZIP_MAGIC))


def _is_text(content: bytes) -> bool:
    return b"\0" not in content[:_CHUNK]


def _unzip(content: bytes, name: str, limits: Limits) -> bytes:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            member = _only_member(archive, name, limits.allowed(len(content)))
            with archive.open(member) as file:
                return _read_counted(file, name, "ZIP", limits.allowed(len(content)))
    except _UNREADABLE as e:
        raise _damaged(name, "ZIP", e) from e


def _only_member(archive: zipfile.ZipFile, name: str, allowed: int) -> zipfile.ZipInfo:
    """Return the one CSV of a ZIP, refused before a byte of it is inflated where it cannot be one."""
    members = archive.infolist()
    for member in members:
        spelled = member.filename.replace("\\", "/")
        climbs = ".." in PurePosixPath(spelled).parts
        if climbs or spelled.startswith("/") or re.match(r"[A-Za-z]:", spelled):
            raise DataError(name, f"its member {member.filename!r} climbs out of its folder", hint=_NOT_OURS)
        if "/" in spelled:
            raise DataError(name, f"there is a folder inside ({member.filename!r})", hint=_NOT_OURS)
    if len(members) != 1:
        raise DataError(name, f"there are {len(members)} files inside instead of one CSV", hint=_NOT_OURS)
    (member,) = members
    if member.flag_bits & 0x1:
        raise DataError(name, "it is encrypted", hint=_NOT_OURS)
    if member.filename.lower().endswith((".zip", ".gz", ".7z", ".rar", ".xz", ".bz2", ".zst", ".tar")):
        raise DataError(name, f"there is another archive inside ({member.filename!r})", hint=_NOT_OURS)
    if not member.filename.lower().endswith(".csv"):
        raise DataError(name, f"what is inside is no CSV ({member.filename!r})", hint=_NOT_OURS)
    if member.file_size > allowed:
        raise _too_large(name, f"{member.file_size:,} bytes by its own word", allowed)
    return member


def _read_counted(file: IO[bytes] | gzip.GzipFile, name: str, kind: str, allowed: int) -> bytes:
    """Return what a file inflates to; stop at the first byte that is too many."""
    out = bytearray()
    try:
        while chunk := file.read(_CHUNK):
            out += chunk
            if len(out) > allowed:
                raise _too_large(name, "more", allowed)
    except _UNREADABLE as e:
        raise _damaged(name, kind, e) from e
    return bytes(out)


def _too_large(name: str, size: str, allowed: int) -> DataError:
    return DataError(name, f"it inflates to {size}, which no table of bars does ({allowed:,} at most)", hint=_NOT_OURS)


def _damaged(name: str, kind: str, error: Exception) -> DataError:
    reason = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
    return DataError(name, f"this is not a whole {kind} file ({reason})", hint=_FETCH_AGAIN)


def verify_checksum(content: bytes, checksum: bytes, name: str) -> None:
    """Compare a file with the text of its checksum file, a SHA-256 in hexadecimal before the file's name.

    Raises
    ------
    DataError
        The checksum differs, or the text holds none.
    """
    words = checksum.decode("ascii", "replace").split()
    if not words or not re.fullmatch(r"[0-9a-fA-F]{64}", words[0]):
        raise DataError(name, "its checksum file holds no SHA-256", hint=f"Fetch both again. {_FETCH_AGAIN}")
    if len(words) > 1 and PurePosixPath(words[1].lstrip("*")).name != PurePosixPath(name).name:
        raise DataError(name, f"its checksum file is that of {words[1]}", hint=f"Fetch both again. {_FETCH_AGAIN}")
    found = hashlib.sha256(content).hexdigest()
    if found != words[0].lower():
        raise DataError(
            name,
            f"the checksum is wrong (SHA-256 {found[:12]}…, published {words[0][:12].lower()}…)",
            hint=f"The file was cut or changed on its way. {_FETCH_AGAIN}",
        )
