"""Subtexts: how TA-Cleaner reads a caption, the true and false texts it draws, and what the models say to them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
import streamlit as st

from cleaner.plots import charts, images
from cleaner.presets import DEMO_CLEAN_PAIRS
from cleaner.types import CleanerError
from pages._shared import annotated_text, cache, gallery, pickers, requests, state
from pages._shared.frame import link, page
from pages._shared.pickers import Sample
from pages._shared.state import KEEP, escape_markdown, format_percent

if TYPE_CHECKING:
    from cleaner.inspection.margins import DrawStats
    from cleaner.text import SubtextPair

LEAD = (
    "TA-Cleaner teaches the model to read closely. Each epoch it draws some pairs and writes **a short text that is "
    "still true** of the picture and **a few made false** by one small change; the model must tell them apart. "
    ":gray-badge[re-implementation from the public description]"
)
SPLIT, MAX_SAMPLES = "clean", 300
MAX_CAPTION_WORDS = 60
MAX_WORST_PAIRS, DIAGNOSTIC_EPOCHS = 20, 7


def choose_caption(name: str, size: int) -> tuple[Sample, str]:
    """Draw the picture and its caption, which may be changed, or pictures and words of one's own; return both."""
    data = cache.load_data(name, SPLIT, size)
    left, right = st.columns([1, 3.2], gap="large")
    with right:
        captions = data.captions[:MAX_SAMPLES]
        index = st.selectbox(
            "Picture and caption from the data",
            range(len(captions)),
            format_func=lambda i: f"{i} · {captions[i]}",
            key=f"subtexts.pair.{name}",
            help="Type to search. A defence trains on these clean pairs.",
            **KEEP,
        )
        caption = st.text_input(
            "Caption (change it, or write your own)",
            captions[index],
            key=f"subtexts.caption.{name}.{index}",
            max_chars=2000,
            help="Your own caption is compared with the picture on the left.",
            **KEEP,
        ).strip()
        if not caption:
            raise CleanerError("the caption is empty: type one, or choose another pair.")
        if len(caption.split()) > MAX_CAPTION_WORDS:
            raise CleanerError(
                f"the caption has {len(caption.split())} words, and the models read about {MAX_CAPTION_WORDS}: shorten it."
            )
        st.markdown("**How it is read**")
        annotated_text.ribbon(annotated_text.parsed_pieces(cache.parse(caption)))
        own = st.session_state.get(gallery.OWN_IMAGE)
        mine = own is not None and st.toggle(
            "Use my own picture",
            True,
            key="subtexts.own",
            help="The caption is then compared with your picture.",
            **KEEP,
        )
    sample = Sample(name, SPLIT, size, index, own if mine else None, pickers.selected_model_key())
    with left:
        gallery.load_data_with_progress(name, SPLIT, size)
        st.image(gallery.enlarge(cache.image_pair_bytes(sample, None)[0]), width="stretch")
        st.caption(
            f"Your own picture: {escape_markdown(own[0])}" if mine else f"{escape_markdown(data.name)}, pair {index}"
        )
        with st.popover("A picture of your own", icon=":material/upload:", width="stretch"):
            gallery.show_upload_box("A picture of your own")
    return sample, caption


def show_subtexts(caption: str, pair: SubtextPair) -> None:
    """Draw the true and the false texts with what was changed."""
    left, right = st.columns([1, 1.4], gap="medium")
    with left, st.container(border=True, height="stretch"):
        st.markdown(":material/check_circle: **True (positive subtext)**")
        if pair.positive is None:
            st.info("Nothing to shorten: no noun phrase was found in this caption. Training skips and counts it.")
        else:
            st.markdown(f"#### {escape_markdown(pair.positive.text)}")
            if pair.positive.kind == "identity":
                st.caption("The caption is at its core already, so it is its own positive.")
            annotated_text.ribbon(annotated_text.shortened_pieces(caption, pair.positive.text), small=True)
    with right, st.container(border=True, height="stretch"):
        st.markdown(":material/cancel: **False (negative subtexts)**")
        if not pair.negatives:
            st.info("No small change of this caption is known to be false. Training skips and counts it.")
        for negative in pair.negatives:
            with st.container(key=f"false-{negative.kind}-{len(negative.text)}-{pair.negatives.index(negative)}"):
                annotated_text.ribbon(annotated_text.edited_pieces(caption, negative.edits), small=True, notes=False)
                st.caption(f"another {annotated_text.ROLES.get(negative.kind) or negative.kind}")


