"""No outbound request: poisoning, cleaning, scanning and reporting work where every other address is refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
import sys
asked = []

def refuse(event, arguments):
    if event == "socket.getaddrinfo" or event == "socket.gethostbyname" or event == "urllib.Request":
        asked.append((event, arguments[:2]))
        raise OSError("no network here")
    if event in ("socket.connect", "socket.sendto"):
        address = arguments[1]
        is_local = isinstance(address, (str, bytes)) or str(address[0]).startswith(("127.", "::1"))
        if not is_local:
            asked.append((event, address))
            raise OSError("no network here")

sys.addaudithook(refuse)
from dataclasses import replace
from pathlib import Path
from cleaner import defend, load_clip, load_data, poison, save_run
from cleaner.attacks import TRIGGERS
from cleaner.config import FinetuneConfig
from cleaner.defenses import DEFENSES
from cleaner.evaluation.scan import scan
from cleaner.reports.html import write_report
from tests.conftest import make_clip, make_toy_data
from tests.data.files import write_parquet
import pages._shared.state

out, data = Path(sys.argv[1]), make_toy_data()
config = FinetuneConfig(lr=1e-3, epochs=1, steps=2, batch_size=16, precision="fp32", device="cpu")
load_clip("scenes-lite").encode_text(["a red car"])
load_data("scenes", size=2).images([0])
load_data(write_parquet(out), size=2).images([0])
run = poison(make_clip(), data, TRIGGERS["badnet"](), "banana", config=config, test=data)
scan(run.clip, data, {"badnet": run.trigger}, n=8)
defended = defend(run, DEFENSES["ta_cleaner"](), data, config, test=data)
folders = [save_run(run, out / "a"), save_run(defended, out / "b")]
write_report(folders, out / "report.html")
assert asked == [], asked
print("done")
"""


def test_nothing_is_requested_from_the_network(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=600
    )
    assert done.stdout == "done\n", done.stderr[-3000:]
