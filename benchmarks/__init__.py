"""Programs that measure this project; what they print is in benchmarks/results."""

from pathlib import Path

RESULTS_DIR = Path(__file__).with_name("results")
