"""Deltas: finetuned weights stored as the difference to the model they come from, at a tenth of the size."""

import zlib
from collections.abc import Mapping

import torch
from torch import Tensor

QUANTIZATION_STEP = 0.35
"""Quantization step relative to the RMS of a row's change; its relative error is 0.10, that of 1.0 is 0.29."""
MAX_CODE = 127
ROWS_SUFFIX, STEPS_SUFFIX, CODES_SUFFIX = ".rows", ".steps", ".codes"


def compute_delta(
    state: Mapping[str, Tensor], base: Mapping[str, Tensor], step: float = QUANTIZATION_STEP
) -> dict[str, Tensor]:
    """Return the tensors from which `apply_delta` reconstructs `state`, given `base`.

    For a matrix or convolution: the indices of the rows that differ, the step of each, `step` * rms(change), and
    round(change / its step) as deflated int8. Vectors and scalars that differ (biases, norms, BatchNorm statistics,
    logit_scale) are stored in full, in fp32. Equal tensors are left out.
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
        steps = step * change[rows].square().mean(1).sqrt()
        codes = (change[rows] / steps[:, None]).round().clamp(-MAX_CODE, MAX_CODE).to(torch.int8)
        packed[key + ROWS_SUFFIX], packed[key + STEPS_SUFFIX] = rows.int(), steps
        packed[key + CODES_SUFFIX] = torch.frombuffer(_deflate(codes.numpy().tobytes()), dtype=torch.uint8)
    return packed


def apply_delta(delta: Mapping[str, Tensor], base: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights that `compute_delta` encoded; raises one of `checkpoints.DELTA_READ_ERRORS`."""
    state = {key: value.clone() for key, value in base.items()}
    for key, value in delta.items():
        name = key.removesuffix(CODES_SUFFIX)
        if key in state:
            state[key] = value
        elif name != key and name in state:
            rows, steps = delta[name + ROWS_SUFFIX].long(), delta[name + STEPS_SUFFIX]
            # Unpack at most as many bytes as the tensor has weights, whatever the file claims.
            unpacker = zlib.decompressobj()
            content = unpacker.decompress(value.numpy().tobytes(), state[name].numel() + 1)
            if not unpacker.eof:
                raise ValueError(f"the delta of {name} is truncated, or larger than the tensor")
            codes = torch.frombuffer(bytearray(content), dtype=torch.int8)
            change = codes.view(len(rows), -1) * steps[:, None]
            state[name][rows] += change.view(len(rows), *state[name].shape[1:])
        elif not key.endswith((ROWS_SUFFIX, STEPS_SUFFIX)):
            raise ValueError(f"the model has no {key}")
    return state


def _deflate(content: bytes) -> bytearray:
    # The codes are noise without repetitions: Huffman coding alone is smaller than zlib's default with matches.
    packer = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS, 9, zlib.Z_HUFFMAN_ONLY)
    return bytearray(packer.compress(content) + packer.flush())
