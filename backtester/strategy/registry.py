"""Where strategies are found: folders, entry points, and the bundled ones; the first place with a name has it."""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import linecache
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType

from backtester.errors import StrategyError, UnknownNameError, UsageError
from backtester.strategy.base import Strategy, decides, kind_of, snake_case
from backtester.strategy.fault import place_text

GROUP = "backtester.strategies"
LOCAL_FOLDER = Path("strategies")
_PACKAGE = Path(__file__).resolve().parent.parent
_PLUGIN = "backtester_plugin_"


@dataclass(frozen=True)
class Entry:
    """A strategy, or a file that would hold one.

    Attributes
    ----------
    name : str
        What the command line calls it; of a broken file, its stem.
    origin : str
        The folder, ``"entry point NAME"`` or ``"bundled"``.
    path : Path or None
        Source file, where there is one.
    strategy : type of Strategy or None
        None when broken.
    broken : str
        Why it cannot be used; empty when it can.
    shadowed_by : str
        Origin of the strategy of the same name that is used instead; empty when this one is used.
    """

    name: str
    origin: str
    path: Path | None
    strategy: type[Strategy] | None
    broken: str = ""
    shadowed_by: str = ""

    @property
    def kind(self) -> str:
        """How it decides: ``"expressions"``, ``"signals"`` or ``"loop"``; empty when broken."""
        return kind_of(self.strategy) if self.strategy else ""

    @property
    def summary(self) -> str:
        """First line of the docstring."""
        return (inspect.getdoc(self.strategy) or "").split("\n")[0] if self.strategy else ""


def listing(folders: Iterable[Path] = ()) -> tuple[Entry, ...]:
    """Return every strategy that is found, in the order in which names are given away.

    Parameters
    ----------
    folders : iterable of Path
        Folders beside ``./strategies``, searched after it.

    Returns
    -------
    tuple of Entry
        Broken and shadowed ones included; a file that is reached twice stands there once.

    Raises
    ------
    UsageError
        When a folder does not exist.
    """
    owner: dict[str, str] = {}
    entries = []
    for entry in _entries(_places(folders), wanted=None):
        if entry.strategy is not None:
            entry = replace(entry, shadowed_by=owner.get(entry.name, ""))  # noqa: PLW2901 - the same entry, completed
            owner.setdefault(entry.name, entry.origin)
        entries.append(entry)
    return tuple(entries)


def lookup(name: str, folders: Iterable[Path] = ()) -> tuple[Entry, tuple[str, ...]]:
    """Return the strategy that a name means, and what to tell the user about the choice.

    Parameters
    ----------
    name : str
        As typed.
    folders : iterable of Path
        Folders beside ``./strategies``.

    Returns
    -------
    entry : Entry
        The first usable one.
    notes : tuple of str
        One sentence for each strategy that it shadows and each broken file of that name.

    Raises
    ------
    StrategyError
        When only broken files have the name.
    UnknownNameError
        With the nearest names.
    UsageError
        When a folder does not exist.
    """
    folders = tuple(folders)
    if name.endswith(".py"):
        raise UsageError(f"{name!r} is a file: a strategy is called by its name.", _name_hint(Path(name)))
    places = _places(folders)
    found = [entry for entry in _entries(places, wanted=name) if entry.name == name or _is_stem(entry, name)]
    usable = [entry for entry in found if entry.strategy is not None]
    broken = [entry for entry in found if entry.strategy is None]
    if not usable:
        if broken:
            reason = broken[0].broken
            problem = "decides nothing" if "decides nothing" in reason else "cannot be imported"
            raise StrategyError(f"Strategy {name!r} {problem}.", reason)
        known = {entry.name for entry in _entries(places, wanted=None) if entry.strategy is not None}
        looked = ", ".join((f"./{LOCAL_FOLDER}", *map(str, folders), "the entry points and the bundled ones"))
        raise UnknownNameError("strategy", name, known, f"in {looked}")
    notes = [
        f"Strategy {name!r} of {usable[0].origin} is used; it shadows the one of {entry.origin}."
        for entry in usable[1:]
    ]
    notes += [f"{entry.path} is broken and passed over: {' '.join(entry.broken.split())}" for entry in broken]
    return usable[0], tuple(notes)


def _is_stem(entry: Entry, name: str) -> bool:
    """Return whether a broken entry stands in the file of that name."""
    return entry.strategy is None and entry.path is not None and entry.path.stem == name


def _name_hint(path: Path) -> str:
    """Return how the strategies of a file are called."""
    if not path.is_file():
        return f"There is no file {path} either; `backtester strategy list` shows what there is."
    names = " or ".join(repr(strategy.name) for strategy in load_file(path))
    is_local = path.resolve().parent == LOCAL_FOLDER.resolve()
    return f"Write {names}." if is_local else f"Write {names}, with --strategies {path.parent}."


