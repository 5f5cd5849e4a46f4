"""A zoo on disk: manifest.json, a model file each, answers.json, and sealed.bin with the sealed answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cleaner.files import assets, file_sha256, read_json
from cleaner.types import CleanerError
from cleaner.zoo.plan import DEVELOPMENT, SEALED
from cleaner.zoo.sealing import unseal

MANIFEST, ANSWERS, SEALED_ANSWERS = "manifest.json", "answers.json", "sealed.bin"
VERSION = 1


@dataclass(frozen=True)
class Zoo:
    """The models of a zoo by id, and their answers."""

    folder: Path
    manifest: Mapping[str, Any]

    @classmethod
    def read(cls, folder: Path | None = None) -> Zoo:
        """Return the zoo in a folder; None: the shipped one. Raises `CleanerError` if there is none."""
        folder = assets() / "zoo" if folder is None else folder
        manifest = read_json(folder / MANIFEST)
        if manifest.get("version") != VERSION:
            raise CleanerError(f"{folder} has no zoo of version {VERSION}: unpack zoo.zip there, or build one.")
        return cls(folder, manifest)

    def list_ids(self, split: str) -> list[str]:
        """Return the sorted ids of the models of a split."""
        return sorted(id for id, model in self.manifest["models"].items() if model["split"] == split)

    def model_path(self, id: str) -> Path:
        """Return a model's file. Raises `CleanerError` if it is not the one of the manifest."""
        path = self.folder / f"{id}.safetensors"
        if not path.is_file() or file_sha256(path) != self.manifest["models"][id]["sha256"]:
            raise CleanerError(f"{path} is missing or has changed: unpack zoo.zip again.")
        return path

    def read_answers(self, split: str, passphrase: str = "") -> dict[str, Any]:
        """Return id -> answer. Raises `CleanerError` for sealed ones without the right passphrase."""
        if split == DEVELOPMENT:
            return read_json(self.folder / ANSWERS)
        path = self.folder / SEALED_ANSWERS
        if split != SEALED or not path.is_file():
            raise CleanerError(f"{self.folder} has no sealed models: build a zoo of more than the development cut.")
        return unseal(path.read_bytes(), passphrase, str(self.manifest["answers_sha256"]))
