"""Run commands, show the Overview page and train a run with an installed package: a script of tests/test_wheel.py."""

from __future__ import annotations

import io
import json
import sys
import time
from contextlib import redirect_stdout

from streamlit.config import set_option
from streamlit.testing.v1 import AppTest

from cleaner import files
from cleaner.__main__ import main as run_command
from cleaner.config import FinetuneConfig
from cleaner.jobs import local
from cleaner.runs.request import Request
from cleaner.runs.status import ACTIVE
from cleaner.runs.store import create_run

PAIRS = 16
REQUEST = Request(
    "backdoored",
    "scenes",
    PAIRS,
    FinetuneConfig(epochs=1, batch_size=PAIRS, precision="fp32"),
    "scenes-rn",
    trigger={"name": "badnet"},
    target_class="banana",
    poison_rate=0.5,
    validation_size=10,
    test_size=10,
)
COMMANDS = {
    "list": ["list"],
    "evaluate": ["evaluate", "scenes-rn", "--test-pairs", "40", "--json"],
    "presets": ["presets", "--json"],
}


def read_output(arguments: list[str]) -> str:
    with redirect_stdout(io.StringIO()) as output:
        assert run_command(arguments) == 0
    return output.getvalue()


def main() -> None:
    run = create_run(REQUEST)
    local.start(run)
    set_option("server.address", "127.0.0.1")  # as `ta-cleaner app` does
    script = files.app_file()
    sys.path.insert(0, str(script.parent))  # as `streamlit run` does
    app = AppTest.from_file(str(script), default_timeout=120).run()
    commands = {name: read_output(arguments) for name, arguments in COMMANDS.items()}
    while local.poll_status(run).state in ACTIVE:
        time.sleep(0.2)
    result = {
        **commands,
        "files": [str(path) for path in (files.__file__, script, files.shipped_assets())],
        "exceptions": [error.message for error in app.exception],
        "title": [title.value for title in app.title],
        "in_view": app.sidebar.selectbox[0].value,
        "state": local.poll_status(run).state,
        "log": (run / "log.txt").read_text(encoding="utf-8"),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