def find(name: str, folders: Iterable[Path] = ()) -> type[Strategy]:
    """Return the strategy that a name means; ``lookup`` also says what it shadows."""
    entry, _ = lookup(name, folders)
    assert entry.strategy is not None
    return entry.strategy


def load_file(path: Path) -> tuple[type[Strategy], ...]:
    """Return the strategies that a file defines.

    Parameters
    ----------
    path : Path
        A Python file.

    Raises
    ------
    StrategyError
        When it cannot be imported (its own line), or defines no strategy.
    """
    module = _imported(path.resolve())
    found = tuple(_defined(module))
    idle = _idle(module)
    if idle and not found:
        raise StrategyError(f"Strategy {idle[0].name!r} decides nothing.", _nothing_decided(path, idle[0]))
    if not found:
        raise StrategyError(f"{path} defines no strategy.", "Write a class in it that derives from Strategy.")
    return found


def source_of(strategy: type[Strategy]) -> str:
    """Return the text of the file that defines a strategy, for a run's folder; of the class where there is no file."""
    try:
        file = inspect.getsourcefile(strategy)
        if file and Path(file).is_file():
            return Path(file).read_text(encoding="utf-8")
        return inspect.getsource(strategy)
    except (TypeError, OSError):
        return f"# The source of {strategy.__name__} is not available: it was defined in a console.\n"


def bundled_folder() -> Path:
    """Return the folder of the bundled strategies: in the installed package, or beside it in a checkout."""
    inside = _PACKAGE / "bundled"
    return inside if inside.is_dir() else _PACKAGE.parent / "strategies"


def _places(folders: Iterable[Path]) -> list[tuple[str, Path | None]]:
    """Return origins and folders in order of precedence; None stands for the entry points."""
    places: list[tuple[str, Path | None]] = []
    if LOCAL_FOLDER.is_dir():
        places.append((str(LOCAL_FOLDER), LOCAL_FOLDER))
    for folder in folders:
        if not folder.is_dir():
            raise UsageError(f"There is no folder {folder} with strategies.", "Check --strategies.")
        places.append((str(folder), folder))
    return [*places, ("entry points", None), ("bundled", bundled_folder())]


def _entries(places: Sequence[tuple[str, Path | None]], wanted: str | None) -> Iterator[Entry]:
    """Yield the strategies of each place; only those of files that may hold ``wanted``, when it is given."""
    reached: set[Path] = set()
    for origin, folder in places:
        if folder is None:
            yield from _entry_point_entries(wanted)
            continue
        for path in sorted(folder.glob("*.py")):
            resolved = path.resolve()
            is_plugin = not path.name.startswith(("_", "test_")) and path.name != "conftest.py"
            if resolved in reached or not is_plugin or (wanted and not _may_hold(path, wanted)):
                continue
            reached.add(resolved)
            yield from _file_entries(origin, path, wanted)


def _file_entries(origin: str, path: Path, wanted: str | None) -> Iterator[Entry]:
    """Yield what a file defines; a class that decides nothing only where nothing else is there, or it is asked for."""
    try:
        module = _imported(path.resolve())
    except StrategyError as error:
        yield Entry(path.stem, origin, path, None, broken=str(error))
        return
    found = tuple(_defined(module))
    for strategy in found:
        yield Entry(strategy.name, origin, path, strategy)
    for idle in _idle(module):
        if not found or idle.name == wanted:
            yield Entry(idle.name, origin, path, None, broken=_nothing_decided(path, idle))


def _entry_point_entries(wanted: str | None) -> Iterator[Entry]:
    for point in entry_points(group=GROUP):
        origin = f"entry point {point.name}"
        try:
            loaded = _loaded(point)
        except StrategyError as error:
            if wanted in (None, point.name):
                yield Entry(point.name, origin, None, None, broken=str(error))
            continue
        for strategy in loaded:
            file = inspect.getsourcefile(strategy)
            yield Entry(strategy.name, origin, Path(file) if file else None, strategy)


def _loaded(point: EntryPoint) -> tuple[type[Strategy], ...]:
    try:
        loaded: object = point.load()
    except (Exception, SystemExit) as error:
        raise StrategyError(f"The entry point {point.name!r} ({point.value}) raised {_told(error)}") from error
    if isinstance(loaded, ModuleType):
        return tuple(_defined(loaded))
    if isinstance(loaded, type) and issubclass(loaded, Strategy):
        return (loaded,)
    raise StrategyError(
        f"The entry point {point.name!r} ({point.value}) is neither a strategy nor a module of strategies."
    )


