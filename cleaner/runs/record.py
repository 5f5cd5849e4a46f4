"""RunRecord: what the JSON files of a run folder say, as one validated object. Loads no model and no torch."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from pydantic import Field, ValidationError, field_validator

from cleaner.evaluation.metric_row import is_meaningful
from cleaner.evaluation.result import METRICS, MIN_VERDICT_IMAGES, Interval, Metrics, format_protocol
from cleaner.evaluation.verdict import attack_verdict
from cleaner.files import file_name
from cleaner.labels import FLAGGED_DEFENSE, NO_DEFENSE, VERDICT_SENTENCES
from cleaner.runs.folders import is_shipped
from cleaner.runs.integrity import HASHES_KEY, find_changed_files
from cleaner.runs.parts import (
    Component,
    FinetuneSettings,
    Number,
    ReboundRecord,
    RequestRecord,
    StrictModel,
    first_invalid_field,
    read_metrics,
)
from cleaner.runs.request import TEST_SIZE, strip_split
from cleaner.runs.status import Status
from cleaner.types import CleanerError
from cleaner.variant import Variant

SCHEMA_VERSION = 2
"""2: config.json is written before the run, status.json says whether the run is finished. Schema 1 is read too."""
WRITTEN_LAST = ("schema", HASHES_KEY)
"""Keys of config.json that are added when the run is written."""
R = TypeVar("R", bound="RunRecord")


def list_configs(config: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the config of a run and those of the runs behind it: of a rebound test, its own, defense and attack."""
    configs = [config]
    while isinstance(suspect := configs[-1].get("suspect"), Mapping):
        configs.append(suspect)
    return configs


def find_attack_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the config of the backdoored run that a defense or rebound test goes back to; else the run's own."""
    return list_configs(config)[-1]


def find_clean_sha256(config: Mapping[str, Any]) -> str:
    """Return the SHA-256 of the weights before poisoning that a run states; "" if it does not."""
    attack = find_attack_config(config)
    return str(attack.get("model_sha256") or "") if attack.get("stage") == "backdoored" else ""


