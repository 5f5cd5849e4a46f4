"""benchmarks.growth: the exponent, the memory of an operation, and one measurement."""

import json
import subprocess
import sys

import pytest

from benchmarks import growth


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0])
def test_the_exponent_is_the_slope_of_the_largest_sizes(exponent: float) -> None:
    points = [{"size": n, "seconds": n**exponent} for n in (10, 100, 1000)]
    assert growth.fit_exponent([{"size": 1, "seconds": 50.0}, *points]) == exponent


ALLOCATION = """
import time, numpy
from benchmarks import growth
with growth.peak_memory() as memory:
    block = numpy.ones(10**7)
    time.sleep(4 * growth.POLL_SECONDS)
print(memory["mb"])
"""


def test_memory_is_what_was_allocated_meanwhile() -> None:
    process = subprocess.run([sys.executable, "-c", ALLOCATION], capture_output=True, text=True, check=True)
    assert float(process.stdout) == pytest.approx(80, abs=8)


def test_a_map_of_few_pairs_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    growth.run_once("map", "pairs", 200)
    row = json.loads(capsys.readouterr().out)
    assert row["seconds"] > 0
    assert row["mb"] >= 0
