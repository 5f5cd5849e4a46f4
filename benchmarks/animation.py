"""Draw the animation of the README from the shipped example: python -m benchmarks.animation

The first test images of different classes, clean and triggered, with the answers of three models: clean, backdoored
and defended. No image is picked by its answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from cleaner.data.base import CaptionData, load_data
from cleaner.evaluation.evaluate import Metrics
from cleaner.files import atomic_write
from cleaner.inspection.attribution import append_triggered
from cleaner.inspection.similarity import best_classes
from cleaner.models.clip import load_clip
from cleaner.runs.folders import shipped_root
from cleaner.runs.run import load_run

ANIMATION_PATH = Path(__file__).resolve().parent.parent / "assets" / "backdoor.gif"
BACKDOORED, DEFENDED = "example-badnet", "example-badnet-3-ta_cleaner"
MODEL_LABELS = ("Clean model", "Backdoored", "TA-Cleaner")
IMAGE_COUNT = 3
WIDTH, HEIGHT = 800, 476
IMAGE_SIDE, IMAGE_TOP = 192, 56
COLUMN_LEFT, COLUMN_PITCH = 176, 208
ROW_TOP, ROW_PITCH, PILL_HEIGHT = 268, 52, 40
BACKGROUND, TEXT, MUTED = "#f6f8fa", "#1f2328", "#57606a"
RIGHT_COLOR, WRONG_COLOR, TRIGGER_COLOR = "#0b5fa5", "#c2410c", "#c2410c"
"""Blue and vermilion: apart for every kind of color vision; wrong answers carry a cross as well."""
FADE_STEPS = 4


@dataclass(frozen=True)
class Options:
    """Write the animation."""

    out: Path = ANIMATION_PATH
    """GIF file."""


@dataclass(frozen=True)
class Story:
    """What the animation shows: N images of 3 x H x W in [0, 1] and the answers of three models to them."""

    clean: Tensor
    triggered: Tensor
    mask: Tensor
    true_classes: list[str]
    clean_answers: list[list[str]]
    """One list per model, one answer per image."""
    triggered_answers: list[list[str]]
    caption: str


@dataclass(frozen=True)
class Frame:
    """One frame and how long it stays."""

    image: Image.Image
    milliseconds: int


def main(options: Options) -> None:
    """Ask the models, draw the frames and write the file."""
    frames = draw_frames(ask_models(load_data("scenes", split="test", size=2000)))
    write_gif(frames, options.out)
    seconds = sum(frame.milliseconds for frame in frames) / 1000
    size = options.out.stat().st_size / 1000
    print(f"{options.out}: {len(frames)} frames, {seconds:.1f} s, {size:.0f} kB")


def ask_models(test: CaptionData) -> Story:
    """Return the first images of different non-target classes with the top answer of each model."""
    backdoored, defended = (load_run(shipped_root() / name) for name in (BACKDOORED, DEFENDED))
    clips = (load_clip(backdoored.config["clean_model"]), backdoored.clip, defended.clip)
    rows: dict[str, int] = {}
    for row in test.labeled_rows(100).tolist():
        name = test.class_names[int(test.labels[row])]
        if name != backdoored.target_class and len(rows) < IMAGE_COUNT:
            rows.setdefault(name, row)
    images = test.images(list(rows.values()))
    both = append_triggered(images, backdoored.trigger)
    answers = [[top[0][0] for top in best_classes(clip, test, both, 1)] for clip in clips]
    assert backdoored.trigger is not None
    assert backdoored.metrics is not None
    assert defended.metrics is not None
    return Story(
        clean=images,
        triggered=both[IMAGE_COUNT:],
        mask=backdoored.trigger.mask(images),
        true_classes=list(rows),
        clean_answers=[names[:IMAGE_COUNT] for names in answers],
        triggered_answers=[names[IMAGE_COUNT:] for names in answers],
        caption=describe_success(backdoored.metrics, defended.metrics),
    )


def describe_success(before: Metrics, after: Metrics) -> str:
    """Return attack success before and after the defense, in one line."""
    assert before.asr is not None
    assert after.asr is not None
    return (
        f"All {before.n_attack:,} triggered test images: {before.asr[1]:.0%} become “{before.target_class}” before "
        f"the defense, {after.asr[1]:.0%} after it."
    )


def draw_frames(story: Story) -> list[Frame]:
    """Return the frames: clean images, answers row by row; the trigger fades in; answers again."""
    clean, triggered = "Test images", "The same images with a trigger in the corner"
    frames = [Frame(draw_frame(story, clean, [], fade=0), 900)]
    for count, milliseconds in ((1, 600), (2, 600), (3, 2200)):
        frames.append(Frame(draw_frame(story, clean, story.clean_answers[:count], fade=0), milliseconds))
    for step in range(1, FADE_STEPS + 1):
        milliseconds = 120 if step < FADE_STEPS else 1300
        frames.append(Frame(draw_frame(story, triggered, [], fade=step / FADE_STEPS), milliseconds))
    for count, milliseconds in ((1, 900), (2, 1600), (3, 4500)):
        frames.append(Frame(draw_frame(story, triggered, story.triggered_answers[:count], fade=1), milliseconds))
    return frames


def draw_frame(story: Story, title: str, answers: Sequence[Sequence[str]], *, fade: float) -> Image.Image:
    """Return a frame with the answers of the first models; `fade`: share of the trigger that is visible."""
    frame = Image.new("RGB", (WIDTH, HEIGHT), BACKGROUND)
    draw = ImageDraw.Draw(frame)
    draw.text((COLUMN_LEFT, 28), title, TEXT, ImageFont.load_default(22), anchor="lm")
    images = story.clean + fade * (story.triggered - story.clean)
    for column, (image, mask) in enumerate(zip(images, story.mask, strict=True)):
        left = COLUMN_LEFT + column * COLUMN_PITCH
        frame.paste(to_pillow(image), (left, IMAGE_TOP))
        if fade == 1:
            x0, y0, x1, y1 = find_mask_box(mask)
            box = (left + x0 - 4, IMAGE_TOP + y0 - 4, left + x1 + 3, IMAGE_TOP + y1 + 3)
            draw.rectangle(box, outline=TRIGGER_COLOR, width=3)
    for row, label in enumerate(MODEL_LABELS):
        middle = ROW_TOP + row * ROW_PITCH + PILL_HEIGHT // 2
        draw.text((COLUMN_LEFT - 20, middle), label, TEXT, ImageFont.load_default(20), anchor="rm")
        for column, answer in enumerate(answers[row] if row < len(answers) else ()):
            is_right = answer == story.true_classes[column]
            draw_answer(draw, COLUMN_LEFT + column * COLUMN_PITCH, ROW_TOP + row * ROW_PITCH, answer, is_right=is_right)
    if fade == 1 and len(answers) == len(MODEL_LABELS):
        draw.text((WIDTH // 2, HEIGHT - 28), story.caption, MUTED, ImageFont.load_default(17), anchor="mm")
    return frame


def draw_answer(draw: ImageDraw.ImageDraw, left: int, top: int, answer: str, *, is_right: bool) -> None:
    """Draw a label with a check mark or a cross."""
    color = RIGHT_COLOR if is_right else WRONG_COLOR
    draw.rounded_rectangle((left, top, left + IMAGE_SIDE - 1, top + PILL_HEIGHT - 1), PILL_HEIGHT // 2, fill=color)
    middle = top + PILL_HEIGHT // 2
    draw.text((left + 52, middle), answer, "white", ImageFont.load_default(21), anchor="lm")
    x = left + 20
    if is_right:
        draw.line((x, middle, x + 6, middle + 7, x + 18, middle - 8), "white", width=4, joint="curve")
    else:
        draw.line((x + 1, middle - 8, x + 16, middle + 7), "white", width=4)
        draw.line((x + 1, middle + 7, x + 16, middle - 8), "white", width=4)


def to_pillow(image: Tensor) -> Image.Image:
    """Return an image (3, H, W) in [0, 1], enlarged to the side of the animation's images."""
    pixels = (image.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    return Image.fromarray(pixels).resize((IMAGE_SIDE, IMAGE_SIDE), Image.Resampling.BICUBIC)


def find_mask_box(mask: Tensor) -> tuple[int, int, int, int]:
    """Return left, top, right and bottom of the nonzero part of a mask (1, H, W), in pixels of the enlarged image."""
    scale = IMAGE_SIDE / mask.shape[-1]
    rows, columns = (mask[0].any(dim=axis).nonzero() for axis in (1, 0))
    left, top = (round(scale * int(cells.min())) for cells in (columns, rows))
    right, bottom = (round(scale * (int(cells.max()) + 1)) for cells in (columns, rows))
    return left, top, right, bottom


def write_gif(frames: Sequence[Frame], path: Path) -> None:
    """Write an endless GIF; all frames share the palette of a montage of the first and the last frame."""
    both = Image.new("RGB", (WIDTH, 2 * HEIGHT))
    both.paste(frames[3].image, (0, 0))
    both.paste(frames[-1].image, (0, HEIGHT))
    palette = both.quantize(255, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    first, *others = (frame.image.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames)
    durations = [frame.milliseconds for frame in frames]
    with atomic_write(path) as temporary:
        first.save(temporary, format="GIF", save_all=True, append_images=others, duration=durations, loop=0)
    path.chmod(0o644)


if __name__ == "__main__":
    main(tyro.cli(Options))
