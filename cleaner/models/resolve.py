"""The name of a model, taken apart. Importing this loads neither torch nor open_clip."""

from __future__ import annotations

from dataclasses import dataclass
from os.path import isfile, join  # unlike pathlib's, they take a name of any length
from pathlib import PurePath
from typing import Literal

from cleaner.files import expand_home, resolve_path

WEIGHT_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")
"""Suffixes of files with weights, the preferred one first."""
OPEN_CLIP_CONFIG_FILE = "open_clip_config.json"


@dataclass(frozen=True)
class ModelName:
    """The parts of a model's name.

    Attributes:
        text: the name, with the home folder for ~.
        prefix, rest: the text before and after the first colon; "" and "" unless both are there.
    """

    text: str
    prefix: str
    rest: str

    @classmethod
    def parse(cls, name: str) -> ModelName:
        """Return the parts of a name; reads no file."""
        text = expand_home(name)
        prefix, _, rest = text.partition(":")
        return cls(text, prefix if rest else "", rest)

    @property
    def is_built_in(self) -> bool:
        from cleaner.models.architectures import BUILT_IN  # loads open_clip

        return self.text in BUILT_IN

    @property
    def architecture(self) -> str:
        """Architecture of open_clip in "ViT-B-32:weights.pt" or "ViT-B-32/openai"; "" for other names."""
        import open_clip

        architecture = self.prefix or self.text.partition("/")[0]
        return architecture if architecture in open_clip.list_models() else ""

    @property
    def tag(self) -> str:
        """Pretrained tag in "ViT-B-32/openai"; "" for a name with a colon."""
        return "" if self.prefix else self.text.partition("/")[2]

    @property
    def path(self) -> str:
        """File or folder, which need not exist: what follows "ViT-B-32:" or "local-dir:", else the whole name."""
        return self.rest if self.prefix and (self.prefix == "local-dir" or self.architecture) else self.text

    @property
    def kind(self) -> Literal["built-in", "hub", "folder", "file", "tag"]:
        """How the model is loaded; "folder" has an open_clip_config.json, "tag" is any name that is nothing else."""
        if self.is_built_in:
            return "built-in"
        if self.prefix == "hf-hub":
            return "hub"
        if self.prefix == "local-dir" or isfile(join(self.path, OPEN_CLIP_CONFIG_FILE)):
            return "folder"
        is_file = self.path != self.text or PurePath(self.path).suffix in WEIGHT_SUFFIXES or isfile(self.path)
        return "file" if is_file else "tag"

    def resolve(self) -> str:
        """Return the name as it can be used from any working directory: paths are absolute."""
        return self.text if self.is_built_in else resolve_path(self.text)


def resolve_model_name(model: str) -> str:
    """Return a built-in model's name unchanged, and the path of a model file as an absolute path."""
    return ModelName.parse(model).resolve()
