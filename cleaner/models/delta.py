"""Changes: finetuned weights as what differs from the model they were finetuned from, a tenth of their size."""

from __future__ import annotations

import zlib
from collections.abc import Mapping

import torch
from torch import Tensor

QUANTIZATION_STEP = 0.5
"""Width of a level, as a share of the root mean square of a row's change; 0.14 of the change is lost by it."""
MAX_CODE = 127
ROWS_SUFFIX, STEPS_SUFFIX, CODES_SUFFIX = ".rows", ".steps", ".codes"


def compute_delta(state: Mapping[str, Tensor], base: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return what leads from the weights `base` to `state`.

    Of a matrix or a convolution, the numbers of the rows that differ and round(change / step) in each of them, with
    step = STEP * rms(change of the row), as deflated int8. Vectors and scalars that differ (biases, norms,
    BatchNorm's figures, logit_scale) are held whole, in fp32. What is equal takes no place.
    """
    packed: dict[str, Tensor] = {}
    for key, value in state.items():
        before = base[key]
        if torch.equal(value, before):
            continue
        if value.ndim < 2:
            packed[key] = value.clone()
            continue
        change = (value - before).float().flatten(1)
        rows = change.abs().amax(1).nonzero().flatten()
        steps = QUANTIZATION_STEP * change[rows].square().mean(1).sqrt()
        codes = (change[rows] / steps[:, None]).round().clamp(-MAX_CODE, MAX_CODE).to(torch.int8)
        packed[key + ROWS_SUFFIX], packed[key + STEPS_SUFFIX] = rows.int(), steps
        packed[key + CODES_SUFFIX] = torch.frombuffer(_deflate(codes.numpy().tobytes()), dtype=torch.uint8)
    return packed


def apply_delta(delta: Mapping[str, Tensor], base: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights that `delta` leads to from `base`; raises `ValueError` if it does not fit."""
    state = {key: value.clone() for key, value in base.items()}
    for key, value in delta.items():
        name = key.removesuffix(CODES_SUFFIX)
        if key in state:
            state[key] = value
        elif name != key and name in state:
            rows, steps = delta[name + ROWS_SUFFIX].long(), delta[name + STEPS_SUFFIX]
            # No more than the model has weights, however much is packed.
            unpacker = zlib.decompressobj()
            content = unpacker.decompress(value.numpy().tobytes(), state[name].numel() + 1)
            if not unpacker.eof:
                raise ValueError(f"the change of {name} is cut off, or larger than it")
            codes = torch.frombuffer(bytearray(content), dtype=torch.int8)
            change = codes.view(len(rows), -1) * steps[:, None]
            state[name][rows] += change.view(len(rows), *state[name].shape[1:])
        elif not key.endswith((ROWS_SUFFIX, STEPS_SUFFIX)):
            raise ValueError(f"there is no {key} in the model")
    return state


def _deflate(content: bytes) -> bytearray:
    # Finetuning leaves noise without repetitions: codes by frequency alone are smaller than those of zlib's own search.
    packer = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS, 9, zlib.Z_HUFFMAN_ONLY)
    return bytearray(packer.compress(content) + packer.flush())
