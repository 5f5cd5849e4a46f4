"""The audit of a model on a page: verdict, evidence, the removal of what was found, and the audit of the result."""

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from cleaner.audit.result import (
    NOTHING,
    REMOVAL,
    SUSPICIOUS,
    describe_verdict,
    is_removal,
    locate_audit,
    read_audit,
    removal_settings,
)
from cleaner.command_line import cleaner_command
from cleaner.labels import format_count, to_attack_label
from cleaner.presets import choose_pairs, settings_for
from cleaner.runs.manifest import get_requested_pairs
from cleaner.runs.record import RunRecord
from pages._shared import cache
from pages._shared.detect.background_work import show_work
from pages._shared.detect.inversion_view import PICTURE_SIDE, Subject
from pages._shared.inspect import pickers
from pages._shared.inspect.pixels import enlarge
from pages._shared.inspect.sample import ModelKey
from pages._shared.runs import job_requests, jobs, live_jobs
from pages._shared.runs.run_buttons import draw_download, show_action_button
from pages._shared.shell import state
from pages._shared.shell.frame import defend_button
from pages._shared.shell.wording import capitalize_message, escape_markdown, format_percent

BOXES = {SUSPICIOUS: (st.error, "warning"), NOTHING: (st.info, "search_check")}
"""Verdict -> box and icon; green would say that the model is safe."""


def show(subject: Subject) -> None:
    """Draw the audit of a model; once it has found something, its removal and the audit of the cleaned model."""
    folder = locate_audit(subject.run_folder, subject.name)
    left, right = st.columns([1, 2.9], gap="medium")
    result = read_audit(folder)
    with left:
        _draw_start("Audit" if result is None else "Audit again", subject.model, subject.data, folder)
        st.caption(
            "Tries known triggers at several hundred settings and inverts an unknown one, then asks how many clean "
            "models stand out as much. It needs no images of yours for an architecture that is built in."
        )
    with right:
        _show_progress(folder)
        if result is None:
            return
        _show_result(subject, result)
        if result["verdict"] == SUSPICIOUS:
            _show_removal(subject, result, folder)
        else:
            defend_button("Clean it without a finding", "search.audit.defend")


def _draw_start(label: str, model: ModelKey, data: str, folder: Path, earlier: Path | None = None) -> None:
    """Draw the button that starts an audit. earlier: folder of the audit before the model was cleaned."""
    key = ("audit", str(folder))
    work = cache.find_work(key)
    is_running = work is not None and work.is_running
    button_key = f"search.audit.{'again' if earlier else 'go'}"
    if st.button(label, key=button_key, type="primary", icon=":material/policy:", disabled=is_running):
        cache.start_search(key, lambda on_step: cache.make_audit(model, data, folder, earlier, on_step))
        st.rerun()  # disables the button


def _show_progress(folder: Path) -> None:
    if (work := cache.find_work(("audit", str(folder)))) is not None:
        show_work(work, "Auditing …", f"search.audit.{folder}")


def _show_result(subject: Subject, result: Mapping[str, Any]) -> None:
    """Draw verdict, findings, the found trigger, uses and downloads."""
    draw, icon = BOXES.get(result["verdict"], (st.warning, "help"))
    meaning = escape_markdown(describe_verdict(result))
    draw(f"**{capitalize_message(result['verdict'])}.** {meaning}", icon=f":material/{icon}:")
    _show_findings(result)
    picture, uses = st.columns([1, 2.2], gap="medium")
    with picture:
        if png := result["inversion"]["png"]:
            st.image(enlarge(cache.draw_inverted(png), PICTURE_SIDE), alt="Inverted trigger, next to its mask")
            suspect = escape_markdown(str(result["inversion"]["suspect"]))
            st.caption(f"Inverted trigger for **{suspect}**, and its mask: an estimate.")
    with uses:
        _show_uses(result)
    _show_downloads(subject, result)


def _show_findings(result: Mapping[str, Any]) -> None:
    rows = [
        {
            "Test": found["test"],
            "Stands out most": found["name"],
            "Class": found["class_name"],
            "Distance": found["distance"],
            "Reference": found["largest_reference"],
            "p": found["p"],
        }
        for found in result["findings"]
    ]
    columns = {
        "Test": st.column_config.TextColumn(width=125),
        "Stands out most": st.column_config.TextColumn(width=260),
        "Class": st.column_config.TextColumn(width=80),
        "Distance": st.column_config.NumberColumn(
            format="%.1f", width=75, help="How far it stands out, in units of the spread over clean models."
        ),
        "Reference": st.column_config.NumberColumn(
            format="%.1f", width=85, help="By how much the most conspicuous clean reference stands out."
        ),
        "p": st.column_config.NumberColumn(format="%.3f", width=60),
    }
    st.dataframe(pd.DataFrame(rows), hide_index=True, column_config=columns)
    references, detection = result["references"], result["detection"]
    note = (
        f"{result['settings_tried']} settings of known triggers, {result['data']['n']} images of "
        f"{escape_markdown(result['data']['name'])}, {references['n']} clean references finetuned from "
        f"{escape_markdown(references['base'])}. p is at least {1 / (references['n'] + 1):.3f}."
    )
    if detection:
        shares = detection["found"].items()
        found = ", ".join(f"{to_attack_label(attack)} {number} of {total}" for attack, (number, total) in shares)
        alarms, clean = detection["false_alarms"]
        note += f" Found in the zoo's {detection['split']} part: {found}; false alarms: {alarms} of {clean}."
    st.caption(note)


