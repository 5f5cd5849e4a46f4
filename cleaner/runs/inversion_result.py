"""Inversion: its settings, and its result as files: the suspect class of a model and the inverted trigger. No torch.

A result folder holds inversion.json and, if a class gives way, trigger.png: the pattern with the mask as alpha channel.
"""

import base64
import hashlib
import statistics
from dataclasses import asdict, dataclass, replace
from functools import cache, lru_cache
from os.path import isdir, isfile
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from cleaner.config import param, validate
from cleaner.files import (
    MAX_JSON_BYTES,
    FileVersion,
    assets,
    cache_root,
    file_version,
    read_existing_json,
    read_limited,
    resolve_path,
    write_bytes,
    write_json,
)
from cleaner.models.resolve import ModelName
from cleaner.runs.derived import derived_folder, find_derived
from cleaner.types import CleanerError

RESULT_FILE, TRIGGER_FILE = "inversion.json", "trigger.png"
FOLDER = "inversion"
"""Folder of a run's inversion below its derived files."""
ANOMALY = 2.0
"""Outlier index from which a class counts as anomalous, as in Neural Cleanse."""
MAD_SCALE = 1.4826
"""Makes the median absolute deviation of normal values their standard deviation."""
MEAN_AD_SCALE = 1.2533
"""The same for the mean absolute deviation: sqrt(pi / 2)."""
RESOLUTION = 0.05
"""Share by which the search changes the size of a perturbation in a step."""
NOT_CONVERGED = "The patch moves fewer searched images than asked for: raise patch_steps, or lower success."
ESTIMATE_NOTE = (
    "An estimate: another trigger than the attacker's may do the same, and optimization finds a trigger for some class "
    "of a clean model too."
)
MISS_NOTE = "This proves nothing: the targets of optimized patches and of the wave did not stand out when measured."
CHANCE_NOTE = (
    "Chance alone may reach an index of 2: if resistances are normally distributed, in a quarter of the models "
    "with 3 to 5 classes, in a third of those with 10, in more than half of those with 32."
)


@dataclass(frozen=True, kw_only=True)
class InversionConfig:
    """Settings of a trigger inversion."""

    images: int = param(1000, low=4, high=100_000, help="Unlabeled images; a quarter of them measure the result.")
    # In fewer steps the search does not reach its largest size, which stands for classes that it never reached.
    search_steps: int = param(60, low=52, high=10_000, help="Steps of the search, for all classes at once.")
    search_batch: int = param(8, low=1, high=256, help="Images per class and step of the search.")
    patch_steps: int = param(200, low=10, high=10_000, help="Optimization steps for patch and mask.")
    batch_size: int = param(32, low=2, high=512, help="Images per step for patch and mask.")
    success: float = param(0.9, low=0.1, high=1.0, step=0.01, help="Share of the images that the patch has to move.")
    seed: int = param(0, low=0, high=2**31 - 1, help="Seeds the batches and the first pattern.")

    def __post_init__(self) -> None:
        validate(self)


@dataclass(frozen=True, kw_only=True)
class Inversion:
    """What `cleaner.inspection.inversion.invert` found.

    Attributes:
        model, data: names; classes: name -> resistance, > 0: lower gives way more easily.
        suspect: the class that gives way most easily; None: none gives way.
        settings: of the search; `images`: as many as were used.
        asr, interval, n: share of held-out images, not of the suspect class, that the inverted trigger moves to it, its
            95% interval, and their number. `masked_share`: share of the image under the mask, 0..1.
        target_class, iou, inside, true_asr: of the known attack: its target; the overlap of the true mask with the
            inverted one above one half; the share of the inverted mask inside the true one; the success of its trigger
            on held-out images that the model does not take for the target. None if the attack is unknown.
        png: the trigger as a PNG file in base64, alpha = mask; empty without a suspect.
        searched_asr: what asr is, on the searched images.
        changes_images: whether the known attack changes images; if not, any suspect is a false alarm.
    """

    model: str
    data: str
    classes: dict[str, float]
    suspect: str | None
    settings: dict[str, int | float]
    seconds: float
    asr: float | None = None
    interval: tuple[float, float] | None = None
    n: int = 0
    masked_share: float | None = None
    target_class: str | None = None
    iou: float | None = None
    inside: float | None = None
    true_asr: float | None = None
    png: str = ""
    searched_asr: float | None = None
    changes_images: bool = True

    @property
    def ranking(self) -> list[str]:
        """The classes, the one that gives way most easily first."""
        return sorted(self.classes, key=self.classes.__getitem__)

    @property
    def outlier_index(self) -> float | None:
        """How far the first class is below the others: (median - value) / (1.4826 MAD), as Neural Cleanse.

        Where most classes resist equally, MAD is 0; the mean absolute deviation, scaled likewise, takes its place,
        but at least the resolution of the search. None for two classes, which are equally far from their median.
        """
        values = list(self.classes.values())
        if len(values) < 3:
            return None
        median = statistics.median(values)
        deviations = [abs(value - median) for value in values]
        spread = MAD_SCALE * statistics.median(deviations)
        if not spread:
            spread = max(MEAN_AD_SCALE * statistics.fmean(deviations), RESOLUTION * median)
        return (median - min(values)) / spread if spread else 0.0

    @property
    def is_anomalous(self) -> bool:
        """Whether the first class stands out: its outlier index is at least `ANOMALY`."""
        return self.suspect is not None and self.outlier_index is not None and self.outlier_index >= ANOMALY

    @property
    def margin(self) -> float:
        """How much less the first class resists than the second, as a share of the second, 0..1."""
        first, second = sorted(self.classes.values())[:2]
        return 1 - first / second if second else 0.0

    @property
    def has_converged(self) -> bool:
        """Whether the patch moves the share of the searched images that was asked for."""
        return self.searched_asr is not None and self.searched_asr >= self.settings.get("success", 0)

    @property
    def is_right(self) -> bool | None:
        """Whether the suspect is the target of the known attack; None without such an attack on images."""
        return None if self.target_class is None or not self.changes_images else self.suspect == self.target_class


