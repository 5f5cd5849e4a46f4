"""Variant: a method, what differs from its defaults, and the training before it. The one place that names methods."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cleaner.config import changed_parameters
from cleaner.labels import CLEAN_CAPTIONS, FLAGGED_DEFENSE, NO_DEFENSE, find_clean_captions, format_count, to_label

REBOUND = "rebound"
"""Method of a rebound test: harmless finetuning of the model before it."""


@dataclass(frozen=True)
class Variant:
    """A defense, with `key` for result files and `label` for readers.

    Attributes:
        method: registered name, `NO_DEFENSE`, `REBOUND` or `FLAGGED_DEFENSE`.
        changed: parameters that differ from the defaults; captions of the clean pairs, if not the usual ones, come
            last: they change what every defense does.
        after: the training before it. A rebound test finetunes, but must not count as plain finetuning.
    """

    method: str = NO_DEFENSE
    changed: Mapping[str, Any] = field(default_factory=dict)
    after: Variant | None = None

    @classmethod
    def of(cls, defense: Any) -> Variant:
        """Return the variant of a `Defense`."""
        return cls(defense.state_dict()["name"], changed_parameters(defense))

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Variant:
        """Return the variant that config.json of a run states; `NO_DEFENSE` for a backdoored run."""
        suspect = config.get("suspect")
        stated = suspect if isinstance(suspect, Mapping) else {}
        if rebound := config.get("rebound"):
            tested = {"defense": rebound.get("after") or {"name": "no_defense"}}
            tested |= {key: stated.get(key) for key in ("variant", "data_options", "suspect")}
            return cls(REBOUND, {"steps": rebound.get("steps", 0)}, cls.from_config(tested))
        method, variant = str((config.get("defense") or {}).get("name", NO_DEFENSE)), config.get("variant")
        changed = dict(variant) if isinstance(variant, Mapping) else {}
        if method not in (NO_DEFENSE, FLAGGED_DEFENSE) and (
            captions := find_clean_captions(config.get("data_options"))
        ):
            changed[CLEAN_CAPTIONS] = captions
        return cls(method, changed, cls.from_config(stated) if stated.get("stage") == "defended" else None)

    def __hash__(self) -> int:
        return hash(self.key)

    @property
    def first(self) -> str:
        """The method of the first training, which decides color and mark."""
        return self.after.first if self.after else self.method

    @property
    def key(self) -> str:
        """The name in result files, whose form is fixed: "ta_cleaner K 100 %", "par then rebound (3 steps)"."""
        name = self._name_rebound() or " ".join((self.method, self._describe_changed())).rstrip()
        return f"{self.after.key} then {name}" if self.after else name

    @property
    def label(self) -> str:
        """The name in pages and reports: "TA-Cleaner, K 100%"; without a defense "Backdoored"."""
        if self.method == NO_DEFENSE:
            return "Backdoored"
        details = self._describe_changed().replace(" %", "%")
        name = self._name_rebound() or ", ".join(filter(None, (to_label(self.method), details)))
        if self.method == FLAGGED_DEFENSE and self.changed.keys() >= {"flagged", "detector"}:
            flagged = format_count(int(self.changed["flagged"]), "flagged pairs")
            name = f"Without {flagged} ({to_label(self.changed['detector'])})"
        return f"{self.after.label}, then {name}" if self.after else name

    def _name_rebound(self) -> str:
        return f"rebound ({format_count(self.changed['steps'], 'steps')})" if self.method == REBOUND else ""

    def _describe_changed(self) -> str:
        return ", ".join(_describe_parameter(name, value) for name, value in self.changed.items())


def _describe_parameter(name: str, value: Any) -> str:
    if name == "share" and isinstance(value, (int, float)):
        return f"K {100 * value:g} %"
    if name == CLEAN_CAPTIONS:
        return f"{value} captions"
    words = name.replace("_", " ")
    return f"{'with' if value else 'without'} {words}" if isinstance(value, bool) else f"{words} {value}"
