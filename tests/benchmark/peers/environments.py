"""Environments of the peers, each in a folder of its own below ``build/peers``, and their drivers as processes."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
FOLDER = Path("build") / "peers"
INSTALL_SECONDS = 600
RUN_SECONDS = 900


class PeerError(Exception):
    """A peer that cannot be timed, and why."""


@dataclass(frozen=True)
class Environment:
    """A peer's own Python.

    Attributes
    ----------
    name : str
        Of its pins (``name.txt``) and of its driver (``name_driver.py``).
    """

    name: str

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return FOLDER / self.name / "bin" / "python"

    def install(self) -> None:
        """Make the environment from its pins, unless it stands there.

        Raises
        ------
        PeerError
            With the last line of what the installer said.
        """
        pins = HERE / f"{self.name}.txt"
        digest = hashlib.sha256(pins.read_bytes()).hexdigest()
        stamp = FOLDER / self.name / ".installed"
        if stamp.is_file() and stamp.read_text() == digest:
            return
        self._call([sys.executable, "-m", "venv", "--clear", str(FOLDER / self.name)], INSTALL_SECONDS)
        pip = ["-m", "pip", "--disable-pip-version-check", "--no-input", "install", "-q", "--only-binary=:all:"]
        self._call([str(self.python), *pip, "-r", str(pins)], INSTALL_SECONDS)
        stamp.write_text(digest)

    def drive(self, bars: Path, request: dict[str, Any]) -> dict[str, Any]:
        """Run the driver on bars and return its answer.

        Raises
        ------
        PeerError
            With the last line of what it said.
        """
        told = bars.with_name(f"{self.name}.json")
        told.write_text(json.dumps(request))
        driver = HERE / f"{self.name}_driver.py"
        done = self._call([str(self.python), str(driver), str(bars), str(told)], RUN_SECONDS)
        answer: dict[str, Any] = json.loads(done.splitlines()[-1])
        return answer

    def _call(self, command: list[str], most: float) -> str:
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=most, check=False)
        except subprocess.TimeoutExpired as error:
            raise PeerError(f"not done after {most:.0f} s") from error
        if done.returncode:
            said = [line for line in done.stderr.splitlines() if line.strip()]
            raise PeerError(said[-1] if said else f"exit code {done.returncode}")
        return done.stdout
