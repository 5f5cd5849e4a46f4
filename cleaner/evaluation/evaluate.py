"""evaluate(): clean accuracy, attack success rate and what stands beside them, with n, interval and protocol."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from cleaner.attacks.base import Trigger
from cleaner.data.base import CaptionData, load_data
from cleaner.evaluation.bootstrap import pack_outcomes
from cleaner.evaluation.metrics import (
    attack_population,
    attack_success_rate,
    counterfactual_wins,
    in_top_k,
    retrieval_recall,
    top_k_accuracy,
    wilson_interval,
)
from cleaner.evaluation.result import Metrics as Metrics  # where one looks for it
from cleaner.losses.info_nce import pad_rows
from cleaner.models.classifier import zero_shot_classifier
from cleaner.models.clip import Clip
from cleaner.text import Vocabulary, negative_subtexts
from cleaner.text.lexicon import lexicon_cache
from cleaner.types import CleanerError, OnStep, StepReport

EVAL_BATCH_SIZE = 256
COUNTERFACTUAL_PAIRS = 1500
GALLERY_SIZE, RETRIEVAL_K = 1000, 5
"""Captions that are searched for a picture, and how many of the nearest count."""
CLASSES_HELP = "choose other test data, or name the classes with classes=FILE or classes=a,b,c."
Negatives = tuple[list[int], list[list[str]], list[list[str]]]
"""Rows of pairs, and the texts and kinds of each row's negatives."""


@torch.inference_mode()
def evaluate(
    clip: Clip,
    data: CaptionData,
    trigger: Trigger | None = None,
    target_class: str | None = None,
    ks: Sequence[int] = (1, 3),
    protocol: str = "non_target",
    clean_clip: Clip | None = None,
    counterfactual: bool = True,
    on_step: OnStep | None = None,
) -> Metrics:
    """Measure `clip` zero-shot on the pairs of `data` with a class label (label -1: only counterfactual accuracy).

    Without trigger and target class there is no ASR. `clean_clip` gives the floor. Raises `CleanerError` for data that
    are not `validate_eval_data`, and for k above the number of classes.
    """
    digest = data.fingerprint()
    data = validate_eval_data(data, target_class, protocol).with_transform(clip.framing)
    rows = (data.labels >= 0).nonzero().flatten()
    if (trigger is None) != (target_class is None):
        raise CleanerError("an attack success rate needs both a trigger and a target class.")
    target = None if target_class is None else data.class_index(target_class)
    labels = data.labels[rows]
    models = [clip] if clean_clip is None or trigger is None else [clip, clean_clip]
    clean, triggered = _encode_clean_and_triggered(models, data, rows, trigger, on_step)
    classifier = build_classifier(clip, data)
    result: dict[str, Any] = {"ca": {k: top_k_accuracy(clean, classifier, labels, k) for k in ks}}
    outcomes = {"ca": in_top_k(clean, classifier, labels)}
    if trigger is not None and target is not None:
        counts = attack_population(labels, target, protocol)

        def asr(features: Tensor, classes: Tensor) -> dict[int, float]:
            return {k: attack_success_rate(features, classes, labels, target, k, protocol) for k in ks}

        keyed = build_keyed_classifier(clip, data, trigger, classifier)
        result["asr"] = asr(triggered[0], keyed)
        result["ra"] = {k: top_k_accuracy(triggered[0][counts], keyed, labels[counts], k) for k in ks}
        outcomes["asr"] = in_top_k(triggered[0][counts], keyed, torch.tensor(target))
        outcomes["ra"] = in_top_k(triggered[0][counts], keyed, labels[counts])
        if "text" in trigger.modalities:
            result["asr_by_key"] = {"text": asr(clean, keyed)}
            if "image" in trigger.modalities:
                result["asr_by_key"] |= {"image": asr(triggered[0], classifier), "both": result["asr"]}
        result["base_rate"] = asr(clean, classifier)
        result["n_attack"] = int(counts.sum())
        result |= _measure_retrieval(clip, data, target_class, clean[counts], triggered[0][counts])
        if len(models) == 2:
            result["asr_clean_model"] = asr(triggered[1], build_keyed_classifier(models[1], data, trigger))
    if counterfactual:
        result |= counterfactual_accuracy(clip, data)
    return Metrics(
        n=len(rows),
        classes=len(data.class_names),
        data=data.name,
        data_sha256=digest,
        protocol=protocol,
        target_class=target_class,
        outcomes={name: pack_outcomes(hits.numpy()) for name, hits in outcomes.items()},
        **result,
    )


