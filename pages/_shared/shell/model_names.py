"""The name of a model with the color and the mark that it has in all charts."""

import html

import streamlit as st

from cleaner.plots.styles import find_style


def show_model_name(label: str, kind: str, note: str = "") -> None:
    """Draw the name of a model and a smaller note; kind: its defense, else its stage."""
    style = find_style(kind)
    small = f"<small>{html.escape(note)}</small>" if note else ""
    sign = f'<i style="color: {style.color}">{style.sign}</i>'
    st.html(f'<div class="model-name">{sign}<b>{html.escape(label)}</b>{small}</div>')
