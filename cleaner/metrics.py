"""The pure metric functions under their public name; see `cleaner.evaluation.metrics`."""

from cleaner.evaluation.metrics import attack_success_rate as attack_success_rate
from cleaner.evaluation.metrics import top_k_accuracy as top_k_accuracy
from cleaner.models.classifier import zero_shot_classifier as zero_shot_classifier
