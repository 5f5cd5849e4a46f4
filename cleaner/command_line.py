"""Command lines of this project, as messages and pages show them."""

import shlex
import subprocess
import sys
from collections.abc import Sequence


def join_command(words: Sequence[str], platform: str = sys.platform) -> str:
    """Return a command line for the shell of the platform: that of Windows takes no single quotes."""
    return subprocess.list2cmdline(words) if platform == "win32" else shlex.join(words)


def cleaner_command(*words: str) -> str:
    """Return a command of this project as a command line."""
    return join_command(["python", "-m", "cleaner", *words])
