"""Tables of a million rows stay within the limits of `guard`."""

from __future__ import annotations

from pathlib import Path

import pytest

from cleaner import load_data
from cleaner.types import CleanerError
from tests.data.files import image_bytes
from tests.inputs.guard import guarded

ROWS = 1_000_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with three images, a table that repeats them a million times, and one of missing images."""
    folder = tmp_path_factory.mktemp("large") / "case"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.png").write_bytes(image_bytes(number))
    for name, images in (("present.csv", 3), ("missing.csv", ROWS)):
        with (folder / name).open("w") as file:
            file.write("filepath,title\n")
            file.writelines(f"{i % images + (images == ROWS) * 9}.png,a red wall number {i}\n" for i in range(ROWS))
    return folder


@pytest.mark.slow
def test_a_million_rows_are_read(folder: Path) -> None:
    with guarded(folder):
        data = load_data(str(folder / "present.csv"), size=2_000)
        assert len(data) == 2_000
        assert data.images([0, 1_999]).shape == (2, 3, 224, 224)


@pytest.mark.slow
def test_a_million_missing_images_are_one_sentence(folder: Path) -> None:
    with guarded(folder), pytest.raises(CleanerError, match=r"50,\d\d\d of 5\d,\d\d\d images .* cannot be read"):
        load_data(str(folder / "missing.csv"), split="all")
