"""Caption data sets in torchvision's layouts: Flickr8k, Flickr30k, COCO captions."""

import json
from os.path import isdir, isfile  # pathlib's raise for a long name or a folder without permission
from pathlib import Path
from typing import Any, ClassVar

from torchvision import datasets

from cleaner.data.base import DATASETS
from cleaner.data.naming import pick_caption
from cleaner.data.pairs import FileData, PairTable, read_image
from cleaner.types import CleanerError


@DATASETS.register("flickr30k")
class Flickr30k(FileData):
    """`flickr30k:/folder/of/images annotations=/folder/results_20130124.token`; one caption per image."""

    dataset_name: ClassVar[str] = "Flickr30k"
    layout: ClassVar[str] = "results_20130124.token"

    def __init__(self, path: str = "", annotations: str = "", **file_options: Any) -> None:
        root = _resolve_root(path, annotations, dataset_name=self.dataset_name.lower())
        try:
            source = getattr(datasets, self.dataset_name)(str(path), str(annotations))
        except (OSError, ValueError, IndexError, AssertionError) as error:
            raise self._layout_error(annotations) from error
        captions_by_image = {Path(key).name: captions for key, captions in source.annotations.items() if captions}
        if not captions_by_image:  # torchvision finds nothing in a text that is no HTML page
            raise self._layout_error(annotations)
        super().__init__(_build_table(root, captions_by_image), f"{self.dataset_name.lower()}:{root}", **file_options)

    def _layout_error(self, annotations: str) -> CleanerError:
        """Return the error for a file in another layout; both data sets are on the web in three."""
        return CleanerError(
            f"{annotations} does not have the captions of {self.dataset_name} in the layout of {self.layout}: a file "
            "like results_20130124.token is read by flickr30k:, a table by csv:TABLE root=FOLDER."
        )


@DATASETS.register("flickr8k")
class Flickr8k(Flickr30k):
    """`flickr8k:/folder/of/images annotations=/folder/flickr8k.html`; one caption per image."""

    dataset_name = "Flickr8k"
    layout = "flickr8k.html"


@DATASETS.register("coco")
class Coco(FileData):
    """`coco:/folder/train2017 annotations=/folder/captions_train2017.json`; one caption per image."""

    def __init__(self, path: str = "", annotations: str = "", **file_options: Any) -> None:
        root = _resolve_root(path, annotations, dataset_name="coco")
        try:
            content = json.loads(Path(annotations).read_text(encoding="utf-8"))
            names = {entry["id"]: entry["file_name"] for entry in content["images"]}
            captions_by_image: dict[str, list[str]] = {}
            for entry in content["annotations"]:
                caption = " ".join(entry["caption"].split())
                captions_by_image.setdefault(names[entry["image_id"]], []).append(caption)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise CleanerError(f"{annotations} is not a COCO caption file: give captions_train2017.json.") from error
        super().__init__(_build_table(root, captions_by_image), f"coco:{root}", **file_options)


def _resolve_root(path: str, annotations: str, *, dataset_name: str) -> Path:
    """Return the image folder's absolute path; raises `CleanerError` if it or the captions are missing."""
    if not path or not isdir(path) or not annotations or not isfile(annotations):
        raise CleanerError(
            f"give the image folder and the caption file: {dataset_name}:/folder annotations=/folder/file."
        )
    return Path(path).resolve()


def _build_table(root: Path, captions_by_image: dict[str, list[str]]) -> PairTable:
    captions = [" ".join(pick_caption(texts, key).split()) for key, texts in captions_by_image.items()]
    return PairTable(keys=list(captions_by_image), captions=captions, read=lambda key: read_image(root / key))
