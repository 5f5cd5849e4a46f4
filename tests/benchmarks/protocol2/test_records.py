"""A line states the processor that it was measured on."""

from __future__ import annotations

from benchmarks.protocol2.records import describe_processor


def test_the_processor_is_described() -> None:
    described = describe_processor()
    assert described["name"]
    assert described["threads"] >= 1
