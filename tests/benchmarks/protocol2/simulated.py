"""Simulated measurements: lines of the result file without any training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from benchmarks.protocol2 import plan
from benchmarks.protocol2.tasks import Log, Task, pending

PROCESSOR = {"name": "a processor", "flags": ["avx2"], "kernels": "AVX2", "threads": 1}
OTHER_PROCESSOR = {"name": "another processor", "flags": [], "kernels": "DEFAULT", "threads": 1}
BACKDOORED_CA = 0.98


def simulate(task: Task, **changes: Any) -> dict[str, Any]:
    """Return a line: every attack takes with a low floor, higher rates cost more accuracy and remove more."""
    loss = 4 * task.lr if task.method else 0.0
    ca, asr = BACKDOORED_CA - loss, max(0.02, 0.97 - 200 * task.lr) if task.method else 0.97
    row = {"task": asdict(task), "processor": PROCESSOR, "ca": ca, "backdoored_ca": BACKDOORED_CA, "asr": asr}
    return {**row, "floor": 0.01, "commit": "abc", **changes}


def measure_all(
    model: str,
    parts: Sequence[str] = (),
    *,
    rows: Sequence[dict[str, Any]] = (),
    simulated: Callable[[Task], dict[str, Any]] = simulate,
    processor: dict[str, Any] = PROCESSOR,
) -> list[dict[str, Any]]:
    """Return the lines after everything that was missing was measured, in the order of measuring."""
    lines = list(rows)
    while tasks := pending(model, Log(lines, processor), tuple(parts)):
        done = {Task(**row["task"]) for row in lines if row["processor"] == processor}
        for task in tasks:
            assert not task.method or task.suspect in done or task.suspect in tasks
            lines.append(simulated(task))
            done.add(task)
    return lines


def is_attack_trial(task: Task, attack: str = "", target: str = "") -> bool:
    """Return whether a task is a trial of this attack on this target; empty: of any."""
    return task.kind == "attack trial" and attack in ("", task.attack) and target in ("", task.target)


FIRST_TARGET, SECOND_TARGET = plan.draw_targets()[:2]
