"""Description of a loaded model, shown for models that were trained elsewhere."""

from cleaner.models.clip import Clip


def describe_model(clip: Clip) -> list[str]:
    """Return a description of a loaded model, in sentences."""
    tower = type(getattr(clip.model, "visual", clip.model)).__name__
    millions = sum(p.numel() for p in clip.model.parameters()) / 1e6
    mean, std = (", ".join(f"{v:.3f}" for v in each) for each in (clip.architecture.mean, clip.architecture.std))
    lines = [
        f"An open_clip {tower} with {millions:.1f} million parameters; no weight is missing or unused.",
        f"It takes images of {clip.image_size} × {clip.image_size} px, normalized with mean {mean} and std {std}.",
    ]
    if clip.has_sigmoid_loss:
        lines.append("It was trained with SigLIP's sigmoid loss, and is finetuned with it.")
    return [*lines, describe_metadata(clip) or "Its metadata does not say whether it was poisoned."]


def describe_metadata(clip: Clip) -> str:
    """Return what the model's metadata say of its past, in sentences; empty if they say nothing."""
    stage, target = clip.metadata.get("stage"), clip.metadata.get("target")
    if not stage:
        return ""
    target_note = f", with the target “{target}”" if target and stage == "backdoored" else ""
    return f"Its metadata says that it is {stage}{target_note}. Anyone can write metadata."
