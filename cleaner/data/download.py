"""Download the archives of torchvision's data, with progress: torchvision itself reports none."""

from __future__ import annotations

from http.client import HTTPException
from pathlib import Path
from urllib.request import urlopen

from torchvision import datasets
from torchvision.datasets.utils import check_integrity

from cleaner.types import CleanerError, OnStep, start_progress

MB = 1_000_000
TIMEOUT_SECONDS = 30.0


def download_archive(dataset_name: str, folder: Path, on_step: OnStep | None = None) -> None:
    """Download the archive of a data set of torchvision, which unpacks it later, unless the folder has it.

    `on_step` receives the stage "download". Raises `CleanerError` if that fails; an interrupted one leaves nothing.
    """
    source = getattr(datasets, dataset_name)
    archive = folder / source.filename
    if not check_integrity(str(archive), source.tgz_md5):
        _download_file(source.url, archive, on_step)


def _download_file(url: str, path: Path, on_step: OnStep | None) -> None:
    """Download a file; steps are megabytes."""
    part = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with urlopen(url, timeout=TIMEOUT_SECONDS) as response, part.open("wb") as file:
            total = int(response.headers.get("Content-Length") or 0)
            report, done = start_progress(on_step, "download", max(total // MB, 1)), 0
            while chunk := response.read(MB):
                file.write(chunk)
                done += len(chunk)
                report(min(done, total) // MB)
        part.replace(path)
    except (OSError, HTTPException) as error:
        cause = getattr(error, "reason", error)  # of urllib's errors
        raise CleanerError(
            f"{path.name} was not downloaded ({getattr(cause, 'strerror', None) or cause}): check the connection, or "
            "give a folder that has the files."
        ) from error
    finally:
        part.unlink(missing_ok=True)
