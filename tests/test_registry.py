"""Registries: an instance becomes name and fields, and comes back from them."""

from __future__ import annotations

import json

import pytest

from cleaner.attacks import TRIGGERS
from cleaner.defenses import DEFENSES
from cleaner.types import CleanerError


def test_name_and_fields_make_the_same_instance_again() -> None:
    for registry, entry in ((TRIGGERS, TRIGGERS["sig"](frequency=9)), (DEFENSES, DEFENSES["ta_cleaner"](share=0.3))):
        state = json.loads(json.dumps(registry.state_of(entry)))
        assert registry.load(state) == entry
        assert state == registry.state_of(entry)


def test_a_field_of_another_version_gets_one_sentence() -> None:
    with pytest.raises(CleanerError, match="trigger 'sig' was written by another version"):
        TRIGGERS.load({"name": "sig", "wobble": 3})
