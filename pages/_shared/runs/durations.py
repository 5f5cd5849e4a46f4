"""The expected duration of runs, from those of earlier ones."""

from collections.abc import Sequence
from functools import reduce
from operator import add

from cleaner.evaluation import result
from cleaner.jobs import local, prediction
from cleaner.runs.request import Request
from cleaner.runs.store import list_runs
from pages._shared.inspect.sample import DataKey
from pages._shared.shell.progress import load_data_with_progress

UNKNOWN = "duration unknown until it has run for three seconds"


def describe_test(data: DataKey, target_class: str | None, queries: str = "images") -> str:
    """Return what the test data can resolve, as `evaluation.result.describe_test`."""
    return result.describe_test(load_data_with_progress(data, needs_images=False), target_class, queries)


def predict_total(requests: Sequence[Request]) -> prediction.Prediction | None:
    """Return the duration of runs one after the other; None unless all are known."""
    runs = list_runs()
    predictions = [prediction.predict(request, runs) for request in requests]
    known = [each for each in predictions if each is not None]
    return reduce(add, known) if known and len(known) == len(predictions) else None


def describe(requests: Sequence[Request]) -> str:
    """Return the duration of runs in words; the worker that waits for them renders the images of the first."""
    if requests and not local.has_active_runs():
        local.prepare(requests[0])
    if (total := predict_total(requests)) is not None:
        return str(total)
    return UNKNOWN
