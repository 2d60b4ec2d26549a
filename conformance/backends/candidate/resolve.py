"""From the name of a candidate to the object: ``module:attribute`` or ``path/to/file.py:attribute``."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Iterable
from difflib import get_close_matches
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any

from conformance.errors import UsageError

#: candidates that are in this process alone, by their names
HELD: dict[str, Any] = {}
#: names of modules that were loaded from a file, and the names under which that file's folder has them
LOADED: dict[str, str] = {}
#: modules that are being imported for the sake of a candidate in them
IMPORTING: list[str] = []


def resolve(target: str) -> Any:
    """The object that a target names.

    Raises:
        UsageError: the module, the file or the attribute does not exist, or importing it raises.
    """
    if target.startswith("@"):
        if target not in HELD:
            raise UsageError(
                f"{target!r} lives in another process", hint="name it as module:Class or path/to/file.py:Class"
            )
        return HELD[target]
    home, _, path = target.rpartition(":")
    if not home or not path:
        raise UsageError(
            f"{target!r} names no candidate", hint="write module:Class or path/to/file.py:Class, such as mykernels:Norm"
        )
    found: Any = _from_file(Path(home)) if home.endswith(".py") else _from_name(home)
    so_far = home
    for name in path.split("."):
        if not hasattr(found, name):
            public = [other for other in vars(found) if not other.startswith("_")] if hasattr(found, "__dict__") else []
            raise UsageError(f"{so_far} has no {name!r}{_meant(name, public)}", hint=_what_there_is(public))
        found, so_far = getattr(found, name), f"{so_far}.{name}"
    return found


def _from_name(name: str) -> ModuleType:
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:  # as python itself does; the command is started without it
        sys.path.insert(0, here)
    try:
        IMPORTING.append(name)
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or name
        if name == missing or name.startswith(f"{missing}."):
            beside = Path(f"{name.replace('.', '/')}.py")
            raise UsageError(
                f"there is no module {name!r}{_meant(missing, _modules_here())}",
                hint=f"looked in {here} and on sys.path; a file is named by its path, such as {beside}:Class",
            ) from None
        raise UsageError(f"{name} cannot be imported: {error}", hint=_raised_at(error)) from None
    except (Exception, SystemExit) as error:  # noqa: BLE001 - somebody's module may raise anything
        raise _broken(name, error) from None
    finally:
        IMPORTING.pop()


def _from_file(path: Path) -> ModuleType:
    if not path.is_file():
        near = [str(other) for other in path.parent.glob("*.py")] if path.parent.is_dir() else []
        raise UsageError(
            f"there is no file {path}{_meant(str(path), near)}", hint="give the path as seen from this folder"
        )
    file = path.resolve()
    for module in list(sys.modules.values()):  # in a test session the file is loaded already
        if getattr(module, "__file__", None) and Path(str(module.__file__)) == file:
            return module
    name = f"{file.stem}_{sha256(os.fsencode(file)).hexdigest()[:8]}"
    folder = str(file.parent)
    if folder not in sys.path:  # its neighbours can be imported, as when python runs the file
        sys.path.append(folder)
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name], LOADED[name] = module, file.stem
    IMPORTING.append(str(path))
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - somebody's file may raise anything
        del sys.modules[name]
        raise _broken(str(path), error) from None
    finally:
        IMPORTING.pop()
    return module


def _broken(what: str, error: BaseException) -> UsageError:
    text = str(error).strip().splitlines()
    words = f"{type(error).__name__}: {text[0]}" if text else type(error).__name__
    return UsageError(f"{what} cannot be imported: {words}", hint=_raised_at(error))


def _raised_at(error: BaseException) -> str:
    """Where somebody's code raised, without a traceback."""
    place = getattr(error, "__traceback__", None)
    own = None
    while place is not None:
        file = place.tb_frame.f_code.co_filename
        if "importlib" not in file and not file.endswith("resolve.py"):
            own = f"raised at {file}:{place.tb_lineno}; mend it there, and check again"
        place = place.tb_next
    if isinstance(error, SyntaxError) and error.filename:
        own = f"at {error.filename}:{error.lineno}; mend it there, and check again"
    return own or "install what is missing, and check again"


def _modules_here() -> list[str]:
    return [file.stem for file in Path().glob("*.py")]


def _meant(name: str, known: Iterable[str]) -> str:
    close = get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _what_there_is(names: list[str]) -> str:
    shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
    return f"it has: {shown}" if names else "it has no public names"
