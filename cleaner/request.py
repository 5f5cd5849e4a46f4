"""Request: all that a run is asked to do, as plain values; what config.json holds before and after the run."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cleaner.config import FinetuneConfig
from cleaner.types import CleanerError


@dataclass(frozen=True)
class Request:
    """A poisoning ("backdoored") or a defence ("defended") that any machine can do, and do again.

    Attributes:
        stage: what comes out, "backdoored" or "defended".
        data, pairs: registered data set and how many of its pairs are trained on.
        model: model to poison, or suspicious model; None where the model of the run `parent` is defended.
        parent: id of the backdoored run (`runs.run_id`).
        trigger, defense: their `state_dict()`.
        validation_size: pairs behind the figures while it runs; test_size: pairs behind those at its end, None: all.
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
    test_size: int | None = 2000

    def config(self) -> dict[str, Any]:
        """Return what a run's config.json says before the run: what lists show, and the request itself."""
        shown: dict[str, Any] = {
            "stage": self.stage, "trigger": self.trigger, "target_class": self.target_class, "defense": self.defense,
            "parent": self.parent, "data_name": self.data, "pairs": self.pairs, "test_size": self.test_size,
            "finetune": asdict(self.finetune), "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }  # fmt: skip
        if self.stage == "backdoored":
            shown |= {"clean_model": self.model, "poison_rate": self.poison_rate, "clean_label": self.clean_label}
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


def found(model: str) -> str:
    """Return a model's name as it stands, a model's file as its absolute path: the worker may start elsewhere."""
    return str(Path(model).resolve()) if Path(model).is_file() else model
