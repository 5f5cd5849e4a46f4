"""Cached twins of the library; the only place with st.cache_*. Heavy imports stay inside the functions.

All sessions share models and data, and none modifies them: training works on copies.
"""

from pages._shared.cache.attributions import (
    attribution,
    check_explainer,
    image_size,
    list_explainers,
    shares,
    shares_over,
    word_attribution,
)
from pages._shared.cache.audits import audit_html, make_audit
from pages._shared.cache.background import keep_worker, warm_up
from pages._shared.cache.choices import (
    caption_choices,
    datasets,
    default_device,
    defenses,
    device_name,
    devices,
    download,
    downloads,
    explainers,
    is_downloaded,
    load_prepared_trigger,
    models,
    precisions,
    resolve_auto_precision,
    triggers,
)
from pages._shared.cache.detections import (
    detect_images,
    detectors,
    make_detection,
    score_pairs,
    score_sample,
    training_captions,
    training_images,
)
from pages._shared.cache.embeddings import fit_umap, make_map, make_model_map
from pages._shared.cache.external_models import Scanned, describe, inspect_model, probe, scan
from pages._shared.cache.inversions import draw_attack, draw_inverted, make_inversion
from pages._shared.cache.loaders import (
    apply_framing,
    count_training_pairs,
    find_framing,
    hash_weights,
    is_loadable,
    load_data,
    load_run,
    make_model_key,
    poison_plan,
    read_data_mtime,
    resolve_data_name,
    save_uploads,
)
from pages._shared.cache.playgrounds import Playground, find_playground, make_playground, playground_html, show_sample
from pages._shared.cache.processor import yield_to_training
from pages._shared.cache.reports import format_command, report_html, weight_formats
from pages._shared.cache.samples import (
    best_classes,
    build_classifier,
    clean_image_pixels,
    decode_own_image,
    image_pair_pixels,
    keyed_prompt,
    load_framed_data,
    place_trigger,
    trigger_box,
    trigger_mask,
    validate_image,
    warm_images,
)
from pages._shared.cache.subtexts import (
    cut_to_context,
    draw_epoch,
    draw_subtexts,
    epoch_diagnostics,
    fits_context,
    margins,
    parse,
    similarities,
)
from pages._shared.cache.warming import FirstView, warm_inspection
from pages._shared.cache.works import BackgroundWork, WorkKey, find_work, session_id, start_search