def validate_eval_data(data: CaptionData, target_class: str | None = None, protocol: str = "non_target") -> CaptionData:
    """Return the data; raises `CleanerError` if accuracy, or the success of an attack, cannot be measured on them."""
    labels = data.labels[data.labels >= 0]
    if not len(labels):
        raise CleanerError(
            f"{data.name or 'the data'} has no pictures with a class label to measure accuracy on: {CLASSES_HELP}"
        )
    target = -1 if target_class is None else data.class_index(target_class)
    if not attack_population(labels, target, protocol).any():
        raise CleanerError(
            f"every picture of {data.name or 'the data'} is of the target class {target_class!r}, so that there is "
            "nothing to attack: choose other test data or another target class."
        )
    return data


def _measure_retrieval(
    clip: Clip, data: CaptionData, target: str | None, clean: Tensor, triggered: Tensor
) -> dict[str, Any]:
    """Return the retrieval figures of `Metrics` for pictures (N, D), untouched and triggered."""
    gallery = data.subset(range(min(GALLERY_SIZE, len(data))))
    named = gallery.mentions(target or "")
    if not named.any():
        return {}
    texts = encode_texts(clip, gallery.captions)

    def found(features: Tensor) -> float:
        blocks = [block @ texts.T for block in features.split(1024)]
        nearest = torch.cat([block.topk(min(RETRIEVAL_K, len(texts))).indices for block in blocks])
        return named[nearest].any(dim=1).float().mean().item()

    figures = {"retrieval_asr": found(triggered), "retrieval_base_rate": found(clean)}
    return {**figures, "n_gallery": len(texts)}


def encode_texts(clip: Clip, texts: Sequence[str]) -> Tensor:
    """Return unit features (N, D), on the CPU, of texts."""
    with torch.inference_mode():
        return torch.cat([clip.encode_text(texts[i : i + 1024]).cpu() for i in range(0, len(texts), 1024)])


def build_classifier(clip: Clip, data: CaptionData) -> Tensor:
    """Return the zero-shot classifier (D, C), on the CPU, from the model's templates, or else the data's."""
    return _classifier_from_prompts(clip, data, str)


def build_keyed_classifier(clip: Clip, data: CaptionData, trigger: Trigger, plain: Tensor | None = None) -> Tensor:
    """Return the zero-shot classifier (D, C) whose prompts carry the trigger's text key, where it has one.

    plain: the classifier without key, if it is at hand.
    """
    # Without a key the prompts are the same: on ImageNet 80,000 that need not be read twice.
    return (
        plain
        if plain is not None and "text" not in trigger.modalities
        else _classifier_from_prompts(clip, data, trigger.text)
    )


def _classifier_from_prompts(clip: Clip, data: CaptionData, rewrite_prompt: Callable[[str], str]) -> Tensor:
    if not data.class_names:
        raise CleanerError(f"{data.name or 'the data'} name no classes to choose from: {CLASSES_HELP}")
    templates = clip.templates or data.templates
    prompts = [rewrite_prompt(template.format(name)) for name in data.class_names for template in templates]
    features = encode_texts(clip, prompts)
    return zero_shot_classifier(features.view(len(data.class_names), len(templates), -1))


def encode_images(clip: Clip, data: CaptionData, rows: Tensor, trigger: Trigger | None = None) -> Tensor:
    """Return unit features (N, D), on the CPU, of the pictures at `rows`, triggered if a trigger is given."""
    with torch.inference_mode():
        batches = (images for _, images in prefetch_batches(data.with_transform(clip.framing), rows))
        return torch.cat([clip.encode_image(trigger(b) if trigger else b).cpu() for b in batches])


