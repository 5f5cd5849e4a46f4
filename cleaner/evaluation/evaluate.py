"""evaluate(): clean accuracy, attack success rate and related metrics, with n, interval and protocol."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from cleaner.attacks.base import Trigger
from cleaner.data.base import CaptionData, load_data
from cleaner.evaluation.attack import Attack
from cleaner.evaluation.bootstrap import pack_outcomes
from cleaner.evaluation.encode import CLASSES_HELP, Encoder, encode_clean_and_triggered
from cleaner.evaluation.metrics import (
    attack_population,
    in_top_k,
    retrieval_recall,
    top_k_accuracy,
    validate_k,
    wilson_interval,
)
from cleaner.evaluation.negatives import Negatives, draw_negatives
from cleaner.evaluation.result import Metrics as Metrics  # re-exported: evaluate() returns it
from cleaner.models.clip import Clip
from cleaner.text import Subtext
from cleaner.types import CleanerError, OnStep

COUNTERFACTUAL_PAIRS, NEGATIVES = 1500, 3
DEFAULT_KS = (1, 3)


@torch.inference_mode()
def evaluate(
    clip: Clip,
    data: CaptionData,
    trigger: Trigger | None = None,
    target_class: str | None = None,
    *,
    ks: Sequence[int] | None = None,
    protocol: str = "non_target",
    clean_clip: Clip | None = None,
    counterfactual: bool = True,
    templates: int | None = None,
    use_store: bool = True,
    on_step: OnStep | None = None,
) -> Metrics:
    """Measure `clip` zero-shot on the labeled pairs of `data`; counterfactual accuracy uses unlabeled pairs too.

    ASR needs `trigger` and `target_class`; `clean_clip` gives its floor; `evaluation.attack` says what it is for
    triggers on images and in texts. `ks` are by default those of 1 and 3 that the number of classes allows; for a
    trigger in the text alone, too large ones are left out (`Attack.kept_ks`). `templates` and `use_store` as in
    `encode.Encoder`. `on_step` receives the stages "evaluate" (the images, also with the trigger), "prompts",
    "captions", and "images" (others that are encoded, such as those of counterfactual accuracy). Raises `CleanerError`
    for data that `validate_eval_data` rejects, and for k above the number of classes.
    """
    if not isinstance(clip, Clip):
        raise CleanerError(f"evaluate() takes a Clip, not a {type(clip).__name__}: of a run, give its clip.")
    digest = data.fingerprint()
    data = validate_eval_data(data, target_class, protocol, trigger).with_transform(clip.framing)
    rows = data.labeled_rows()
    ks = [k for k in DEFAULT_KS if k <= len(data.class_names)] if ks is None else list(ks)
    for k in ks:
        validate_k(k, len(data.class_names))  # before anything is encoded
    if (trigger is None) != (target_class is None):
        raise CleanerError("an attack success rate needs both a trigger and a target class.")
    labels = data.labels[rows]
    models = [clip] if clean_clip is None or trigger is None else [clip, _move_beside(clean_clip, clip)]
    encoders = [Encoder(model, templates, on_step, use_store) for model in models]
    prompts_per_class = len(encoders[0].choose_templates(data))
    clean, triggered = encode_clean_and_triggered(encoders, data, rows, trigger, on_step)
    classifier = encoders[0].build_classifier(data)
    values: dict[str, Any] = {"ca": {k: top_k_accuracy(clean, classifier, labels, k) for k in ks}}
    outcomes = {"ca": in_top_k(clean, classifier, labels)}
    if trigger is not None and target_class is not None:
        attack = Attack(
            trigger=trigger,
            target_class=target_class,
            data=data,
            rows=rows,
            encoders=encoders,
            clean=clean,
            triggered=triggered,
            classifier=classifier,
            ks=ks,
            protocol=protocol,
        )
        attack_values, attack_outcomes = attack.measure()
        values |= attack_values
        outcomes |= attack_outcomes
    if counterfactual:
        values |= counterfactual_accuracy(encoders[0], data, known=(rows, clean))
    return Metrics(
        n=len(rows),
        classes=len(data.class_names),
        templates=prompts_per_class,
        data=data.name,
        data_sha256=digest,
        class_names_sha256=data.hash_class_names(),
        protocol=protocol,
        target_class=target_class,
        outcomes={name: pack_outcomes(hits.numpy()) for name, hits in outcomes.items()},
        **values,
    )


def _move_beside(clean: Clip, clip: Clip) -> Clip:
    """Return the clean model on the device of `clip`, in its precision: on a CPU it would choose fewer prompts."""
    is_beside = (clean.device, clean.precision) == (clip.device, clip.precision)
    return clean if is_beside else clean.to(clip.device, clip.precision)


def validate_eval_data(
    data: CaptionData, target_class: str | None = None, protocol: str = "non_target", trigger: Trigger | None = None
) -> CaptionData:
    """Return `data`; raise `CleanerError` if accuracy or the attack's success cannot be measured on it."""
    labels = data.labels[data.labels >= 0]
    if not len(labels):
        raise CleanerError(
            f"{data.name or 'the data'} has no images with a class label to measure accuracy on: {CLASSES_HELP}"
        )
    target_index = -1 if target_class is None else data.class_index(target_class)
    if not attack_population(labels, target_index, protocol).any():
        raise CleanerError(
            f"every image of {data.name or 'the data'} is of the target class {target_class!r}, so nothing is left to "
            "attack: take more or other data, or another target class."
        )
    if trigger is not None and "image" not in trigger.modalities and not (labels == target_index).any():
        raise CleanerError(
            f"{data.name or 'the data'} has no image of the target class {target_class!r} that a text with the key "
            "could find: take more or other data, or another target class."
        )
    return data


