"""Request: what a run is to do, as plain values; config.json holds it before and after the run."""

import json
import os
import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from typing import Any

from pydantic import TypeAdapter, ValidationError

from cleaner.config import FinetuneConfig
from cleaner.labels import FLAGGED_DEFENSE
from cleaner.presets import POISON_RATE
from cleaner.types import CleanerError

TEST_SIZE = 2000
"""Default number of test pairs that a run is measured on."""
HUB_PREFIX = "hf:"
"""Of the names of data that are downloaded unless told otherwise (`data.huggingface.HubData`)."""


@dataclass(frozen=True)
class Request:
    """A poisoning ("backdoored"), a defense or a rebound test ("defended") that any machine can run and repeat.

    Attributes:
        stage: kind of model that results, "backdoored" or "defended".
        data, pairs: name of the data as `load_data` takes it, and the number of training pairs.
        data_options: other options of `load_data`; paths of files are absolute (`data.base.resolve_data_paths`).
        model: model to poison, or suspicious model; None if the model of the run `parent` is defended.
        parent: id (`runs.folders.run_id`) of the run to start from: backdoored, or defended for a rebound test.
        trigger, defense: their `state_dict()`.
        poison_rate: share of poisoned pairs, or from 1 their number.
        rebound: for a rebound test of `finetune.steps` steps, the `state_dict()` of the defense that it checks.
        validation_size: pairs of the metrics during training; test_size: pairs of those at the end, None: all.
        sweep: id of the sweep that it belongs to (`cleaner.jobs.sweep`); empty: none.
        map: whether to compute its embedding map (`inspection.embedding_map`) at the end, on the same device.
        film: whether to keep frames of the training (`runs.film`).
        excluded: to train the model before poisoning again: training pairs of the run `parent` that are left out;
            `pairs` then counts the others.
    """

    stage: str
    data: str
    pairs: int
    finetune: FinetuneConfig
    model: str | None = None
    parent: str | None = None
    trigger: dict[str, Any] | None = None
    target_class: str | None = None
    poison_rate: float = POISON_RATE
    clean_label: bool = False
    defense: dict[str, Any] | None = None
    validation_size: int = 500
    test_size: int | None = TEST_SIZE
    data_options: dict[str, Any] = field(default_factory=dict)
    sweep: str = ""
    map: bool = False
    rebound: dict[str, Any] | None = None
    film: bool = True
    excluded: list[int] | None = None

    @property
    def poison_share(self) -> float:
        """The share of poisoned pairs, also where `poison_rate` is their number."""
        return self.poison_rate if self.poison_rate < 1 else self.poison_rate / max(self.pairs, 1)

    def initial_config(self) -> dict[str, Any]:
        """Return the content of config.json before the run: what lists show, and the request itself."""
        config: dict[str, Any] = {
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
            config |= {"clean_model": self.model, "poison_rate": self.poison_share, "clean_label": self.clean_label}
        if self.rebound is not None:
            config["rebound"] = {"steps": self.finetune.steps, "after": self.rebound}
        return {**config, "request": asdict(self)}


def load_request(config: Mapping[str, Any]) -> Request:
    """Return the request in a run's config. Raises `CleanerError` if it is missing or invalid."""
    try:
        values = dict(config["request"])
        request = Request(**{**values, "finetune": FinetuneConfig(**values["finetune"])})
        _request_type().validate_json(json.dumps(asdict(request)), strict=True)
    except ValidationError as error:
        name = ".".join(map(str, error.errors(include_url=False, include_context=False, include_input=False)[0]["loc"]))
        raise CleanerError(f"the request of this run has an invalid {name}: delete the run and start again.") from error
    except CleanerError:
        raise
    except (KeyError, TypeError, AttributeError, ValueError, ArithmeticError) as error:
        raise CleanerError(
            f"the config.json of this run has no valid request ({error!r}): delete the run and start another one."
        ) from error
    return request


def as_poisoning(request: Request) -> Request:
    """Return the poisoning that takes the same time as a training without flagged pairs; others as they are."""
    if request.excluded is None:
        return request
    return replace(request, stage="backdoored", parent=None, defense=None, excluded=None)


@cache
def _request_type() -> TypeAdapter[Request]:
    return TypeAdapter(Request)


def get_test_data(config: Mapping[str, Any]) -> tuple[str, dict[str, Any], int | None]:
    """Return name and options of a run's data, and the number of its test pairs at most; None: all of the split.

    A run may come from elsewhere: the data that it names are not downloaded.
    """
    name = str(config.get("data_name") or strip_split(str(config.get("data", "scenes"))))
    stated, size = config.get("data_options"), config.get("test_size", TEST_SIZE)
    options = {key: value for key, value in stated.items() if key != "download"} if isinstance(stated, Mapping) else {}
    if name.startswith(HUB_PREFIX):
        options["download"] = False
    return name, options, size if size is None or isinstance(size, int) else TEST_SIZE


def require_test_data(config: Mapping[str, Any]) -> tuple[str, dict[str, Any], int | None]:
    """Return what `get_test_data` does. Raises `CleanerError` for a run that was trained on all pairs of its data."""
    if trains_on_all(config):
        raise CleanerError(
            f"this run was trained on all pairs of {strip_split(str(config['data']))}, which are no test of it: name "
            "other data with --data."
        )
    return get_test_data(config)


def trains_on_all(config: Mapping[str, Any]) -> bool:
    """Return whether a run took its pairs from all splits, as runs of the former command recipe: no test is left."""
    return str(config.get("data")).endswith("/all")


def strip_split(source: str) -> str:
    """Return the name of data without its split: "scenes/train" -> "scenes"; the name of a file may contain "/"."""
    return source.rpartition("/")[0] or source


def make_rebound_request(
    config: Mapping[str, Any],
    parent: str,
    data: tuple[str, dict[str, Any]],
    *,
    pairs: int,
    test_size: int | None,
    finetune: FinetuneConfig,
) -> Request:
    """Return the rebound test of the defense with this config: plain finetuning on `data`, then the same test."""
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


def make_retrain_request(
    config: Mapping[str, Any], parent: str, excluded: Sequence[int], detector: str, *, total: int
) -> Request:
    """Return the request that repeats the backdoored run with this config without the pairs `excluded` of `total`."""
    name, options, test_size = get_test_data(config)
    stated = (config.get("request") or {}).get("validation_size", Request.validation_size)
    return Request(
        "defended",
        name,
        pairs=total - len(excluded),
        finetune=replace(FinetuneConfig(**config["finetune"]), device="auto"),  # this machine may lack that of the run
        model=config.get("clean_model"),
        parent=parent,
        trigger=config.get("trigger"),
        target_class=config.get("target_class"),
        poison_rate=config.get("poison_rate", Request.poison_rate),
        clean_label=bool(config.get("clean_label")),
        defense={"name": FLAGGED_DEFENSE, "detector": detector, "flagged": len(excluded)},
        validation_size=stated,
        test_size=test_size,
        data_options=options,
        map=True,
        excluded=sorted(excluded),
    )


def parse_data(text: str) -> tuple[str, dict[str, Any]]:
    """Return name and options of data in one line: "pairs.csv classes=cat,dog"; names with spaces need quotes."""
    if os.path.exists(text):
        return text, {}
    try:
        arguments = split_words(text)
    except ValueError as error:
        raise CleanerError(f"the data {text!r} lack a closing quotation mark: add it.") from error
    return parse_data_arguments(arguments)


def split_words(text: str) -> list[str]:
    r"""Return the words of a line, in which quotes group words and C:\pairs.csv stays a path.

    Raises `ValueError` if a closing quotation mark is missing.
    """
    lexer = shlex.shlex(text, posix=True, punctuation_chars="")
    lexer.whitespace_split, lexer.escape, lexer.commenters = True, "", ""
    return list(lexer)


def parse_data_arguments(arguments: Sequence[str]) -> tuple[str, dict[str, Any]]:
    """Return name and options of `NAME key=value ...`: `["pairs.csv", "classes=cat,dog"]`.

    Values stay text: only the data source knows which of them are numbers.
    """
    if not arguments:
        raise CleanerError("name the data: scenes, a table, a folder of images, a .tar or a .zip.")
    options: dict[str, Any] = {}
    for word in arguments[1:]:
        key, equals, value = word.partition("=")
        if not equals:
            raise CleanerError(f"{word!r} is not an option of the data {arguments[0]}: write key=value.")
        if key in ("name", "on_step"):
            raise CleanerError(f"{key!r} is not an option of the data {arguments[0]}: leave it out.")
        if key in ("split", "size"):
            raise CleanerError(f"the {key} is chosen for each use of the data: leave {word} out.")
        options[key] = value
    return arguments[0], options


def format_data(name: str, options: Mapping[str, Any]) -> str:
    """Return data in one line, as `parse_data` reads it."""
    return " ".join(shlex.quote(word) for word in (name, *(f"{key}={value}" for key, value in options.items())))
