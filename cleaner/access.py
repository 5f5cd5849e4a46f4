"""Who may use the app, and which files it may read: a password, CLEANER_DATA_ROOTS, or public mode."""

import os
from collections.abc import Callable, Iterable
from ipaddress import ip_address
from pathlib import Path

from cleaner.files import assets, cache_root, runs_root, shipped_assets
from cleaner.types import CleanerError

PASSWORD = "CLEANER_PASSWORD"
"""Environment variable with the password of the app. If it is set, everyone needs it, on this machine too."""
MIN_PASSWORD_LENGTH = 8
DATA_ROOTS = "CLEANER_DATA_ROOTS"
"""Environment variable with the folders that the app may read, separated as in PATH; unset: all."""

PUBLIC = "CLEANER_PUBLIC"
"""Environment variable that turns on public mode: everyone may use the app, with built-in models and data only."""
PUBLIC_UPLOAD_MB = 5
"""Largest upload in public mode."""
INSTALL = "install TA-Cleaner Lab on your own machine for that."
"""What a refusal of public mode ends with."""


def is_public() -> bool:
    """Return whether the app is in public mode."""
    return os.environ.get(PUBLIC, "") not in ("", "0")


def validate_built_in(name: str, list_built_in: Callable[[], Iterable[str]]) -> None:
    """Raise `CleanerError` in public mode for a name that is not built in."""
    if is_public() and name not in list_built_in():
        raise CleanerError(f"{name[:200]} is not built in, and a public server reads nothing else: {INSTALL}")


def refuse_in_public(what: str) -> None:
    """Raise `CleanerError` in public mode; what: the subject of the sentence."""
    if is_public():
        raise CleanerError(f"{what} takes more time than a public server gives: {INSTALL}")


def is_loopback(address: str) -> bool:
    """Return whether only this machine reaches a server at this address; a host name may resolve to anything."""
    try:
        return address == "localhost" or ip_address(address.strip("[]")).is_loopback
    except ValueError:
        return False


def allowed_folders() -> list[Path]:
    """Return the folders of CLEANER_DATA_ROOTS; empty if the app may read all, or in public mode none."""
    roots = "" if is_public() else os.environ.get(DATA_ROOTS, "")
    return [Path(root).resolve() for root in roots.split(os.pathsep) if root]


def validate_allowed(path: str | Path) -> None:
    """Raise `CleanerError` for a path outside the folders of CLEANER_DATA_ROOTS, if set, or for any in public mode.

    Links are followed. Runs, cache and shipped files are always allowed. The message does not tell whether the path
    exists.
    """
    if not is_public() and not os.environ.get(DATA_ROOTS):  # a value without a folder, such as ":", allows none
        return
    own = [Path(os.path.realpath(folder)) for folder in (runs_root(), cache_root(), assets(), shipped_assets())]
    real = Path(os.path.realpath(path))
    if any(real.is_relative_to(folder) for folder in (*allowed_folders(), *own)):
        return
    if is_public():
        raise CleanerError(f"{str(path)[:200]} cannot be read, as this server is public: {INSTALL}")
    raise CleanerError(
        f"{str(path)[:200]} is outside the folders that this server may read ({DATA_ROOTS}): move it into one of "
        "them, or upload it."
    )
