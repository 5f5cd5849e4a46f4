"""Run folders: where they are, and how one run names another."""

import os
from pathlib import Path

from cleaner.files import assets, file_name
from cleaner.files import is_run_folder as is_run_folder  # part of this module's interface
from cleaner.files import runs_root as runs_root


def shipped_root() -> Path:
    """Return the folder of the example runs that ship with this project."""
    return assets() / "example"


def is_shipped(folder: Path) -> bool:
    """Return whether a run ships with this project: it is read only."""
    return folder.resolve().parent == shipped_root().resolve()


def resolve_run(name: str) -> str:
    """Return the folder of the stored run of this name; the name itself if it is a path, or no run has it."""
    folder = find_run(name)
    return str(folder) if not os.path.exists(name) and is_run_folder(folder) else name


def run_id(folder: Path) -> str:
    """Return the id by which another run names this one as its parent: folder name, or path outside the run store."""
    folder = folder.resolve()
    roots = (runs_root().resolve(), shipped_root().resolve())
    return folder.name if folder.parent in roots else str(folder)


def find_run(identity: str, sibling: Path | None = None) -> Path:
    """Return the folder of a run by its id or path; one next to `sibling` wins: they may have moved together."""
    own = runs_root() / identity  # the path itself, if it is absolute
    paths = [own] if os.path.isabs(identity) else []
    paths += [sibling.parent / file_name(identity)] if sibling is not None else []
    return next((path for path in (*paths, own, shipped_root() / identity) if os.path.exists(path)), own)
