"""Request: all that a run is asked to do, as plain values; what config.json holds before and after the run."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from cleaner.config import FinetuneConfig
from cleaner.types import CleanerError

TEST_SIZE = 2000
"""Test pairs that a run is measured on, unless it says otherwise."""


@dataclass(frozen=True)
class Request:
    """A poisoning ("backdoored"), a defence or a rebound test ("defended") that any machine can do, and do again.

    Attributes:
        stage: what comes out, "backdoored" or "defended".
        data, pairs: name of the data as `load_data` takes it, and how many of its pairs are trained on.
        data_options: what else `load_data` is told; files are named by absolute paths (`data.base.located`).
        model: model to poison, or suspicious model; None where the model of the run `parent` is defended.
        parent: id of the run that it starts from (`runs.run_id`): a backdoored one, for a rebound test a defended one.
        trigger, defense: their `state_dict()`.
        rebound: for a rebound test of `finetune.steps` steps, the `state_dict()` of the defence that it checks.
        validation_size: pairs behind the figures while it runs; test_size: pairs behind those at its end, None: all.
        sweep: id of the set of runs it belongs to (`cleaner.jobs.sweep`); empty: none.
        map: whether the map of its features (`cleaner.inspection.embedding_map`) is made at its end, while it still has its device.
    """

    stage: str
    data: str
    pairs: int
    finetune: FinetuneConfig
    model: str | None = None
    parent: str | None = None
    trigger: dict[str, Any] | None = None
    target_class: str | None = None
    poison_rate: float = 0.02
    clean_label: bool = False
    defense: dict[str, Any] | None = None
    validation_size: int = 500
    test_size: int | None = TEST_SIZE
    data_options: dict[str, Any] = field(default_factory=dict)
    sweep: str = ""
    map: bool = False
    rebound: dict[str, Any] | None = None

    def initial_config(self) -> dict[str, Any]:
        """Return what a run's config.json says before the run: what lists show, and the request itself."""
        shown: dict[str, Any] = {
            "stage": self.stage,
            "trigger": self.trigger,
            "target_class": self.target_class,
            "defense": self.defense,
            "parent": self.parent,
            "data_name": self.data,
            "data_options": self.data_options,
            "pairs": self.pairs,
            "test_size": self.test_size,
            "finetune": asdict(self.finetune),
            "sweep": self.sweep,
            "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
        if self.stage == "backdoored":
            shown |= {"clean_model": self.model, "poison_rate": self.poison_rate, "clean_label": self.clean_label}
        if self.rebound is not None:
            shown["rebound"] = {"steps": self.finetune.steps, "after": self.rebound}
        return {**shown, "request": asdict(self)}


def load_request(config: Mapping[str, Any]) -> Request:
    """Return the request in a run's config. Raises `CleanerError` if there is none or it is not understood."""
    try:
        values = dict(config["request"])
        return Request(**{**values, "finetune": FinetuneConfig(**values["finetune"])})
    except (KeyError, TypeError, AttributeError) as error:
        raise CleanerError(
            f"the config.json of this run does not say what is to be done ({error!r}): make the run anew."
        ) from error


def get_test_data(config: Mapping[str, Any]) -> tuple[str, dict[str, Any], int]:
    """Return name and options of a run's data, and the size of the test split it was measured on."""
    data = str(config.get("data", "scenes"))  # with its split; a file's name has more than one "/"
    name = config.get("data_name") or data.rpartition("/")[0] or data
    return str(name), dict(config.get("data_options") or {}), int(config.get("test_size") or TEST_SIZE)


def make_rebound_request(
    config: Mapping[str, Any],
    parent: str,
    data: tuple[str, dict[str, Any]],
    pairs: int,
    test_size: int | None,
    finetune: FinetuneConfig,
) -> Request:
    """Return the rebound test of the defence with this config: plain finetuning on `data`, then measured again."""
    return Request(
        "defended",
        data[0],
        pairs,
        finetune,
        parent=parent,
        trigger=config.get("trigger"),
        target_class=config.get("target_class"),
        defense={"name": "finetune"},
        test_size=test_size,
        data_options=data[1],
        rebound=config.get("defense") or {},
    )


def parse_data(text: str) -> tuple[str, dict[str, Any]]:
    """Return name and options of data written in one line: "pairs.csv classes=cat,dog"; a name's spaces need quotes."""
    if os.path.exists(text):
        return text, {}
    words = shlex.shlex(text, posix=True, punctuation_chars="")
    words.whitespace_split, words.escape, words.commenters = True, "", ""
    try:
        found = list(words)
    except ValueError as error:
        raise CleanerError(f"the data {text!r} are not understood: a quotation mark is missing.") from error
    return parse_data_arguments(found)


def parse_data_arguments(arguments: Sequence[str]) -> tuple[str, dict[str, Any]]:
    """Return name and options of `NAME key=value ...`: `["pairs.csv", "classes=cat,dog"]`.

    Values stay words: only the source (`load_data`) knows which of them are numbers.
    """
    if not arguments:
        raise CleanerError("name the data: scenes, a table, a folder of pictures, a .tar or a .zip.")
    options: dict[str, Any] = {}
    for word in arguments[1:]:
        key, equals, value = word.partition("=")
        if not equals:
            raise CleanerError(f"{word!r} is no option of the data {arguments[0]}: write key=value.")
        if key in ("name", "on_step"):
            raise CleanerError(f"{key!r} is no option of the data {arguments[0]}.")
        if key in ("split", "size"):
            raise CleanerError(f"the {key} is chosen for each use of the data: leave {word} out.")
        options[key] = value
    return arguments[0], options


def format_data(name: str, options: Mapping[str, Any]) -> str:
    """Return data in one line, which `parse_data` reads."""
    return " ".join(shlex.quote(word) for word in (name, *(f"{key}={value}" for key, value in options.items())))
