"""The app's server with a window into its shared models: python -m benchmarks.sessions_server run app.py ...

Takes the arguments of Streamlit's command. When the file `REQUEST` appears in the folder of runs, it writes facts about
each shared model in memory to `ANSWER`.
"""

from __future__ import annotations

import importlib
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

from streamlit.web import cli

from cleaner.files import write_json

REQUEST, ANSWER = ".models-request", ".models.json"
"""Files in the folder of runs; lists of runs skip names that begin with a dot."""
POLL_SECONDS = 0.3


def describe_models() -> dict[str, dict[str, Any]]:
    """Return name -> SHA-256 of the weights, and what a computation may leave in a model by mistake."""
    # By name: pages are not written for mypy's strict mode, which would follow an import.
    models = importlib.import_module("pages._shared.cache.model_cache").shared_models().snapshot()
    return {
        name: {
            "sha256": clip.sha256(),
            "is_training": any(module.training for module in clip.model.modules()),
            "hooks": sum(len(m._forward_hooks) + len(m._backward_hooks) for m in clip.model.modules()),
            "has_gradients": any(parameter.grad is not None for parameter in clip.model.parameters()),
        }
        for name, clip in models.items()
    }


def answer_requests(folder: Path) -> None:
    """Answer each request; never returns."""
    while True:
        if (folder / REQUEST).exists():
            (folder / REQUEST).unlink()
            write_json(folder / ANSWER, describe_models())
        time.sleep(POLL_SECONDS)


if __name__ == "__main__":
    threading.Thread(target=answer_requests, args=(Path(os.environ["CLEANER_RUNS"]),), daemon=True).start()
    sys.argv[0] = "streamlit"
    cli.main()
