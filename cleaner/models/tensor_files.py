"""Write tensors to .safetensors files whose bytes depend on their content alone."""

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from cleaner.files import atomic_write


def write_tensors(path: Path, state: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write contiguous tensors and texts as .safetensors, atomically; equal content gives equal bytes."""
    with atomic_write(path) as temporary:
        temporary.touch()
        mode = temporary.stat().st_mode  # that of every file here; safetensors lets nobody else read its own
        try:
            save_file(dict(state), temporary, metadata=dict(metadata))
            temporary.chmod(mode)
        except SafetensorError as error:  # it wraps the OSError
            raise OSError(str(error)) from error
        _sort_header(temporary)


def _sort_header(path: Path) -> None:
    """Sort the keys of a file's header in place: safetensors writes the metadata in another order in each process.

    The header is the file's first part: its length in bytes (8 bytes, little-endian), then JSON padded with spaces.
    """
    with path.open("r+b") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        text = json.dumps(header, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()
        if len(text) > length:  # would overwrite the tensors
            raise ValueError(f"the header of {path.name} grew from {length} to {len(text)} bytes")
        file.seek(8)
        file.write(text.ljust(length))
