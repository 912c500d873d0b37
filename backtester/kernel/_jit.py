"""The decorators of compiled functions, and where their machine code is kept.

numba's cache looks at the file of a function alone, not at the functions that it calls. The folder is therefore keyed
by a digest of every source that compiled code can depend on: an edit anywhere gives a new folder.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
import numpy as np
import platformdirs
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import AnalysisPass, register_pass
from numba.core.typed_passes import AnnotateTypes

config: Any = numba.config  # its options are set when it is imported, unknown to type checkers

F = TypeVar("F", bound=Callable[..., Any])

OPTIONS: dict[str, Any] = {
    "nogil": True,
    "error_model": "numpy",  # x / 0 is inf or nan, as in numpy: a ZeroDivisionError could not leave the kernel anyway
}


def source_digest() -> str:
    """Return a digest of the sources of the kernel and of the domain's codes and records."""
    here = Path(__file__).resolve().parent
    domain = here.parent / "domain"
    files = [*sorted(here.glob("*.py")), domain / "enums.py", domain / "records.py"]
    digest = hashlib.sha256(numba.__version__.encode())
    for file in files:
        digest.update(file.name.encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def cache_folder() -> Path:
    """Return the folder of the compiled kernel: ``BACKTESTER_CACHE_DIR`` or the user's cache folder."""
    base = os.environ.get("BACKTESTER_CACHE_DIR")
    root = Path(base) if base else Path(platformdirs.user_cache_dir("backtester", appauthor=False))
    return root / "kernel" / source_digest()


CACHE_FOLDER = cache_folder()


def constant(code: int) -> int:
    """Return a code as a number that compiled functions take by type.

    Plain Python integers are types of their own to numba when they are passed on: each value would compile its callee
    again.
    """
    return cast(int, np.int64(code))


# The account's steps allocate nothing: they do without reference counts, whose atomic updates cost more than the
# accounting itself, and without the wrappers through which C code calls a function.
STEP_OPTIONS = {"_nrt": False, "no_cfunc_wrapper": True}
# Parts are stored inside the functions that Python calls: machine code of their own would double the time to compile.
PART_OPTIONS: dict[str, Any] = {"no_cpython_wrapper": True, "cache": False}


class PartCodegen:
    """numba's code generator as a part's library shows it: a part has no place to keep a Python environment."""

    def __init__(self, codegen: Any) -> None:
        self._codegen = codegen

    def __getattr__(self, name: str) -> Any:
        return getattr(self._codegen, name)

    def set_env(self, env_name: str, env: object) -> None:
        """Keep nothing: the account's steps touch no Python object."""


class PartLibrary(JITCodeLibrary):
    """The code of a part: handed on to the functions that call it as it is written, and optimized there, once.

    A library of its own would optimize and assemble the part and all that it calls, again at every level of calls:
    most of the time that the kernel took to compile.
    """

    @property
    def codegen(self) -> PartCodegen:
        """The code generator, without an environment."""
        return PartCodegen(self._codegen)

    def _optimize_final_module(self) -> None:
        """Leave the optimization to the entry that calls the part."""

    def _finalize_final_module(self) -> None:
        """Make no machine code: nothing but other compiled functions calls a part."""
        self._finalize_dynamic_globals()  # type: ignore[no-untyped-call]
        self._finalized = True


@register_pass(mutates_CFG=False, analysis_only=True)  # type: ignore[no-untyped-call]
class ChoosePartLibrary(AnalysisPass):
    """Give the function a library of the kind above."""

    _name = "choose_part_library"

    def __init__(self) -> None:
        AnalysisPass.__init__(self)  # type: ignore[no-untyped-call]

    def run_pass(self, state: Any) -> bool:
        """Set the library before the code is written."""
        library: Any = PartLibrary
        state.library = library(state.targetctx.codegen(), state.func_id.func_qualname)
        return False


class PartCompiler(CompilerBase):
    """numba's own compiler, but for the library."""

    def define_pipelines(self) -> list[Any]:
        """Return the passes."""
        builder: Any = DefaultPassBuilder
        passes = builder.define_nopython_pipeline(self.state)
        passes.add_pass_after(ChoosePartLibrary, AnnotateTypes)
        passes.finalize()
        return [passes]


def step(function: F) -> F:
    """Compile a function that only other compiled functions call: no wrapper for Python, which saves compile time.

    Called from Python it would crash; call its ``py_func`` instead.
    """
    return _compiled(function, **STEP_OPTIONS, **PART_OPTIONS, pipeline_class=PartCompiler)


def inlined(function: F) -> F:
    """Compile a small step into its callers: the account's arrays are many arguments, and a call pushes them all."""
    return _compiled(function, **STEP_OPTIONS, **PART_OPTIONS, forceinline=True, pipeline_class=PartCompiler)


def entry(function: F) -> F:
    """Compile a step that Python calls."""
    return _compiled(function, **STEP_OPTIONS, cache=True)


def njit(function: F) -> F:
    """Compile a function with the options of this project.

    Parameters
    ----------
    function : callable
        Assumes checked inputs, raises nothing; may allocate its result.

    Returns
    -------
    callable
        The compiled function; ``getattr(f, "py_func", f)`` is its source.
    """
    return _compiled(function, no_cfunc_wrapper=True, cache=True)


def _compiled(function: F, **options: Any) -> F:
    before = config.CACHE_DIR
    config.CACHE_DIR = str(CACHE_FOLDER)  # read at decoration: other packages keep theirs
    try:
        return cast(F, numba.njit(**OPTIONS, **options)(function))
    finally:
        config.CACHE_DIR = before


def is_cold(function: Callable[..., Any]) -> bool:
    """Return whether a compiled function has no machine code stored for its present source on this machine.

    Parameters
    ----------
    function : callable
        From one of the decorators above; a plain function, as with ``NUMBA_DISABLE_JIT``, is never cold.
    """
    file = getattr(getattr(function, "_cache", None), "_cache_file", None)
    return file is not None and not file._load_index()  # numba has no public question for it
