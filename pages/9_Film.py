"""Film: watch a training: the map, what the model sees in triggered images, its attention, and the rates."""

from collections.abc import Sequence
from functools import partial

import streamlit as st

from cleaner.reports import comparability, film
from cleaner.runs.film import has_film
from cleaner.runs.names import label_film, label_trainings
from cleaner.runs.record import RunRecord
from pages._shared.inspect import film_player
from pages._shared.runs import jobs
from pages._shared.runs.run_buttons import draw_download
from pages._shared.shell import stage_mode, state, times, wording
from pages._shared.shell.frame import defend_button, link, page
from pages._shared.shell.state import KEEP
from pages._shared.shell.wording import escape_markdown

LEAD = "Watch a backdoor appear, and **dissolve**: the same images at up to 16 moments of a training run. Space plays."


def list_runs() -> list[RunRecord]:
    """Return the defenses of the run in view, newest first, and the run; or the defenses of the model in view."""
    run, model = state.current_run(), state.current_model()
    if run is not None:
        return sorted([*state.defended_runs(run), run], key=lambda other: other.is_retrained)
    return state.defenses_of_model(model) if model else []


def choose_runs(runs: Sequence[RunRecord]) -> list[RunRecord]:
    """Draw the choice of one or two films; return their runs."""
    labels = label_trainings(runs, times.created_at)
    labels |= {run.id: label_film(run) for run in runs if run.stage == "backdoored"}
    by_id = {run.id: run for run in runs}
    key = f"film.runs.{runs[-1].id}"
    state.follow_default(key, by_id, list(by_id)[:1])
    chosen = st.multiselect(
        "Films",
        list(by_id),
        max_selections=film.MAX_FILMS,
        format_func=labels.__getitem__,
        key=key,
        placeholder="Choose one, or two side by side",
        help="Two films play side by side on one clock, and with the same axes if the backdoored run has a film.",
        label_visibility="collapsed",
        **KEEP,
    )
    return [by_id[run_id] for run_id in chosen] or list(runs)[:1]


def show_download(movies: Sequence[film.Movie]) -> None:
    """Draw the button that saves the films; the file is made when it is pressed."""
    methods = [movie.label.split(",")[0].split(":")[-1].strip().replace(" ", "-") for movie in movies]
    name = "-".join(["film", *dict.fromkeys(methods)])
    help, make = "One file that plays in any browser, without a connection.", partial(film.render_film_html, movies)
    draw_download("HTML", make, f"{name}.html", "text/html", icon="download", help=help)


def explain_no_film(runs: Sequence[RunRecord]) -> None:
    """Say why there is nothing to play, and what to do."""
    st.markdown(f"## {wording.section_title('No film yet', state.current_run())}")
    if jobs.active_pages():
        st.info("The film is ready when the training run is done.", icon=":material/hourglass_top:")
    elif runs:
        st.info("These runs were made without a film. New training runs record one.", icon=":material/movie:")
    else:
        st.info(
            "No training started from the model in view. Each training run records a film.", icon=":material/movie:"
        )
    if state.current_run() is not None:
        defend_button("Train one", "film.defend")
    else:
        link("Poison", "Train one")


with page("Film", LEAD, picture=".st-key-film-screen"):
    runs = list_runs()
    filmed = [run for run in runs if has_film(run.folder)]
    if not filmed:
        explain_no_film(runs)
    else:
        chosen = choose_runs(filmed)
        movies = film.load_movies(chosen)
        with st.container(key="film-screen"):
            film_player.show(movies, "film.player")
            if stage_mode.is_on():  # else it is said below the film
                st.caption("The film is measured on a sample of validation images, the figures above on test images.")
        for note in comparability.list_notes(chosen):
            st.warning(escape_markdown(note), icon=":material/warning:")
        show_download(movies)
        st.markdown(f"## {wording.section_title('About this film', state.current_run())}")
        st.caption(escape_markdown(film.describe_film(movies)))
        missing = [run for run in runs if run not in filmed]
        if missing:
            names = ", ".join(label_trainings(missing, times.created_at).values())
            st.caption(f"Without a film: {escape_markdown(names)}.")
