"""What an attack achieves on a test set: the attack's fields of `Metrics`.

A trigger on the image is measured on images, zero-shot with class prompts (with the text key in them, if it has one).
A trigger in the text alone is measured the other way round: the captions of the same test pairs, with the key, are
compared with clean images. Each class of images is the normalized mean of its unit features, as a class of texts is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from cleaner.attacks.base import Trigger
from cleaner.data.base import CaptionData
from cleaner.data.poison import hash_own_pixels
from cleaner.evaluation.encode import Encoder
from cleaner.evaluation.metric_row import is_meaningful
from cleaner.evaluation.metrics import (
    attack_population,
    attack_success_rate,
    in_top_k,
    recall_of_any,
    recall_of_item,
    top_k_accuracy,
)

GALLERY_SIZE, RETRIEVAL_K = 1000, 5
"""Captions that an image is searched in (or images, for a caption), and how many of the nearest count."""
RECALL_KS = (1, 10)
"""Ranks at which an attacker's own image counts as found."""
CROSS_IMAGES = 1000
"""Most images that get the trigger of another image."""


@dataclass(frozen=True)
class Queries:
    """What a user of the model asks: features (N, D) of images or texts, and the classes (D, C) they are compared with.

    labels: (N,) columns of the true classes; target_index: that of the target; population: (N,) bool, rows that count.
    """

    features: Tensor
    classes: Tensor
    labels: Tensor
    target_index: int
    protocol: str

    @property
    def population(self) -> Tensor:
        return attack_population(self.labels, self.target_index, self.protocol)

    @property
    def counted(self) -> Tensor:
        """Features (P, D) of the rows that count."""
        return self.features[self.population]

    def success_rates(self, ks: Sequence[int]) -> dict[int, float]:
        """Return k -> share of the rows that count with the target among the k best classes."""
        return {
            k: attack_success_rate(
                self.features, self.classes, self.labels, self.target_index, k=k, protocol=self.protocol
            )
            for k in ks
            if k <= self.classes.shape[1]
        }

    def accuracies(self, ks: Sequence[int]) -> dict[int, float]:
        """Return k -> share of the rows that count with their true class among the k best."""
        labels = self.labels[self.population]
        return {k: top_k_accuracy(self.counted, self.classes, labels, k) for k in ks if k <= self.classes.shape[1]}

    def outcomes(self) -> dict[str, Tensor]:
        """Return "asr" and "ra" (P,) bool at k = 1."""
        labels = self.labels[self.population]
        hits = in_top_k(self.counted, self.classes, torch.tensor(self.target_index))
        return {"asr": hits, "ra": in_top_k(self.counted, self.classes, labels)}


