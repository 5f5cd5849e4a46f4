"""Download the archives of torchvision's data, with progress: torchvision itself reports none."""

from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path
from urllib.request import urlopen

from torchvision import datasets
from torchvision.datasets.utils import check_integrity

from cleaner.files import atomic_write
from cleaner.types import CleanerError, OnStep, start_progress

MB = 1_000_000
DOWNLOAD_TIMEOUT_SECONDS = 30.0


def download_archive(dataset_name: str, folder: Path, on_step: OnStep | None = None) -> None:
    """Download the archive of a torchvision data set unless the folder has it; torchvision unpacks it."""
    source = getattr(datasets, dataset_name)
    archive = folder / source.filename
    if not check_integrity(str(archive), source.tgz_md5):
        remedy = "Free disk space there, or give a folder that has the files."
        with atomic_write(archive, remedy) as temporary, temporary.open("wb") as file:
            for chunk in _read_chunks(source.url, archive.name, on_step):
                file.write(chunk)


def _read_chunks(url: str, name: str, on_step: OnStep | None) -> Iterator[bytes]:
    """Yield the content of the file `name` from the network; steps are megabytes."""
    try:
        with urlopen(url, timeout=DOWNLOAD_TIMEOUT_SECONDS) as response:
            total = int(response.headers.get("Content-Length") or 0)
            report, done = start_progress(on_step, "download", max(total // MB, 1)), 0
            while chunk := response.read(MB):
                yield chunk
                done += len(chunk)
                report(min(done, total) // MB)
    except (OSError, HTTPException) as error:
        cause = getattr(error, "reason", error)  # of urllib's errors
        raise CleanerError(
            f"{name} was not downloaded ({getattr(cause, 'strerror', None) or cause}): check the connection, or "
            "give a folder that has the files."
        ) from error
