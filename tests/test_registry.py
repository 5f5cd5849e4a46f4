"""Registries: lookup by name, labels, and what a class says about itself."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

from cleaner import labels
from cleaner.attacks import TRIGGERS
from cleaner.config import FinetuneConfig, to_dict
from cleaner.data.base import DATASETS
from cleaner.defenses import DEFENSES
from cleaner.detectors import DETECTORS
from cleaner.explain import EXPLAINERS
from cleaner.labels import to_label, to_words
from cleaner.registry import Registry
from cleaner.types import CleanerError

pytestmark = pytest.mark.quick

METHODS = [(registry, name) for registry in (TRIGGERS, DEFENSES, EXPLAINERS, DETECTORS) for name in registry]


def test_unknown_field_names_the_entry() -> None:
    with pytest.raises(CleanerError, match=r"'sig' has no parameter wobble.*takes .*frequency"):
        TRIGGERS.load({"name": "sig", "wobble": 3})


def test_numbers_of_numpy_become_plain_ones() -> None:
    trigger, config = TRIGGERS["badnet"](patch_size=np.int64(40)), FinetuneConfig(seed=np.int64(1), lr=np.float32(0.01))
    assert json.loads(json.dumps([trigger.state_dict()["patch_size"], to_dict(config)["seed"]])) == [40, 1]
    assert type(config.lr) is float


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epochs": True}, "epochs must be a whole number, not True"),
        ({"epochs": 2.5}, "epochs must be a whole number, not 2.5"),
        ({"lr": "fast"}, "lr must be a number, not 'fast'"),
        ({"lr": torch.ones(3)}, "lr must be a number, not tensor"),
        ({"freeze_bn": 1}, "freeze_bn must be True or False, not 1"),
    ],
)
def test_a_setting_of_another_type_is_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(CleanerError, match=re.escape(message)):
        FinetuneConfig(**values)


def test_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(CleanerError, match=r"trigger 'badnets' .*'badnet'.*blended"):
        TRIGGERS["badnets"]


def test_name_can_be_registered_once() -> None:
    registry: Registry[type] = Registry("thing", "cleaner.attacks")
    registry.register("x")(int)
    with pytest.raises(ValueError, match="'x'"):
        registry.register("x")(float)


def test_the_name_of_a_built_in_method_is_taken_before_the_first_lookup() -> None:
    code = """
from cleaner.registry import TRIGGERS
try:
    TRIGGERS.register("text")(int)
except ValueError as error:
    print(error, TRIGGERS["text"].__module__)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "the trigger 'text' is registered twice cleaner.attacks.text\n"


def test_a_class_defined_again_replaces_the_old_one() -> None:
    registry: Registry[type] = Registry("data set", "cleaner.attacks")

    def define() -> type:
        @registry.register("x")
        class Mine:
            pass

        return Mine

    old, new = define(), define()
    assert registry["x"] is new
    with pytest.raises(CleanerError, match=r"Mine is not .*@DATASETS\.register"):
        registry.name_of(old)


def test_a_class_outside_the_package_has_the_label_that_it_states(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labels, "REGISTERED_LABELS", {})

    class Mine:
        label = "My defense (X)"

    Registry[type]("defense", "cleaner.attacks").register("my_defense")(Mine)
    assert to_label("my_defense") == "My defense (X)"


def test_a_field_that_is_no_json_is_named() -> None:
    registry: Registry[type] = Registry("thing", "cleaner.attacks")

    @registry.register("x")
    @dataclass(frozen=True)
    class Mine:
        pattern: Any

    assert registry.state_of(Mine([1.5])) == {"name": "x", "pattern": [1.5]}
    with pytest.raises(CleanerError, match="pattern of the thing 'x' is a ndarray"):
        registry.state_of(Mine(np.zeros(2)))


def test_no_two_methods_share_a_name() -> None:
    names = [name for registry in (TRIGGERS, DEFENSES, EXPLAINERS, DETECTORS, DATASETS) for name in registry]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(("registry", "name"), METHODS, ids=[name for _, name in METHODS])
def test_label_read_from_the_file_is_that_of_the_class(registry: Registry[type], name: str) -> None:
    method = registry[name]
    assert to_label(name) == (method.label or to_words(name))


@pytest.mark.parametrize(("registry", "name"), METHODS, ids=[name for _, name in METHODS])
def test_source_and_definition_fit_a_table(registry: Registry[type], name: str) -> None:
    method = registry[name]
    assert re.fullmatch(r"((arXiv:\d{4}\.\d{4,5}|openreview:\w+|doi:10\.\d+/\S+)(, scikit-learn)?)?", method.source)
    definition = (method.__doc__ or "").splitlines()[0]
    assert 10 < len(definition) <= 110
    assert definition.endswith(".")
    assert definition[0].isupper()


def test_labels_of_methods_differ() -> None:
    labels = [to_label(name) for _, name in METHODS]
    assert len(labels) == len(set(labels))
