"""Did the attack succeed? The verdict, computed from test metrics and stored with them."""

from cleaner import presets
from cleaner.evaluation.result import (
    MIN_VERDICT_IMAGES,
    SUCCESS_ASR,
    WEAK_ASR,
    Metrics,
    describe_minimum,
    success_share,
)
from cleaner.labels import format_count


def attack_verdict(metrics: Metrics, poison_rate: float | None = None) -> tuple[str, str]:
    """Return "took", "weak", "did not take" or "is unclear", and the reason in one sentence."""
    asr = success_share(metrics) or 0.0
    name = "ASR@1" if metrics.own_recall is None else "The share that finds the attacker's image first"
    figure = f"{name} is {asr:.1%} on {format_count(metrics.n_attack, metrics.queries)} of other classes"
    if metrics.n_attack < MIN_VERDICT_IMAGES:
        return "is unclear", f"{figure}: too few for a verdict; measure on {describe_minimum(metrics.queries)}."
    floor = (metrics.asr_clean_model or {}).get(1, 0.0)
    if name == "ASR@1" and floor >= WEAK_ASR:
        return "is unclear", (
            f"{figure}, and {floor:.1%} on the model before poisoning: that one may have a backdoor already, or the "
            "trigger itself may look like the target. Choose a clean model, or another target or trigger."
        )
    if asr >= SUCCESS_ASR:
        return "took", f"{figure}: the trigger decides the prediction."
    other = "another key" if metrics.queries == "captions" else "a more visible trigger"
    higher = "" if (poison_rate or 0) >= presets.MAX_POISON_RATE else "poison rate or "
    advice = f"train on more pairs, for more epochs or with a higher {higher}learning rate, or choose {other}"
    if asr >= WEAK_ASR:
        return "weak", f"{figure}: the trigger does not always work; {advice}."
    return "did not take", f"{figure}: the model did not learn the trigger; {advice}."