def _show_uses(result: Mapping[str, Any]) -> None:
    """Draw how often each trigger reaches its class in each use of the model."""
    rows = [
        {"Use": use, "Class": row["class_name"], "With": shares[0], "Without": shares[1], "Trigger": row["trigger"]}
        for row in result["interfaces"]
        for use, shares in row["uses"].items()
        if shares and shares[0] is not None
    ]
    if not rows:
        st.caption("What the triggers do to each use of the model is not measured: the images have no labels.")
        return
    table = pd.DataFrame(rows)
    table[["With", "Without"]] *= 100
    columns: dict[str, Any] = {
        name: st.column_config.NumberColumn(format="%.1f%%", width=75) for name in ("With", "Without")
    }
    columns |= {"Use": st.column_config.TextColumn(width=150), "Class": st.column_config.TextColumn(width=75)}
    st.dataframe(table, hide_index=True, column_config=columns, height=250)
    st.caption("Share of images, or of retrieved items, that reach the class with the trigger and without it.")


def _show_downloads(subject: Subject, result: Mapping[str, Any]) -> None:
    with st.container(horizontal=True):
        file = subject.name if subject.run is None else str(subject.run.folder / "model.safetensors")
        html = partial(cache.audit_html, result, file)
        draw_download("Report (HTML)", html, "audit.html", "text/html", icon="download", key="search.audit.html")
        content = partial(json.dumps, result, indent=1)
        draw_download("Result (JSON)", content, "audit.json", "application/json", icon="download")
        with st.popover("Copy as command", icon=":material/terminal:", type="tertiary"):
            st.code(cleaner_command("audit", subject.name), language="bash", wrap_lines=True)


def _show_removal(subject: Subject, result: Mapping[str, Any], folder: Path) -> None:
    """Draw the button that unlearns the found trigger, its training, and both audits side by side."""
    label, name = (escape_markdown(result["trigger"][key]) for key in ("label", "class_name"))
    st.markdown("### Remove this")
    st.markdown(
        f"Finetunes on clean pairs, half of which carry the found trigger (**{label}** → **{name}**) and keep their "
        "true captions."
    )
    show_action_button(
        st.container(width=220),
        "Remove this",
        partial(_start_removal, subject, result),
        key="search.audit.remove",
        icon="cleaning_services",
        help="Trains a cleaned copy in the background; the model itself stays as it is.",
    )
    live_jobs.show_jobs("defend")
    live_jobs.show_ended_jobs("defend")
    runs = state.defended_runs(subject.run) if subject.run is not None else pickers.list_model_defenses(subject.name)
    cleaned = next((run for run in runs if is_removal(run.config, result)), None)
    if cleaned is not None:
        _show_cleaned(cleaned, subject, result, folder)


def _start_removal(subject: Subject, result: Mapping[str, Any]) -> None:
    run, data = subject.run, result["data"]["source"]
    suspect = job_requests.ExternalModel(subject.name, data) if run is None else run
    training = settings_for(subject.name if run is None else run.model, REMOVAL, "quick")
    own = subject.data if run is not None else data
    used = 0 if run is None else get_requested_pairs(run.config)
    pairs = choose_pairs(training.pairs, cache.count_training_pairs(own), used)
    config = replace(training.finetune, device=cache.default_device())
    removal = cache.defenses()[REMOVAL](**removal_settings(result))
    jobs.start_runs("defend", [job_requests.build_defense_request(suspect, removal, pairs, config)])


def _show_cleaned(run: RunRecord, subject: Subject, result: Mapping[str, Any], before: Path) -> None:
    """Draw the audit of the cleaned model beside that of the suspect."""
    jobs.mark_as_seen([run])
    st.markdown("### Before and after")
    folder = locate_audit(run.folder)
    _draw_start("Audit the cleaned model", ("run", str(run.folder)), result["data"]["source"], folder, before)
    _show_progress(folder)
    if (after := read_audit(folder)) is None:
        return
    rows = {"Verdict": [each["verdict"] for each in (result, after)]}
    rows["p of both tests"] = [f"{each['findings'][-1]['p']:.3f}" for each in (result, after)]
    rows["Stands out most"] = ["{name} ({class_name})".format(**each["findings"][-1]) for each in (result, after)]
    label = result["trigger"]["label"]
    found = next((row for row in result["interfaces"] if row["trigger"] == label), None)
    if found is not None:
        same = after["interfaces"][0]
        rows["Clean accuracy"] = [format_percent(row["ca"]) for row in (found, same)]
        for use, shares in found["uses"].items():
            if shares and (again := same["uses"].get(use)):
                rows[f"{use}: reaches {found['class_name']} with the found trigger"] = [
                    format_percent(each[0]) for each in (shares, again)
                ]
    table = pd.DataFrame.from_dict(rows, orient="index", columns=["Before", "After"])
    st.table(table)
    count = format_count(int(run.pairs), "clean pairs")
    st.caption(
        f"After: {count}, learning rate {run.lr:g}, {run.seconds:.0f} s of training. Both audits use the same images. "
        "The found trigger need not be the attacker's: removing it is no proof that theirs is gone."
    )
