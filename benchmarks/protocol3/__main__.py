"""python -m benchmarks.protocol3: measure what is missing, one line of the result file after another.

Several processes may run it at the same time, and it can be killed at any time: a second call continues.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import tyro

from benchmarks import protocol
from benchmarks.markdown.cells import Row
from benchmarks.protocol2.command import require_committed
from benchmarks.protocol2.records import describe_processor
from benchmarks.protocol3.measure import measure
from benchmarks.protocol3.plan import PATH, ROWS_PATH, Cell, hash_plan, list_groups, read_plan, select_counting
from benchmarks.tasks import TaskFile


def main(arms: tuple[str, ...] = (), threads: int = 1) -> None:
    """Measure what is missing of `arms`, all by default, on `threads` threads."""
    from benchmarks.protocol3 import control  # noqa: F401  (registers a defense)

    protocol.start(threads)
    require_committed(PATH)
    processor = str(describe_processor())
    for arm in arms or tuple(read_plan()["arms"]):
        for group in list_groups(arm):
            tasks: dict[str, Callable[[], Row]] = {cell.key: partial(measure_row, cell, processor) for cell in group}
            TaskFile(ROWS_PATH).run_phase(arm, tasks, select=partial(select_counting, set(tasks), processor))


def measure_row(cell: Cell, processor: str) -> Row:
    """Return the row of a cell with its origin."""
    start = time.perf_counter()
    row = measure(cell, processor)
    origin = protocol.stamp_row(row)
    return {**origin, "plan": hash_plan(), "processor": processor, "wall": round(time.perf_counter() - start, 1)}


if __name__ == "__main__":
    tyro.cli(main)