def _may_hold(path: Path, name: str) -> bool:
    """Return whether a file may define the strategy: plugins that were not asked for are not run."""
    if path.stem == name:
        return True
    text = path.read_text(encoding="utf-8", errors="replace")
    return name in text or any(snake_case(found) == name for found in re.findall(r"^class\s+(\w+)", text, re.MULTILINE))


def _defined(module: ModuleType) -> Iterator[type[Strategy]]:
    """Yield the strategies that a module defines itself and that decide something."""
    for value in vars(module).values():
        if not isinstance(value, type) or not issubclass(value, Strategy) or value.__module__ != module.__name__:
            continue
        if decides(value) and not value.__name__.startswith("_"):
            yield value


def _idle(module: ModuleType) -> list[type[Strategy]]:
    """Return the strategies that a module defines and that decide nothing, but for bases of others in it."""
    own = [value for value in vars(module).values() if isinstance(value, type) and issubclass(value, Strategy)]
    return [
        value
        for value in own
        if value.__module__ == module.__name__
        and not decides(value)
        and not value.__name__.startswith("_")
        and not any(other is not value and issubclass(other, value) for other in own)
    ]


def _nothing_decided(path: Path, strategy: type[Strategy]) -> str:
    """Return what is told of a class that decides nothing, with its line."""
    line = re.search(rf"^class\s+{strategy.__name__}\b", text := path.read_text(encoding="utf-8"), re.MULTILINE)
    place = place_text(str(path), text.count("\n", 0, line.start()) + 1) if line else str(path)
    return (
        f"{path.name} is there, and its class {strategy.__name__} decides nothing: write target(self), signals(self, "
        f"bars) or on_bar(ctx, params). A base of others begins with _, as in _{strategy.__name__}.\n{place}"
    )


def is_plugin(strategy: type[Strategy]) -> bool:
    """Return whether a strategy comes from a file, so that no import statement finds it."""
    return strategy.__module__.startswith(_PLUGIN)


def plugin_file(strategy: type[Strategy]) -> tuple[str, bytes]:
    """Return the path and the content of the file that a plugin was imported from, as it was then."""
    loader = getattr(sys.modules[strategy.__module__], "__loader__", None)
    assert isinstance(loader, _TextLoader)
    return loader.path, loader.content


def from_content(path: str, content: bytes, name: str) -> type[Strategy]:
    """Return the strategy class ``name`` of a file that need not exist here.

    Parameters
    ----------
    path : str
        Where the file lies, or lay on another machine: errors name it.
    content : bytes
        What it holds; it is run, once a process.
    name : str
        Qualified name of the class.
    """
    lines = content.decode("utf-8", "replace").splitlines(keepends=True)
    linecache.cache[path] = (len(content), None, lines, path)  # no time of change: shown as it was run
    found: object = _module(path, content)
    for part in name.split("."):
        found = getattr(found, part)
    assert isinstance(found, type)
    assert issubclass(found, Strategy)
    return found


def _imported(path: Path) -> ModuleType:
    """Return the module of a file, imported once as long as the file stays the same."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise StrategyError(f"{path.name} cannot be read: {error.strerror}.") from None
    try:
        return _module(str(path), content)
    except (Exception, SystemExit) as error:
        raise StrategyError(f"{path.name} raised {_told(error)}", _place_in(path, error)) from error


class _TextLoader(SourceFileLoader):
    """Imports a file from content that was read before, perhaps on another machine."""

    def __init__(self, name: str, path: str, content: bytes) -> None:
        super().__init__(name, path)
        self.content = content

    def get_data(self, path: str) -> bytes:  # noqa: ARG002 - of importlib
        """Return the content."""
        return self.content

    def path_stats(self, path: str) -> Mapping[str, int]:
        """Know no time of change, which leaves Python's own cache of compiled files alone."""
        raise OSError(path)


def _module(path: str, content: bytes) -> ModuleType:
    """Return the module of a file's content; its name tells both."""
    digest = hashlib.sha256(path.encode() + b"\0" + content).hexdigest()[:16]
    name = f"{_PLUGIN}{Path(path).stem}_{digest}"
    if name in sys.modules:
        return sys.modules[name]
    spec = ModuleSpec(name, loader := _TextLoader(name, path, content), origin=path)
    spec.has_location = True
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # pydantic resolves annotations there
    try:
        loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _told(error: BaseException) -> str:
    if isinstance(error, StrategyError):
        return f"a refusal: {error}"
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    first = " ".join(text.split("\n")[0].split())
    return f"{type(error).__name__}: {first}"


def _place_in(path: Path, error: BaseException) -> str:
    """Return the deepest line of the file that took part in an error."""
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return place_text(str(path), error.lineno or 1)
    line, step = 0, error.__traceback__
    while step is not None:
        if step.tb_frame.f_code.co_filename == str(path):
            line = step.tb_lineno
        step = step.tb_next
    return place_text(str(path), line) if line else str(path)