class RunRecord(StrictModel):
    """One run folder, finished or not: settings, status, the user's notes and test metrics.

    Attributes:
        config: config.json as written. Shared with other readers: do not change it.
        measured: metrics that are in no metrics.json, such as those of a result file; None: read them on first use.
        modified: modification time of config.json in ns, by which lists are sorted.
        clip_name, clean_model: name of the trained model, and of the model before poisoning.
        defense_settings, variant: `state_dict` of the defense; its parameters that differ from the defaults.
        source: data that were trained on, with their split.
        pairs, trained_pairs: number of pairs, and of those that the defense did not skip; None: not known.
        overlap: clean pairs that show a poisoned image (`data.poison.count_shared_images`), or poisoned pairs that
            remained (`retrain.retrain_without`); None: not known.
        suspect: config of the backdoored run, for a defense that was trained in the same process.
        text_version: `cleaner.text.TEXT_VERSION` of the code that trained it; None: older than the versions.
    """

    folder: Path
    config: dict[str, Any] = Field(default_factory=dict)
    status: Status = Status()
    name: str = ""
    note: str = ""
    tags: list[str] = Field(default_factory=list)
    measured: dict[str, Any] | None = None
    modified: int = 0

    stage: str = ""
    created: str = ""
    trigger: Component | None = None
    target_class: str | None = None
    defense_settings: Component | None = Field(None, validation_alias="defense")
    variant: dict[str, Any] | None = None
    finetune: FinetuneSettings = FinetuneSettings()
    request: RequestRecord = RequestRecord()
    rebound: ReboundRecord | None = None
    suspect: Any = None
    clip_name: str | None = Field(None, validation_alias="model")
    clean_model: str | None = None
    parent: str | None = None
    source: str | None = Field(None, validation_alias="data")
    data_name: str | None = None
    data_options: dict[str, Any] | None = None
    test_size: Number | None = TEST_SIZE
    pairs: Number = 0
    trained_pairs: Number | None = None
    seconds: Number = 0
    poison_rate: Number | None = None
    sweep: str | None = None
    overlap: dict[str, int] | None = None
    text_version: int | None = None

    @field_validator("finetune", "request", mode="before")
    @classmethod
    def _default_for_null(cls, value: Any) -> Any:
        return {} if value is None else value

    @classmethod
    def from_config(cls: type[R], folder: Path, config: Mapping[str, Any], **fields: Any) -> R:
        """Return the record of a config of this or an earlier version; `fields` are the others."""
        if is_from_newer_version(config):
            raise CleanerError(f"{folder} was written by a newer version of TA-Cleaner Lab: update to open this run.")
        try:
            return cls.model_validate(merge_fields(folder, config, fields))
        except ValidationError as error:
            raise CleanerError(
                f"{folder / 'config.json'} has an invalid {first_invalid_field(error)}: correct it, or train again."
            ) from error

    @property
    def id(self) -> str:
        return self.folder.name

    @property
    def name_or_id(self) -> str:
        return self.name or self.id

    @property
    def overlap_note(self) -> str:
        """Whether the pairs of a defense share images with the poisoned ones, one sentence; "" if unknown."""
        if not self.overlap:
            return ""
        shared, pairs, poisoned = (self.overlap.get(key, 0) for key in ("shared", "pairs", "poisoned"))
        if self.is_retrained:
            remained = f"{shared:,}" if shared else "None"
            return f"{remained} of the {poisoned:,} poisoned pairs remained among the {pairs:,} training pairs."
        if shared:
            verb = "shows" if shared == 1 else "show"
            return f"{shared:,} of the {pairs:,} clean pairs {verb} one of the {poisoned:,} poisoned images."
        return f"None of the {pairs:,} clean pairs shows one of the {poisoned:,} poisoned images."

    @property
    def is_retrained(self) -> bool:
        """Whether the model before poisoning was trained again without flagged pairs, instead of being defended."""
        return self.defense_settings is not None and self.defense_settings.name == FLAGGED_DEFENSE

    @property
    def draws_subtexts(self) -> bool:
        """Whether its defense trains on subtexts: such a method states which share of the pairs it draws."""
        return bool((self.config.get("defense") or {}).get("share"))

    @cached_property
    def is_shipped(self) -> bool:
        """Whether the run ships with this project."""
        return is_shipped(self.folder)

    @property
    def attack(self) -> str | None:
        """Name of the trigger; None if it is unknown."""
        return (self.trigger.name or None) if self.trigger is not None else None

    @property
    def defense_variant(self) -> Variant:
        """The defense with what differs from its defaults; `NO_DEFENSE` without one."""
        return Variant.from_config({**self.config, "variant": self.variant})

    @property
    def defense(self) -> str | None:
        """`Variant.key` of the defense; None without one."""
        key = self.defense_variant.key
        return None if key == NO_DEFENSE else key

    @property
    def defense_label(self) -> str:
        return self.defense_variant.label

    @property
    def kind(self) -> str:
        """What decides color and mark of its model (`plots.styles`): the defense, else the stage."""
        first = self.defense_variant.first
        return self.stage if first == NO_DEFENSE else first

    @property
    def model(self) -> str:
        """Name of the model before poisoning, else of the bare model that was defended, else of the trained one."""
        return self.clean_model or self.source_model or self.clip_name or ""

    @property
    def data(self) -> str:
        """Name of the data, as `load_data` takes it."""
        return self.data_name or strip_split(self.source or "scenes")

    @property
    def lr(self) -> float:
        """Peak learning rate; 0 if it is not stated."""
        return float(self.finetune.lr)

    @property
    def seed(self) -> int:
        return int(self.finetune.seed)

    @property
    def seeds(self) -> tuple[int | None, ...]:
        """Seeds of the run and of the runs behind it, its own first and the attack's last; None: unknown."""
        seeds: list[int | None] = [self.seed]
        for config in list_configs(self.config)[1:]:
            finetune = config.get("finetune")
            stated = finetune.get("seed") if isinstance(finetune, Mapping) else None
            seeds.append(stated if isinstance(stated, int) else None)
        return tuple(seeds)

    @property
    def attack_poison_rate(self) -> float | None:
        """Poison rate of the run, or of the backdoored run that it goes back to."""
        attack = find_attack_config(self.config)
        stated = self.poison_rate if attack is self.config else attack.get("poison_rate")
        return float(stated) if isinstance(stated, Number) else None

    @property
    def source_model(self) -> str | None:
        """The bare model that a defense started from, if it did not start from a run."""
        return self.request.model if self.stage == "defended" and self.parent is None else None

    @property
    def created_at(self) -> str:
        """Day and time of creation, UTC, to the minute."""
        return self.created[:16].replace("T", " ")

    @property
    def label(self) -> str:
        """One line that tells this run from others in a list (`names.label_run`)."""
        from cleaner.runs.names import label_run  # which imports this module

        return label_run(self)

    @property
    def has_few_images(self) -> bool:
        """Whether its attack success was measured on too few images for any verdict."""
        return self.metric("asr") is not None and 0 < self.count("asr") < MIN_VERDICT_IMAGES

    def with_status(self, status: Status) -> RunRecord:
        """Return the record with another status, such as a newly polled one."""
        return self.model_copy(update={"status": status})

    def started_from(self, suspect: RunRecord) -> bool:
        """Return whether this run is a defense, or a rebound test, of `suspect`."""
        if self.stage != "defended":
            return False
        if self.parent is not None:
            created = self.suspect.get("created") if isinstance(self.suspect, Mapping) else None
            if created and suspect.created and created != suspect.created:
                return False  # another run had its name
            is_beside = self.folder.parent == suspect.folder.parent and file_name(self.parent) == suspect.id
            has_moved = bool(created) and is_beside  # with its parent, to another place
            if has_moved or self.parent == suspect.id:
                return True
            # Pages compare every defense with every attack, and only a path has to be resolved.
            return os.path.isabs(self.parent) and self.parent == str(suspect.folder.resolve())
        own = {key: value for key, value in suspect.config.items() if key not in WRITTEN_LAST}
        config = self.suspect  # trained in one process with its backdoored run, which had no id yet
        return isinstance(config, Mapping) and {k: v for k, v in config.items() if k not in WRITTEN_LAST} == own

    @property
    def changed_files(self) -> list[str]:
        """Names of result files that differ from the SHA-256 in config.json; empty if it states none."""
        stated = self.config.get(HASHES_KEY)
        return find_changed_files(self.folder, stated) if isinstance(stated, Mapping) else []

    @property
    def metrics(self) -> Mapping[str, Any]:
        """Test metrics as written by `Metrics.to_dict`; empty if there are none. Do not change them."""
        if self.measured is not None:
            return self.measured
        try:
            return self._metrics
        except OSError:  # it may pass: the record, which the store keeps, does not remember it
            return {}

    @cached_property
    def _metrics(self) -> Mapping[str, Any]:
        return read_metrics(self.folder)

    def metric(self, name: str, k: int = 1) -> float | None:
        """Return a metric (at k, if it is measured by k); None if it was not measured."""
        value = self.metrics.get(name)
        if isinstance(value, Mapping):
            value = value.get(str(k), value.get(k))
        return None if value is None else float(value)

    figure = metric  # the name that programs on top of the library use

    def interval(self, name: str, k: int = 1) -> Interval | None:
        """Return the 95% interval of a metric; None if it was not measured."""
        ends = self.metrics.get(f"{name}_interval")
        if isinstance(ends, Mapping):
            ends = ends.get(str(k), ends.get(k))
        return None if ends is None else (float(ends[0]), float(ends[1]))

    def count(self, name: str) -> int:
        """Return the number of images behind a metric."""
        return int(self.metrics.get(METRICS[name].count) or 0)

    @property
    def verdict(self) -> tuple[str, str] | None:
        """Whether its attack succeeded, and why, as stored with the metrics; older runs compute it. None: unknown."""
        if self.stage != "backdoored" or self.metric("asr") is None:
            return None
        match self.metrics.get("verdict"):
            case [str(verdict), str(reason)] if verdict in VERDICT_SENTENCES:
                return verdict, reason
        return attack_verdict(Metrics.from_dict(self.metrics), self.attack_poison_rate)

    @property
    def queries(self) -> str:
        """What attack success was measured on: "images" or "captions"."""
        return str(self.metrics.get("queries") or "images")

    def is_meaningful(self, k: int) -> bool:
        """Return whether metrics at k say anything (`metric.is_meaningful`)."""
        return is_meaningful(k, self.metrics.get("classes"))

    @property
    def protocol(self) -> str:
        """What the metrics were measured on, in one phrase."""
        return format_protocol(self.metrics)


def merge_fields(folder: Path, config: Mapping[str, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a record: a config, and the fields that never come from it."""
    outside = {"status": Status(), "name": "", "note": "", "tags": [], "measured": None, "modified": 0, **fields}
    return {**config, **outside, "folder": folder, "config": config}


def is_from_newer_version(config: Mapping[str, Any]) -> bool:
    """Return whether a config was written by a later version, whose files this one may not understand."""
    version = config.get("schema", 0)
    return not isinstance(version, int) or version > SCHEMA_VERSION
