"""Tokenizers of open_clip models, loaded without running their code."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import open_clip
import torch
from torch import Tensor

from cleaner.types import CleanerError


class CachedTokenizer(open_clip.SimpleTokenizer):  # type: ignore[misc]  # open_clip has no types
    """CLIP's own tokenizer, with the same ids in a fraction of the time.

    Captions and prompts repeat in each epoch and evaluation, so the ids of texts and words are cached. A new caption
    took 50 microseconds, most of them to repair its encoding, which plain ASCII does not need.
    """

    def __init__(self) -> None:
        super().__init__()
        self.encode = lru_cache(maxsize=1 << 16)(self._encode)
        self._word_ids = lru_cache(maxsize=1 << 16)(self._encode_word)

    def __call__(self, texts: str | Sequence[str], context_length: int | None = None) -> Tensor:
        """Return token ids (N, context_length), cut before the end token and padded with 0."""
        length = context_length or self.context_length
        rows = [self.encode(text) for text in ([texts] if isinstance(texts, str) else texts)]
        tokens = np.zeros((len(rows), length), dtype=np.int64)
        for row, ids in zip(tokens, rows, strict=True):
            kept = ids[: length - 2]
            row[: len(kept) + 2] = [self.sot_token_id, *kept, self.eot_token_id]
        return torch.from_numpy(tokens)

    def _encode(self, text: str) -> list[int]:
        if text.isascii() and text.isprintable() and "&" not in text:
            cleaned = " ".join(text.split()).lower()
        else:
            cleaned = self.clean_fn(text)
        return [i for word in self.pat.findall(cleaned) for i in self._word_ids(word)]

    def _encode_word(self, word: str) -> tuple[int, ...]:
        characters = "".join(self.byte_encoder[byte] for byte in word.encode("utf-8"))
        return tuple(self.encoder[part] for part in self.bpe(characters).split(" "))


@lru_cache(maxsize=8)
def load_tokenizer(name: str = "") -> Any:
    """Return the tokenizer of an open_clip model, or CLIP's own BPE for ""; built at first use (0.2 s) and shared."""
    if not name:
        return CachedTokenizer()
    options: dict[str, Any] = {}
    listed = open_clip.get_model_config(name) if name in open_clip.list_models() else None
    if listed is None or listed["text_cfg"].get("hf_tokenizer_name"):
        # Otherwise transformers asks whether to run the Python files of a tokenizer.
        options["trust_remote_code"] = False
    if name.startswith("local-dir:"):
        options["local_files_only"] = True
    try:
        return open_clip.get_tokenizer(name, **options)
    except (ImportError, OSError, RuntimeError, ValueError, AssertionError, TypeError, AttributeError) as error:
        if name.startswith("local-dir:"):
            raise CleanerError(
                f"the tokenizer in {name} cannot be read ({type(error).__name__}): pip install transformers "
                "sentencepiece, and add its files, such as tokenizer.json; Python files in the folder are not run."
            ) from error
        raise CleanerError(
            f"the tokenizer of {name} is missing ({type(error).__name__}): pip install transformers sentencepiece, and "
            "allow one download."
        ) from error
