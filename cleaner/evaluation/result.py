"""Metrics: the figures of one model on one test set, as a run keeps them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from cleaner.evaluation.metrics import wilson_interval
from cleaner.labels import is_meaningful
from cleaner.types import CleanerError


@dataclass(frozen=True)
class Metrics:
    """Figures of one model on one test set, 0..1; dictionaries are keyed by k.

    Attributes:
        n: pictures behind `ca`; n_attack: pictures behind `asr`, `ra` and `base_rate` (METHODS: protocol).
        data_sha256: fingerprint of the test set: pictures of two models are paired only where it is equal.
        asr, ra: on triggered pictures: target in the top k; true label in the top k. None without a trigger.
        asr_by_key: for triggers with a text key, ASR with the key in the prompts ("text"), with the changed picture
            ("image") and with both ("both"); `asr` and `ra` then are those with all keys of the trigger.
        base_rate: target in the top k on the same pictures, untouched.
        asr_clean_model: ASR of the same trigger on the never poisoned model, the floor of every defence; None when
            that model was not given.
        counterfactual_accuracy: share of `n_counterfactual` pictures whose caption scores above its three negatives;
            `counterfactual_by_kind` by the negative's kind of edit (one negative against the caption).
        retrieval_asr: share of the `n_attack` triggered pictures for which one of the five nearest among `n_gallery`
            captions names the target; `retrieval_base_rate`: the same for these pictures untouched. None where no
            caption names it.
        outcomes: "ca", "asr", "ra" -> what came out at k = 1 for each picture, as `paired.pack` writes it: what two
            models on the same pictures are compared by.
    """

    ca: dict[int, float]
    n: int
    classes: int
    data: str
    protocol: str = "non_target"
    target_class: str | None = None
    asr: dict[int, float] | None = None
    ra: dict[int, float] | None = None
    base_rate: dict[int, float] | None = None
    n_attack: int = 0
    asr_clean_model: dict[int, float] | None = None
    counterfactual_accuracy: float | None = None
    counterfactual_by_kind: dict[str, float] = field(default_factory=dict)
    n_counterfactual: int = 0
    asr_by_key: dict[str, dict[int, float]] = field(default_factory=dict)
    retrieval_asr: float | None = None
    retrieval_base_rate: float | None = None
    n_gallery: int = 0
    outcomes: dict[str, str] = field(default_factory=dict)
    data_sha256: str = ""

    def interval(self, name: str, k: int = 1) -> tuple[float, float]:
        """Return the 95 % Wilson interval of "ca", "asr", "ra", "base_rate" or "asr_clean_model" at k."""
        values: dict[int, float] | None = getattr(self, name)
        if values is None:
            raise CleanerError(f"{name} was not measured: give a trigger and a target class to evaluate().")
        return wilson_interval(values[k], self.n if name == "ca" else self.n_attack)

    def is_meaningful(self, k: int) -> bool:
        """Whether ASR@k says anything (`wording.meaningful`)."""
        return is_meaningful(k, self.classes)

    def to_dict(self) -> dict[str, Any]:
        """Return all figures and 95 % intervals, JSON-ready."""
        result = dict(vars(self))
        for name in ("ca", "asr", "ra", "base_rate", "asr_clean_model"):
            if result[name] is not None:
                result[f"{name}_interval"] = {k: self.interval(name, k) for k in result[name]}
        return result

    @classmethod
    def from_dict(cls, state: dict[str, Any]) -> Metrics:
        """Return the metrics that `to_dict` wrote, also after a journey through JSON (keys k become text there)."""
        kept = {name: value for name, value in state.items() if name in cls.__dataclass_fields__}
        for name in ("ca", "asr", "ra", "base_rate", "asr_clean_model"):
            if kept.get(name) is not None:
                kept[name] = _keyed_by_k(kept[name])
        kept["asr_by_key"] = {key: _keyed_by_k(values) for key, values in kept.get("asr_by_key", {}).items()}
        return cls(**kept)


def _keyed_by_k(values: dict[Any, float]) -> dict[int, float]:
    return {int(k): value for k, value in values.items()}
