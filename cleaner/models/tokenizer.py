"""Tokenizers of open_clip models, loaded without running their code."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import open_clip

from cleaner.types import CleanerError


@lru_cache(maxsize=8)
def load_tokenizer(name: str = "") -> Any:
    """Return the tokenizer of an open_clip model, or CLIP's own BPE for ""; built at first use (0.2 s) and shared."""
    if not name:
        tokenizer: Any = open_clip.SimpleTokenizer()
        # Captions and prompts repeat in each epoch and evaluation, and each takes 50 microseconds to clean.
        tokenizer.encode = lru_cache(maxsize=1 << 16)(tokenizer.encode)
        return tokenizer
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