@torch.inference_mode()
def counterfactual_accuracy(
    encoder: Encoder, data: CaptionData, *, known: tuple[Tensor, Tensor] | None = None
) -> dict[str, Any]:
    """Return the three counterfactual fields of `Metrics` on the first 1,500 pairs that have negatives.

    All models are compared on the same negatives. Left out are those whose edit lies behind the model's context: it
    cannot tell them from the caption. known: rows (M,) whose image features (M, D) are already computed.
    """
    indices, negatives = _drop_invisible(encoder.clip, data.captions, *draw_counterfactuals(data))
    if not indices:
        return {}
    image = _encode_missing(encoder, data, torch.tensor(indices), known)
    captions = [data.captions[index] for index in indices]
    texts = [negative.text for row in negatives for negative in row]
    kinds = [negative.kind for row in negatives for negative in row]
    features = encoder.encode_texts(captions + texts)
    caption, negative = features[: len(indices)], features[len(indices) :]
    row_of = torch.tensor([i for i, row in enumerate(negatives) for _ in row])
    is_win = (image * caption).sum(-1)[row_of] > (image[row_of] * negative).sum(-1)
    lost = torch.zeros(len(indices)).index_add_(0, row_of, (~is_win).float())
    return {
        "counterfactual_accuracy": (lost == 0).float().mean().item(),
        "counterfactual_by_kind": {
            kind: is_win[torch.tensor([k == kind for k in kinds])].float().mean().item() for kind in sorted(set(kinds))
        },
        "n_counterfactual": len(indices),
    }


def _drop_invisible(
    clip: Clip, captions: Sequence[str], indices: Sequence[int], negatives: Sequence[Sequence[Subtext]]
) -> tuple[list[int], list[list[Subtext]]]:
    """Return pairs and negatives without those negatives whose tokens within the context are those of the caption."""
    texts = [negative.text for row in negatives for negative in row]
    tokens = clip.tokenize([*(captions[index] for index in indices), *texts])
    row_of = [i for i, row in enumerate(negatives) for _ in row]
    is_visible = iter((tokens[len(indices) :] != tokens[row_of]).any(1).tolist())
    kept = [[negative for negative in row if next(is_visible)] for row in negatives]
    return [index for index, row in zip(indices, kept, strict=True) if row], [row for row in kept if row]


def draw_counterfactuals(data: CaptionData) -> Negatives:
    """Return the pairs and negatives of `counterfactual_accuracy`; drawn once, they are read from the cache folder."""
    return draw_negatives(tuple(data.captions), n=NEGATIVES, seed=0, limit=COUNTERFACTUAL_PAIRS)


def _encode_missing(encoder: Encoder, data: CaptionData, rows: Tensor, known: tuple[Tensor, Tensor] | None) -> Tensor:
    """Return the image features (N, D) at `rows`; only those that are not `known` are encoded."""
    known_rows, known_features = known or (torch.empty(0, dtype=torch.long), torch.empty(0))
    missing = rows[~torch.isin(rows, known_rows)]
    if not len(missing):
        features = known_features
    else:
        encoded = encoder.encode_rows(data, missing)
        features = torch.cat([known_features, encoded]) if len(known_rows) else encoded
    position = {row: i for i, row in enumerate([*known_rows.tolist(), *missing.tolist()])}
    return features[[position[row] for row in rows.tolist()]]


@torch.inference_mode()
def image_to_text_recall(
    clip: Clip, data: CaptionData, ks: Sequence[int] = (1, 5, 10), pairs: int = 1000
) -> dict[int, float]:
    """Return image-to-text recall@k among the first `pairs` pairs; equal captions share a rank."""
    rows, encoder = torch.arange(min(pairs, len(data))), Encoder(clip)
    image = encoder.encode_rows(data, rows)
    text = encoder.encode_texts([data.captions[i] for i in rows.tolist()])
    return {k: retrieval_recall(image, text, k) for k in ks}


def transfer_accuracy(clip: Clip, data: CaptionData, pairs: int = 2000) -> dict[str, dict[str, Any]]:
    """Return variant -> zero-shot accuracy "ca", "n" and "interval", for each of `data.transfer_variants`."""
    result, encoder = {}, Encoder(clip)
    for variant in data.transfer_variants:
        shifted = load_data(variant, split="test", size=pairs)
        rows = shifted.labeled_rows()
        features = encoder.encode_rows(shifted, rows)
        accuracy = top_k_accuracy(features, encoder.build_classifier(shifted), shifted.labels[rows])
        result[variant] = {"ca": accuracy, "n": len(rows), "interval": wilson_interval(accuracy, len(rows))}
    return result