@dataclass(frozen=True)
class Attack:
    """An attack on the labeled test pairs `rows` (N,) of `data`.

    encoders: of the attacked model and, for the floor, of the clean one. clean, triggered: image features (N, D), the
    clean ones by the attacked model, the triggered ones by each encoder. classifier: (D, C), without a text key.
    """

    trigger: Trigger
    target_class: str
    data: CaptionData
    rows: Tensor
    encoders: list[Encoder]
    clean: Tensor
    triggered: list[Tensor]
    classifier: Tensor
    ks: Sequence[int]
    protocol: str

    @cached_property
    def labels(self) -> Tensor:
        """Classes (N,) of the test pairs."""
        return self.data.labels[self.rows]

    @cached_property
    def kept_ks(self) -> list[int]:
        """`ks` without those above the number of classes: those of images that captions find may be few."""
        names = len(self.data.class_names)
        competing = names if "image" in self.trigger.modalities else len(self.labels.unique())
        return [k for k in self.ks if k == 1 or is_meaningful(k, competing) or not is_meaningful(k, names)]

    def measure(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Return the attack's fields of `Metrics`, and its outcomes "asr" and "ra"."""
        on_images = "image" in self.trigger.modalities
        queries = self.image_queries if on_images else self.text_queries
        plain, keyed = queries(0, False), queries(0, True)
        values: dict[str, Any] = {
            "queries": "images" if on_images else "captions",
            "asr": keyed.success_rates(self.kept_ks),
            "ra": keyed.accuracies(self.kept_ks),
            "base_rate": plain.success_rates(self.kept_ks),
            "n_attack": int(keyed.population.sum()),
            "asr_by_key": self._measure_keys(keyed, plain),
        }
        if len(self.encoders) == 2:
            values["asr_clean_model"] = queries(1, True).success_rates(self.kept_ks)
        values |= self._search_captions(plain, keyed) if on_images else self._search_images(plain, keyed)
        if self.trigger.is_input_aware:
            values |= self._measure_cross(plain)
        return values, keyed.outcomes()

    def image_queries(self, model: int, is_attacked: bool) -> Queries:
        """Return images and class prompts as queries: as they are, or with the trigger and the text key."""
        features, classes = self.clean, self.classifier
        if is_attacked:
            encoder, known = self.encoders[model], self.classifier if model == 0 else None
            features = self.triggered[model]
            classes = encoder.build_classifier(self.data, self.trigger, plain=known)
        return Queries(features, classes, self.labels, self.data.class_index(self.target_class), self.protocol)

    def text_queries(self, model: int, is_attacked: bool) -> Queries:
        """Return the different captions per class, plain or with the key, and the classes of clean images."""
        present, labels = self.labels.unique(return_inverse=True)
        target_index = present.tolist().index(self.data.class_index(self.target_class))
        captions = [self.data.captions[i] for i in self.rows.tolist()]
        texts, asked = zip(*dict.fromkeys(zip(captions, labels.tolist(), strict=True)), strict=True)
        if is_attacked:
            texts = tuple(self.trigger.text(text) for text in texts)
        images = self.clean if model == 0 else self.triggered[model]  # the trigger changes no image
        classes = torch.zeros(len(present), images.shape[1]).index_add_(0, labels, images)
        features = self.encoders[model].encode_texts(texts)
        return Queries(features, F.normalize(classes, dim=1).T, torch.tensor(asked), target_index, self.protocol)

    def _measure_keys(self, keyed: Queries, plain: Queries) -> dict[str, dict[int, float]]:
        """Return ASR by key for a trigger with a text key."""
        if "text" not in self.trigger.modalities:
            return {}
        both = keyed.success_rates(self.kept_ks)
        if "image" not in self.trigger.modalities:
            return {"text": both}
        text = Queries(plain.features, keyed.classes, keyed.labels, keyed.target_index, self.protocol)
        image = Queries(keyed.features, plain.classes, keyed.labels, keyed.target_index, self.protocol)
        return {"text": text.success_rates(self.kept_ks), "image": image.success_rates(self.kept_ks), "both": both}

    def _search_captions(self, plain: Queries, keyed: Queries) -> dict[str, Any]:
        """Return the retrieval fields of `Metrics`: captions that name the target among the nearest of an image."""
        gallery = self.data.subset(range(min(GALLERY_SIZE, len(self.data))))
        is_target = gallery.mentions(self.target_class)
        texts = self.encoders[0].encode_texts(gallery.captions) if is_target.any() else torch.empty(0)
        return _search(plain, keyed, texts, is_target)

    def _search_images(self, plain: Queries, keyed: Queries) -> dict[str, Any]:
        """Return the retrieval fields of `Metrics`: images of the target, and the attacker's own, near a caption."""
        own, rows, gallery = self.trigger.own_image(self.data.image_size), self.rows[:GALLERY_SIZE], self.clean
        is_other = torch.ones(len(rows), dtype=torch.bool)
        if own is not None:  # a copy of the attacker's image among the others would be found instead
            side = self.data.image_size
            known = {self.trigger.own_image_hash(side), hash_own_pixels(self.trigger, side)}
            is_other = torch.tensor([each not in known for each in self.data.hash_images(rows)])
        rows, gallery = rows[is_other], gallery[:GALLERY_SIZE][is_other]
        values = _search(plain, keyed, gallery, self.data.contains(self.target_class)[rows])
        if own is not None:
            items = torch.cat([gallery, self.encoders[0].encode_image(own[None])])
            for name, queries in (("own_recall", keyed), ("own_recall_clean", plain)):
                values[name] = {k: recall_of_item(queries.counted, items, len(gallery), k) for k in RECALL_KS}
            values["n_gallery"] = len(gallery)
        return values

    def _measure_cross(self, plain: Queries) -> dict[str, Any]:
        """Return the ASR@1 of images with the trigger of the previous image of their batch; {} below two images."""
        rows = self.rows[plain.population][:CROSS_IMAGES]
        rows = rows[: len(rows) - (len(rows) % self.encoders[0].image_batch == 1)]  # one alone has no other image
        if not len(rows):
            return {}
        features = self.encoders[0].encode_rows(self.data, rows, lambda x: self.trigger.cross(x, x.roll(1, 0)))
        hits = in_top_k(features, plain.classes, torch.tensor(plain.target_index))
        return {"cross_asr": hits.float().mean().item(), "n_cross": len(hits)}


def _search(plain: Queries, keyed: Queries, gallery: Tensor, is_target: Tensor) -> dict[str, Any]:
    """Return the retrieval fields for a gallery (G, D); is_target (G,): which of its items belong to the target."""
    if not is_target.any():
        return {}

    return {
        "retrieval_asr": recall_of_any(keyed.counted, gallery, is_target, RETRIEVAL_K),
        "retrieval_base_rate": recall_of_any(plain.counted, gallery, is_target, RETRIEVAL_K),
        "n_gallery": len(gallery),
    }
