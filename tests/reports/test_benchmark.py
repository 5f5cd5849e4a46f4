"""The project's own comparison as records: its cells, its parts, its curves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cleaner.reports import aggregate, benchmark
from cleaner.reports.benchmark import BenchmarkRecord
from cleaner.reports.tables import to_row


def make_record(method: str, attack: str = "badnet", **config: Any) -> BenchmarkRecord:
    stage = "defended" if method else "backdoored"
    settings = {"stage": stage, "trigger": {"name": attack}, "defense": {"name": method.split()[0]} if method else None}
    return BenchmarkRecord.from_config(Path(method), {**settings, **config}, method=method, measured={})


def test_cells_are_records_like_runs() -> None:
    cells = benchmark.read_benchmark_records()
    assert {None, "finetune", "cleanclip", "ta_cleaner", "ta_cleaner K 100 %"} <= {cell.defense for cell in cells}
    one = next(cell for cell in cells if cell.defense == "ta_cleaner K 100 %")
    assert aggregate.describe_run(one).startswith("BadNet patch: TA-Cleaner, K 100%, lr 0.001")
    assert (one.stage, one.target_class, one.attack, one.lr) == ("defended", "banana", "badnet", 1e-3)
    assert one.metric("asr") is not None
    assert one.commit
    assert one.device
    assert to_row(one)["defense"] == "ta_cleaner K 100 %"
    assert {cell.stage for cell in cells if cell.defense is None} == {"backdoored"}


def test_a_part_of_the_table_comes_with_its_references() -> None:
    def cell(part: str, method: str, lr: float, attack: str = "badnet") -> BenchmarkRecord:
        return make_record(method, attack, part=part, finetune={"lr": lr})

    cells = [
        cell("comparison", "", 1e-3),
        cell("comparison", "cleanclip", 3e-4),
        cell("comparison", "ta_cleaner", 1e-3),
        cell("fixed rates", "cleanclip at 1e-3", 1e-3),
        cell("ablations", "ta_cleaner without t2t", 2e-3),
        cell("comparison", "", 1e-3, "sig"),
        cell("comparison", "ta_cleaner", 1e-3, "sig"),
        cell("other triggers", "", 1e-3, "text"),
        cell("other triggers", "ta_cleaner", 1e-3, "text"),
    ]

    def selected(name: str) -> list[str | None]:
        return [record.defense for record in benchmark.select_part(cells, name)]

    assert selected("comparison") == [None, "cleanclip", "ta_cleaner", None, "ta_cleaner"]
    assert selected("fixed rates") == [None, "ta_cleaner", "cleanclip at 1e-3"]
    assert selected("ablations") == [None, "ta_cleaner", "ta_cleaner without t2t"]
    assert selected("other triggers") == [None, "ta_cleaner"]


def test_curves_of_the_defenses_that_were_watched() -> None:
    curve = [{"step": 93, "ca": 0.9, "asr": 0.5}, {"step": 186, "ca": 0.9, "asr": 0.1}]
    plain = make_record("finetune")
    watched = plain.model_copy(update={"curve": curve})
    assert benchmark.plot_removal([plain]) is None
    (line,) = benchmark.plot_removal([watched, plain]).data
    assert (line.name, list(line.y)) == ("Plain finetuning", [0.5, 0.1])
    _, mean = benchmark.plot_removal([watched, plain, watched]).data
    assert (mean.name, list(mean.y)) == ("Plain finetuning (2 runs)", [0.5, 0.1])
