"""Poison an image-text model, clean it with TA-Cleaner or another defense, and measure what changed."""

import errno
import os
import sys
from io import TextIOWrapper
from pathlib import Path

from cleaner.types import CleanerError

BROKEN_PIPE_STATUS = 141
"""What shells report for a program that writes to a closed pipe: `python -m cleaner list | head -1`."""


def main(arguments: list[str] | None = None) -> int:
    """Run one command; return 0, 2 after bad input or on a full disk (one sentence on stderr), 130 after Ctrl-C."""
    for stream in ("stdout", "stderr"):
        if getattr(sys, stream) is None:  # closed by the shell: >&-
            setattr(sys, stream, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115  # stays open
    if isinstance(sys.stdout, TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")  # a file or pipe on Windows lacks most signs of captions
    try:
        try:
            return _run(sys.argv[1:] if arguments is None else arguments)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        _discard_output()
        return BROKEN_PIPE_STATUS
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        _discard_output()
        print(f"error: the output cannot be written ({error.strerror}): free disk space first.", file=sys.stderr)
        return 2


def _discard_output() -> None:
    """Discard what could not be written: Python flushes once more at its exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run(arguments: list[str]) -> int:
    prog = "ta-cleaner" if Path(sys.argv[0]).stem == "ta-cleaner" else "python -m cleaner"
    try:
        from cleaner.cli.commands import run_command  # here, for Ctrl-C

        run_command(arguments, prog, __doc__)
    except CleanerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:
        print(str(stop) or "stopped", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
