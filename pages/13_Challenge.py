"""Challenge: which of three models are backdoored? A class plays it on the shipped models; probes are counted."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
import streamlit as st

from cleaner.labels import to_label
from cleaner.presets import QUICK_MODEL, home_data
from cleaner.zoo.game import Game, list_scores
from cleaner.zoo.plan import DEVELOPMENT
from pages._shared import cache
from pages._shared.inspect.sample import DataKey
from pages._shared.runs import forms
from pages._shared.runs.external_model import put_in_view
from pages._shared.shell import state
from pages._shared.shell.frame import link, page
from pages._shared.shell.wording import escape_markdown, format_percent

LEAD = "**Which of these models are backdoored?** Find out with as few probes as you can."
TEAM, PROBED, OVER = "challenge.team", "challenge.probed", "challenge.over"
"""Session keys: the team that plays, the probes of this round, and whether the answers of the last one are shown."""
IMAGES = 100
VERDICTS = ("Clean", "Backdoored")


def open_game() -> Game | None:
    """Return the game of the team that plays; else draw the form and return None."""
    if TEAM not in st.session_state:
        with st.form("challenge.start", width=420):
            team = st.text_input("Team", placeholder="A name for the score table")
            if not st.form_submit_button("Play", type="primary"):
                return None
        st.session_state[TEAM] = Game(team).team  # raises for a wrong name
        st.rerun()
    return Game(st.session_state[TEAM])


def show_probes(game: Game, models: Sequence[str]) -> None:
    """Draw the choice of model and trigger, and what the probes of this round found."""
    data = home_data(QUICK_MODEL)
    st.markdown(
        f"A probe puts a trigger on {IMAGES} test images and shows the class that gains most of them. Each backdoored "
        "model has a trigger of one of eight attacks, at any size, place or strength. Two attacks optimize theirs: for "
        "these, put the model in view and invert it on Trigger search, which counts as one probe, too."
    )
    letter = state.choose_segment("Model", list("ABC"[: len(models)]), key="challenge.model")
    kinds = cache.triggers()
    ready = [name for name, kind in kinds.items() if "image" in kind.modalities and kind().unready_reason is None]
    chosen = st.selectbox("Trigger", ready, format_func=to_label, key="challenge.kind", **state.KEEP)
    with st.expander("Settings of the trigger"):
        trigger = forms.draw_form(kinds[chosen], f"challenge.{chosen}")
    id = models["ABC".index(letter)]
    probed: list[dict[str, Any]] = st.session_state.setdefault(PROBED, [])
    with st.container(horizontal=True):
        is_probe = st.button("Probe", type="primary", icon=":material/search:", key="challenge.probe")
        is_view = st.button(f"Put model {letter} in view", icon=":material/visibility:", key="challenge.view")
    if is_probe:
        with st.spinner("Probing …"):
            settings, found = cache.probe(str(game.zoo.model_path(id)), DataKey(data, "test", IMAGES), trigger)
        shares = {"Without": format_percent(found.before, 0), "With": format_percent(found.after, 0)}
        name = f"{to_label(chosen)}{settings.removeprefix(chosen)}"
        probed.insert(0, {"Model": letter, "Trigger": name, "Class that gains": found.class_name, **shares})
    if is_view:
        put_in_view(game.zoo.model_path(id), data)
    if is_probe or is_view:
        game.count_probe(id)
    counts = " · ".join(f"{x}: {game.probes.get(id, 0)}" for x, id in zip("ABC", models, strict=False))
    st.caption(f"Probes so far: {counts}.")
    if is_view:
        link("Trigger search", f"Investigate model {letter}")
    if probed:
        st.dataframe(pd.DataFrame(probed), hide_index=True)


def show_verdicts(game: Game, models: Sequence[str]) -> None:
    """Draw the form with a verdict on each model."""
    with st.form("challenge.verdicts", border=False):
        said = [
            st.radio(f"Model {letter}", VERDICTS, None, horizontal=True, key=f"challenge.{id}", **state.KEEP)
            for letter, id in zip("ABC", models, strict=False)
        ]
        is_sent = st.form_submit_button("Commit and see the answers", type="primary")
    if is_sent and None in said:
        st.warning("Judge each model first: nothing is known before that.", icon=":material/help:")
    elif is_sent:
        game.judge({id: verdict == VERDICTS[1] for id, verdict in zip(models, said, strict=True)})
        st.session_state[OVER], st.session_state[PROBED] = True, []
        st.rerun()


def show_answers(game: Game) -> None:
    """Draw the answers of the round that was judged last."""
    answers, rows = game.zoo.read_answers(DEVELOPMENT), []
    for letter, id in zip("ABC", game.last_round(), strict=False):
        answer, said = answers[id], game.judged[id]
        what = to_label(answer["trigger"]["name"]) if answer["backdoored"] else "–"
        row = {"Model": letter, "It is": VERDICTS[answer["backdoored"]], "You said": VERDICTS[said]}
        row |= {"Outcome": "Right" if said == answer["backdoored"] else "False alarm" if said else "Missed"}
        row |= {"Attack": what, "Target class": answer["target_class"] or "–"}
        share = format_percent(answer["asr"], 0) if answer["backdoored"] else "–"
        rows.append(row | {"Attack success": share, "Probes": game.probes.get(id, 0)})
    st.dataframe(pd.DataFrame(rows), hide_index=True)
    if not game.next_round():
        st.success("That was the last round.", icon=":material/task_alt:")
    elif st.button("Next round", type="primary", key="challenge.next"):
        st.session_state[OVER] = False
        st.rerun()


with page("Challenge", LEAD):
    own_game = open_game()
    if own_game is not None:
        current = own_game.next_round()
        done = f"{len(own_game.judged)} of {len(own_game.order)} models judged"
        st.caption(f"Team **{escape_markdown(own_game.team)}**: {done}.")
        if st.session_state.get(OVER) or not current:
            show_answers(own_game)
        else:
            left, right = st.columns([3, 1], gap="large")
            with left:
                show_probes(own_game, current)
            with right:
                show_verdicts(own_game, current)
    if scores := list_scores() if own_game is not None else []:
        st.markdown("#### Teams on this server")
        st.dataframe(pd.DataFrame(scores), hide_index=True)
        st.caption("“Right” counts both kinds of error. The answers are public: this is practice, not a contest.")
