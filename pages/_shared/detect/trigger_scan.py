"""The scan of a model for known triggers: choice, progress, and the classes that gain most images."""

import pandas as pd
import streamlit as st

from cleaner.labels import format_count, to_label
from cleaner.types import CleanerError
from pages._shared import cache
from pages._shared.detect.background_work import show_work
from pages._shared.inspect.sample import DataKey
from pages._shared.runs import forms
from pages._shared.shell.frame import show_error
from pages._shared.shell.state import KEEP

ALL_TRIGGERS = "all built-in"
IMAGE_COUNTS = (100, 200, 500, 1000, 2000)
MAX_ROWS = 12


def show(model: str, data: str) -> None:
    """Draw the scan of a model, by name or path, on the test split of the data."""
    key = "search.scan"
    st.markdown("Adds triggers to clean images and reports the classes then predicted more often. Needs no labels.")
    left, middle, right = st.columns(3)
    kinds = cache.triggers()
    kind = left.selectbox(
        "Trigger",
        [ALL_TRIGGERS, *kinds],
        format_func=lambda name: "All built-in" if name == ALL_TRIGGERS else to_label(name),
        key=f"{key}.kind",
        help="All built-in triggers, or one that you suspect.",
        **KEEP,
    )
    n = middle.select_slider("Images", IMAGE_COUNTS, 200, key=f"{key}.n", **KEEP)
    reference = right.selectbox(
        "Reference model",
        cache.models(),
        None,
        key=f"{key}.reference",
        **KEEP,
        placeholder="None",
        help="A model you trust: a trigger that affects both models is not evidence of a backdoor.",
    )
    try:
        framing = cache.find_framing(model)
        side = framing.size if framing is not None else None
        trigger = None
        has_variants = kind == ALL_TRIGGERS and st.toggle(
            "Other sizes, positions, ratios and seeds",
            key=f"{key}.variants",
            value=True,
            help="Tries several hundred settings on a few images, then measures the best ones on others.",
            **KEEP,
        )
        if kind != ALL_TRIGGERS:
            trigger = forms.draw_form(kinds[kind], f"{key}.{kind}", image_side=side)
        request = f"{key}.request"
        settings = "" if trigger is None else str(trigger.state_dict())
        models = [cache.make_model_key(name) for name in (model, reference) if name]
        inputs = f"{models} {data} {cache.read_data_mtime(data)}"  # with file times: files may be replaced
        work_key = ("scan", inputs, settings, str(n), str(has_variants))
        session = cache.session_id()
        if st.button("Scan", key=f"{key}.go", type="primary", icon=":material/search:"):
            last_key, last = st.session_state.get(request, (None, None))
            if last is not None and last_key != work_key:
                last.leave(session)  # it would slow this one down
            test_data = DataKey(data, "test", n)
            work = cache.start_search(
                work_key,
                lambda on_step: cache.scan(
                    model, test_data, trigger, on_step, reference=reference, variants=has_variants
                ),
                session,
            )
            st.session_state[request] = work_key, work
        last_key, work = st.session_state.get(request, (None, None))
        if work is not None and last_key == work_key:
            show_work(work, "Scanning …", key, session)
            if isinstance(work.result, cache.Scanned) and session in work.sessions:
                _show_rows(work.result, reference)
    except CleanerError as error:
        show_error(error)


def _show_rows(found: cache.Scanned, reference: str | None) -> None:
    """Draw the rows of a scan with the largest increases, by the lower end of the interval."""
    rows = [
        {
            "Trigger": to_label(r.trigger),
            "Class": r.class_name,
            "Without": 100 * r.before,
            "With": 100 * r.after,
            "Increase (points)": 100 * r.rise,
            "95% interval": f"{100 * r.interval[0]:+.1f} to {100 * r.interval[1]:+.1f}",
        }
        for r in found.results[:MAX_ROWS]
    ]
    if reference:
        rises = {(r.trigger, r.class_name): r.rise for r in found.reference}
        for row, r in zip(rows, found.results, strict=False):
            row[f"Increase, {reference}"] = 100 * rises[r.trigger, r.class_name]
    columns = {  # fit next to the settings of Defend; on a wider page, they grow in proportion
        "Trigger": st.column_config.Column(width=260),
        "Class": st.column_config.Column(width=64),
        "Without": st.column_config.NumberColumn(format="%.1f%%", width=66),
        "With": st.column_config.NumberColumn(format="%.1f%%", width=60),
        "Increase (points)": st.column_config.NumberColumn("Increase", format="%+.1f", width=74, help="In points."),
        "95% interval": st.column_config.Column(width=128),
        f"Increase, {reference}": st.column_config.NumberColumn(
            reference, format="%+.1f", width=80, help="Increase of the reference model, in points."
        ),
    }
    st.dataframe(pd.DataFrame(rows), hide_index=True, column_config=columns)
    note = f" Not scanned: {', '.join(to_label(name) for name in found.skipped)}." if found.skipped else ""
    st.caption(
        f"{format_count(found.tried, 'settings')} tried; {len(found.results):,} combinations of trigger and class, "
        f"sorted by the lower end of the interval, n = {found.results[0].n:,} test images; simultaneous 95% "
        f"intervals.{note}"
    )
    st.warning(found.warning, icon=":material/warning:")
