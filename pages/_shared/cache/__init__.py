"""Cached twins of the library; the only place with st.cache_*. Heavy imports stay inside the functions.

Models and data are shared by all sessions and never changed: training works on copies.
"""

from __future__ import annotations

from pages._shared.cache.attributions import attribution, explains, image_size, shares, shares_over, word_attribution
from pages._shared.cache.choices import (
    datasets,
    defenses,
    device_name,
    devices,
    explainers,
    fast_precision,
    models,
    precisions,
    prepared,
    triggers,
)
from pages._shared.cache.embeddings import fit_umap, kept_map, make_map, map_of_model
from pages._shared.cache.library import grammar, library, warm
from pages._shared.cache.material import (
    clip,
    data,
    framed,
    framing_of,
    located_data,
    named,
    of_stage,
    packed,
    poison_plan,
    run,
    verdict,
)
from pages._shared.cache.outside import describe, is_of, look_at, scan
from pages._shared.cache.pictures import (
    best_classes,
    picture_pair,
    placed,
    seen,
    shown_pair,
    stamp,
    text_key,
    trigger_mask,
    warm_pictures,
)
from pages._shared.cache.reports import entries, report_html, weight_forms
from pages._shared.cache.texts import draw, epoch_draw, fits, margins, parse, signs, similarities, vocabulary