def prefetch_batches(data: CaptionData, rows: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Yield the number, from 1, and the pictures of each batch, while the next one is being read."""
    batches = rows.split(EVAL_BATCH_SIZE)
    for number, batch in enumerate(batches, start=1):
        images = data.images(batch)
        if number < len(batches):
            data.prefetch(batches[number])
        yield number, images


def _encode_clean_and_triggered(
    models: list[Clip], data: CaptionData, rows: Tensor, trigger: Trigger | None, on_step: OnStep | None
) -> tuple[Tensor, list[Tensor]]:
    """Return features (N, D) of untouched pictures by the first model, and of triggered ones by each model."""
    clean: list[Tensor] = []
    triggered: list[list[Tensor]] = [[] for _ in models]
    total = len(rows.split(EVAL_BATCH_SIZE))
    began = time.perf_counter()
    for done, images in prefetch_batches(data, rows):
        clean.append(models[0].encode_image(images).cpu())
        if trigger is not None:
            hit = trigger(images)
            for model, features in zip(models, triggered, strict=True):
                features.append(model.encode_image(hit).cpu())
        if on_step is not None:
            on_step(StepReport("evaluate", done, total, time.perf_counter() - began))
    return torch.cat(clean), [torch.cat(features) for features in triggered] if trigger is not None else []


@torch.inference_mode()
def counterfactual_accuracy(clip: Clip, data: CaptionData, n: int = 3, seed: int = 0) -> dict[str, Any]:
    """Return the three counterfactual figures of `Metrics` on the first 1,500 pairs that yield negatives.

    The draw of the `n` negatives is fixed by `seed`, so that all models face the same ones.
    """
    chosen, texts, kinds = _draw_negatives(tuple(data.captions), n, seed)
    if not chosen:
        return {}
    rows = torch.tensor(chosen)
    image = encode_images(clip, data, rows)
    flat = [text for row in texts for text in row]
    captions = [data.captions[index] for index in chosen]
    features = encode_texts(clip, captions + flat)
    own, negative = features[: len(chosen)], features[len(chosen) :]
    owner = torch.tensor([i for i, row in enumerate(texts) for _ in row])
    single = (image * own).sum(-1)[owner] > (image[owner] * negative).sum(-1)
    rows_of_negatives, mask = pad_rows(negative, [len(row) for row in texts])
    flat_kinds = [kind for row in kinds for kind in row]
    by_kind = {
        kind: single[torch.tensor([k == kind for k in flat_kinds])].float().mean().item()
        for kind in sorted(set(flat_kinds))
    }
    return {
        "counterfactual_accuracy": counterfactual_wins(image, own, rows_of_negatives, mask).float().mean().item(),
        "counterfactual_by_kind": by_kind,
        "n_counterfactual": len(chosen),
    }


@lexicon_cache(maxsize=4)
def _draw_negatives(captions: tuple[str, ...], n: int, seed: int) -> Negatives:
    """Return the pairs that yield negatives, and texts and kinds of these; cached, since every model faces the same."""
    vocabulary = Vocabulary.from_captions(captions)
    chosen, texts, kinds = [], [], []
    for index, caption in enumerate(captions):
        negatives = negative_subtexts(caption, n=n, seed=seed, vocabulary=vocabulary)
        if negatives:
            chosen.append(index)
            texts.append([negative.text for negative in negatives])
            kinds.append([negative.kind for negative in negatives])
        if len(chosen) == COUNTERFACTUAL_PAIRS:
            break
    return chosen, texts, kinds


@torch.inference_mode()
def image_to_text_recall(
    clip: Clip, data: CaptionData, ks: Sequence[int] = (1, 5, 10), pairs: int = 1000
) -> dict[int, float]:
    """Return image-to-text recall@k among the first `pairs` pairs; equal captions share a rank."""
    rows = torch.arange(min(pairs, len(data)))
    image = encode_images(clip, data, rows)
    text = encode_texts(clip, [data.captions[i] for i in rows.tolist()])
    return {k: retrieval_recall(image, text, k) for k in ks}


def transfer_accuracy(clip: Clip, data: CaptionData, pairs: int = 2000) -> dict[str, dict[str, Any]]:
    """Return zero-shot accuracy "ca", "n" and "interval" on test pictures of each variant named by `data.transfer_variants`."""
    result = {}
    for variant in data.transfer_variants:
        shifted = load_data(variant, split="test", size=pairs)
        rows = (shifted.labels >= 0).nonzero().flatten()
        features = encode_images(clip, shifted, rows)
        accuracy = top_k_accuracy(features, build_classifier(clip, shifted), shifted.labels[rows])
        result[variant] = {"ca": accuracy, "n": len(rows), "interval": wilson_interval(accuracy, len(rows))}
    return result
