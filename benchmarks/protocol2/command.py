"""python -m benchmarks.attack_defense --protocol 2: measure what is missing, one line of the result file after another.

Several processes may run it at the same time, and it can be killed at any time: a second call continues.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from benchmarks.json_lines import read_json_lines
from benchmarks.markdown.cells import Row
from benchmarks.protocol2 import plan, statement
from benchmarks.protocol2.measure import describe, measure
from benchmarks.protocol2.records import describe_processor, results_path
from benchmarks.protocol2.tasks import Log, Task, pending
from benchmarks.tasks import append_row, claimed
from cleaner.types import CleanerError

POLL_SECONDS = 10.0
"""Pause while other processes have all tasks that can start."""


def run(model: str, parts: Sequence[str], *, threads: int = 1, limit: int = 0, only_list: bool = False) -> None:
    """List what is missing, or measure it: all, or `limit` tasks."""
    if model not in plan.MODELS:
        raise CleanerError(f"protocol 2 has no plan for {model}: choose one of {', '.join(plan.MODELS)}.")
    unknown = set(parts) - plan.PARTS.keys()
    if unknown:
        raise CleanerError(f"unknown part {', '.join(sorted(unknown))}: choose {', '.join(plan.PARTS)}.")
    torch.set_num_threads(threads)
    statement.read_protocol()
    if only_list:
        list_missing(model, parts)
        return
    require_committed(statement.PATH)
    measure_missing(model, parts, limit=limit)


def require_committed(path: Path) -> None:
    """Raise `CleanerError` unless the file is in the last commit as it is."""
    folder, name = path.parent, path.name

    def git(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["git", "-C", str(folder), *arguments, "--", name], capture_output=True, text=True, check=False
        )

    if git("ls-files", "--error-unmatch").returncode or git("status", "--porcelain").stdout.strip():
        raise CleanerError(f"{name} is not committed: commit it before any test figure is measured.")


def list_missing(model: str, parts: Sequence[str]) -> None:
    """Print how many tasks are missing, as far as they are known."""
    tasks = pending(model, Log(read_json_lines(results_path(model)), describe_processor()), tuple(parts))
    for (kind, attack), count in Counter((task.kind, task.attack) for task in tasks).items():
        print(f"{kind:14} {attack:10} {count}")
    print(f"{len(tasks)} tasks known to be missing; next: {describe(tasks[0]) if tasks else 'none'}")


def measure_missing(
    model: str, parts: Sequence[str], *, limit: int = 0, measure_task: Callable[[str, Task], Row] = measure
) -> int:
    """Measure missing tasks in order until none is left, or `limit` were measured; return their number."""
    path, processor, done = results_path(model), describe_processor(), 0
    while not limit or done < limit:
        tasks = pending(model, Log(read_json_lines(path), processor), tuple(parts))
        if not tasks:
            break
        if measure_first_free(model, tasks, path, measure_task):
            done += 1
        else:
            time.sleep(POLL_SECONDS)
    return done


def measure_first_free(
    model: str, tasks: Sequence[Task], path: Path, measure_task: Callable[[str, Task], Row] = measure
) -> bool:
    """Measure the first task that can start and no other process has; return whether there was one.

    A task can start when its backdoored model was measured.
    """
    missing = set(tasks)
    for task in tasks:
        if task.method and task.suspect in missing:
            continue
        with claimed(path, str(asdict(task))) as is_mine:
            if not is_mine or Log(read_json_lines(path), describe_processor()).find(task) is not None:
                continue
            sys.stderr.write(f"[{os.getpid()}] {describe(task)}; {len(tasks)} known to be missing\n")
            append_row(path, measure_task(model, task))
            return True
    return False