@cache
def _validator() -> TypeAdapter[Inversion]:
    return TypeAdapter(Inversion)


def write_inversion(inversion: Inversion, folder: Path) -> Path:
    """Write the files of an inversion, atomically, inversion.json last; return the folder."""
    if inversion.png:
        write_bytes(folder / TRIGGER_FILE, base64.b64decode(inversion.png))
    else:
        (folder / TRIGGER_FILE).unlink(missing_ok=True)
    write_json(folder / RESULT_FILE, {**asdict(replace(inversion, png="")), "outlier_index": inversion.outlier_index})
    return folder


def read_inversion(folder: Path) -> Inversion | None:
    """Return the inversion in a folder; None if there is none, or its files are damaged. Do not change it."""
    try:
        return _read_versions(folder, file_version(folder / RESULT_FILE), file_version(folder / TRIGGER_FILE))
    except OSError:
        return None


@lru_cache(maxsize=16)
def _read_versions(folder: Path, result: FileVersion | None, trigger: FileVersion | None) -> Inversion | None:
    try:
        inversion = _validator().validate_python(read_existing_json(folder / RESULT_FILE))
        if len(inversion.classes) < 2 or inversion.suspect not in (None, *inversion.classes):
            return None
        if inversion.suspect is None:
            return inversion
        content = read_limited(folder / TRIGGER_FILE, MAX_JSON_BYTES)
    except ValidationError:
        return None
    return replace(inversion, png=base64.b64encode(content).decode())


def locate_inversion(run: Path | None, model: str = "") -> Path:
    """Return where the inversion of a run's model is stored, or of a model without a run, by name or path."""
    if run is not None:
        return derived_folder(run) / FOLDER
    name = resolve_path(model)
    files = (name, ModelName.parse(name).rest, assets() / name / "model.safetensors")
    file = next((path for path in files if isfile(path)), None)
    folder = next((path for path in files[:2] if isdir(path)), None)
    version: object = None if file is None else file_version(file)
    if file is None and folder is not None:
        version = [file_version(path) for path in sorted(Path(folder).glob("*"))]
    key = hashlib.sha256(f"{name} {version}".encode(errors="surrogatepass")).hexdigest()
    return cache_root() / "inversions" / key[:32]


def find_inversion(run: Path | None, model: str = "") -> Path:
    """Return the folder of the stored inversion of a run or model, which need not exist."""
    return locate_inversion(None, model) if run is None else find_derived(run, f"{FOLDER}/{RESULT_FILE}").parent


def find_trigger_file(folder: Path) -> Path | None:
    """Return the inverted trigger in a result folder; None if the folder holds no inversion."""
    inversion = read_inversion(folder)
    if inversion is None:
        return None
    if inversion.suspect is None:
        raise CleanerError(f"the inversion in {folder} found no class that gives way, so it has no trigger.")
    return folder / TRIGGER_FILE


def adopt_inversion(defense: Any, run: Path | None, model: str = "") -> Any:
    """Return a defense, with its suspect's inverted trigger (`locate_inversion`) if it lacks one."""
    if not defense.needs_inversion:
        return defense
    folder = find_inversion(run, model)
    file, found = find_trigger_file(folder), read_inversion(folder)
    if file is None or found is None:
        return defense
    target = {"target_class": found.suspect} if getattr(defense, "target_class", None) == "" else {}
    return replace(defense, path=str(file), **target)