def choose_models() -> dict[str, tuple[str, tuple[str, ...]]]:
    """Return label -> (stage, model) of the models at hand: those of the run in view, or the model in view."""
    run, model = state.current_run(), state.current_model()
    if run is not None:
        found = {"Clean": ("clean", ("clean", str(run.folder)))} if run.config.get("clean_model") else {}
        found["Backdoored"] = ("backdoored", ("run", str(run.folder)))
        defended = {other.id: other for other in state.defended_runs(run)}
    elif model is not None:
        first = pickers.make_model_stage(model)
        found = {first.label: (first.stage, first.model)}
        defended = {other.id: other for other in state.defenses_of_model(model)}
    else:
        raise CleanerError("no built-in model has its weights here: train them with python -m cleaner pretrain.")
    names = state.short_labels(list(defended.values()))
    chosen = st.multiselect(
        "Defended models to compare",
        list(defended),
        list(defended)[:2],
        max_selections=3,
        format_func=names.get,
        key=f"subtexts.runs.{run.id if run else model}",
        placeholder="None yet: train one on the Defend page" if not defended else "Choose",
        **KEEP,
    )
    return found | {names[name]: ("defended", ("run", str(defended[name].folder))) for name in chosen}


def show_similarities(
    models: dict[str, tuple[str, tuple[str, ...]]], sample: Sample, caption: str, pair: SubtextPair
) -> None:
    """Draw how near the picture is to each text, for each model."""
    texts = [caption]
    names = [f"caption: {caption}"]
    if pair.positive is not None and pair.positive.text != caption:
        texts.append(pair.positive.text)
        names.append(f"✓ {pair.positive.text}")
    false = [negative.text for negative in pair.negatives]
    texts += false
    names += [f"✗ {text}" for text in false]
    with st.spinner("Asking the models …"):
        values = {
            label: (stage, cache.similarities(model, sample, tuple(texts))) for label, (stage, model) in models.items()
        }
    st.plotly_chart(charts.similarity_bars(names, values), key="similarity", config={"displayModeBar": False})
    if not all(cache.fits_context(model, text) for _, model in models.values() for text in texts):
        st.warning(
            "These texts are longer than the models read, so that what was changed may be cut: shorten the caption."
        )
    elif false:
        for label, (_, cosines) in values.items():
            beaten = [text for text, cosine in zip(false, cosines[-len(false) :], strict=True) if cosine >= cosines[0]]
            said = "puts the caption above all false texts" if not beaten else "prefers to it: " + "; ".join(beaten)
            icon = "check_circle" if not beaten else "cancel"
            st.markdown(f":material/{icon}: **{escape_markdown(label)}** {escape_markdown(said)}.")
    run = state.current_run()
    st.caption(
        "One picture, n = 1: an illustration, not a measurement. The share over the whole test set is “fine detail” on "
        f"the Defend page. {escape_markdown(state.describe_selection())}."
    )
    if run is None:
        link("Poison", "Train a backdoored model to compare")


def show_margins(
    models: dict[str, tuple[str, tuple[str, ...]]], name: str, size: int, epoch: int, seed: int, n: int
) -> None:
    """Draw how far true texts lie above false ones for many pairs, and the pairs where they lie below most."""
    title = state.section_title("Many pairs: true texts against false ones", state.current_run())
    with st.expander(title, icon=":material/bar_chart:", key="subtexts.margins", on_change="rerun") as box:
        if not box.open:
            return
        captions = cache.load_data(name, SPLIT, size).captions
        first = min(MAX_SAMPLES, len(captions))
        gallery.load_data_with_progress(name, SPLIT, size)
        with st.spinner("Asking the models …"):
            found = {
                label: (stage, cache.margins(model, name, SPLIT, size, first, seed, epoch, n))
                for label, (stage, model) in models.items()
            }
        values = {label: (stage, [m.value for m in margins]) for label, (stage, margins) in found.items()}
        st.plotly_chart(images.margin_histogram(values), key="subtexts.histogram", config={"displayModeBar": False})
        fooled = [f"{escape_markdown(label)} {sum(v <= 0 for v in margins)}" for label, (_, margins) in values.items()]
        st.caption(
            f"The first {first} clean pairs with the texts of epoch {epoch}. Left of 0 a model prefers a false text to "
            f"the true one: {', '.join(fooled)} pairs. The true text is short and the false ones are long, so part of "
            "a margin is a matter of length."
        )
        judged = next((label for label, (stage, _) in found.items() if stage == "defended"), list(found)[-1])
        st.markdown(f"**The worst for {escape_markdown(judged)}**")
        worst = sorted(found[judged][1], key=lambda margin: margin.value)[:MAX_WORST_PAIRS]
        table = [(m.index, captions[m.index], m.positive, m.negative, m.value) for m in worst]
        columns = ["Pair", "Caption", "True", "Best false text", "Margin"]
        style = {"Margin": st.column_config.NumberColumn(format="%.2f")}
        st.dataframe(pd.DataFrame(table, columns=columns), hide_index=True, width="stretch", column_config=style)


