"""Prepare the inspection pages for the run in view while the user reads another page."""

from pathlib import Path

from pages._shared import cache
from pages._shared.inspect.sample import ModelKey
from pages._shared.runs import job_requests
from pages._shared.shell import state

MAX_WARMED_BYTES = 100_000_000
"""Bytes of weights above which a model is not loaded in advance."""
MAX_WARMED_DEFENSES = 2
"""Defenses that a page shows first, at most."""


def warm_run_in_view() -> None:
    """Load models, data and attributions of the run in view in the background."""
    run = state.current_run()
    if run is None or not run.target_class or not _is_small(run.folder / "model.safetensors"):
        return
    models: list[ModelKey] = [("run", str(run.folder))]
    if run.clean_model:
        models.insert(0, ("clean", str(run.folder)))
    defended: list[ModelKey] = [("run", str(other.folder)) for other in state.defended_runs(run)[:MAX_WARMED_DEFENSES]]
    test = job_requests.read_test_data(run)
    clean = job_requests.find_clean_data(test)
    shown, others = (*models, *defended[:1]), tuple(defended[1:])
    cache.warm_inspection(cache.FirstView(run.folder, run.target_class, shown, others, test=test, clean=clean))


def _is_small(weights: Path) -> bool:
    try:
        return weights.stat().st_size <= MAX_WARMED_BYTES
    except OSError:  # gone
        return False