def show_diagnostics(name: str, size: int, seed: int, n: int) -> None:
    """Draw the signs by which the method is known to fail, for each epoch."""
    with st.expander(
        "Does the drawing do its work?", icon=":material/troubleshoot:", key="subtexts.signs", on_change="rerun"
    ) as box:
        if not box.open:
            return
        share = st.session_state.get("subtexts.share", 10) / 100
        pairs = len(cache.load_data(name, SPLIT, size))
        with st.spinner("Drawing …"):
            found = cache.epoch_diagnostics(name, SPLIT, size, share, seed, n, DIAGNOSTIC_EPOCHS)
        kinds = sorted({kind for signs in found for kind in signs.kind_counts})
        table = [
            {
                "Epoch": s.epoch,
                "Pairs drawn": s.drawn,
                "Skipped": s.skipped,
                "New texts": s.new_share,
                "Writing (ms)": round(1000 * s.seconds),
                **{f"False: {kind}": s.kind_counts.get(kind, 0) for kind in kinds},
            }
            for s in found
        ]
        style = {"New texts": st.column_config.NumberColumn(format="percent")}
        st.dataframe(pd.DataFrame(table), hide_index=True, width="stretch", column_config=style)
        st.caption(
            f"K = {100 * share:.0f} % of {pairs:,} clean pairs in each epoch. **New texts**: not drawn for the same "
            "pair before; if few are, the model learns them by heart. **False**: how often each kind of change was "
            "made; a kind that is missing is not taught. **Skipped**: captions that yield no pair of texts; if many "
            f"are, the method trains on less than it says. {_describe_time_share(pairs, found)}"
        )


def _describe_time_share(pairs: int, diagnostics: list[DrawStats]) -> str:
    """Say how much of a training goes into the writing of subtexts, where a training of this machine is there."""
    for run in state.all_runs():
        steps = requests.count_steps(run)
        draws = "share" in (run.config.get("defense") or {})
        if draws and not run.is_shipped and steps and run.config.get("seconds"):
            batch = run.config["finetune"]["batch_size"]
            epoch = run.config["seconds"] / steps * max(1, pairs // batch)
            part = sum(s.seconds for s in diagnostics) / len(diagnostics) / epoch
            return f"**Writing** is {format_percent(part)} of the time of an epoch (against the steps of {escape_markdown(run.label)})."
    return "**Writing**: time to draw and write the texts, here and now; train TA-Cleaner to compare it with a step."


def show_epoch(name: str, size: int, epoch: int, seed: int, n: int) -> None:
    """Draw which pairs an epoch draws, and their texts."""
    with st.expander(f"All pairs drawn in epoch {epoch}", icon=":material/casino:"):
        share = st.slider(
            "Share of pairs drawn in each epoch (K), %",
            1,
            100,
            10,
            key="subtexts.share",
            **KEEP,
            help="The paper says “a few”. Training uses 10 % unless told otherwise.",
        )
        with st.spinner("Drawing …"):
            rows, skipped = cache.draw_epoch(name, SPLIT, size, share / 100, seed, epoch, n)
        table = pd.DataFrame(
            [(i, caption, true, "  |  ".join(false)) for i, caption, true, false in rows],
            columns=["Pair", "Caption", "True", "False"],
        )
        st.dataframe(table, hide_index=True, width="stretch", height=320)
        pairs = len(cache.load_data(name, SPLIT, size))  # files may hold fewer than were asked for
        st.caption(
            f"{len(rows):,} of {pairs:,} clean pairs; {skipped} drawn pairs yielded no subtext and were skipped."
        )


with page("Subtexts", LEAD):
    with st.spinner("Loading the parser, once …"):
        cache.defenses()
        run = state.current_run()
        name, size = pickers.find_test_data(run)[0], DEMO_CLEAN_PAIRS
    picture, caption = choose_caption(name, size)
    one, two, three = st.columns([2, 1, 1], gap="medium")
    epoch = one.slider("Epoch", 0, 20, 0, key="subtexts.epoch", help="Each epoch draws anew: a moving target.", **KEEP)
    n = two.slider("False texts per pair (n)", 1, 6, 3, key="subtexts.n", **KEEP)
    seed = three.number_input("Seed", 0, 9999, 0, key="subtexts.seed", help="The same seed, the same texts.", **KEEP)
    pair = cache.draw_subtexts(caption, int(seed), epoch, picture.index, n, name, SPLIT, size)
    st.subheader(f"The draw of epoch {epoch}", anchor=False)
    show_subtexts(caption, pair)
    st.subheader(state.section_title("What the models say", run), anchor=False)
    shown = choose_models()
    show_similarities(shown, picture, caption, pair)
    show_margins(shown, name, size, epoch, int(seed), n)
    show_epoch(name, size, epoch, int(seed), n)
    show_diagnostics(name, size, int(seed), n)
