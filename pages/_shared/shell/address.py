"""The address of a page keeps what a reload must not lose: run in view, lesson, started trainings, stage mode."""

import streamlit as st

from pages._shared.runs import jobs
from pages._shared.shell import lesson, stage_mode, state, visitors

RUN, LESSON, JOBS, STAGE = "run", "lesson", "jobs", "stage"
_IS_READ, _PARAMETERS = "address.is_read", "address.parameters"


def restore() -> None:
    """Restore the state in the address, once per session; runs that are gone are ignored.

    Later, Back and Forward of the browser bring back the run of another address: each change of it is one.
    """
    address = st.query_params
    if st.session_state.get(_IS_READ):
        written = current().get(RUN)
        if written and address.get(RUN, written) != written:
            state.select_run(address[RUN])
        return
    st.session_state[_IS_READ] = True
    visitors.adopt([address.get(RUN, ""), *address.get(JOBS, "").split(",")])
    if address.get(RUN):
        state.select_run(address[RUN])
    lesson.restore(address.get(LESSON, ""))
    jobs.restore_started(address.get(JOBS, "").split(","))


def write() -> None:
    """Update the address."""
    parameters = st.session_state[_PARAMETERS] = _describe()
    for name in (RUN, LESSON, JOBS, STAGE):
        if name not in parameters:
            st.query_params.pop(name, None)
        elif st.query_params.get(name) != parameters[name]:
            st.query_params[name] = parameters[name]


def current() -> dict[str, str]:
    """Return the parameters that `write` wrote last, for links to other pages."""
    return dict(st.session_state.get(_PARAMETERS, {}))


def _describe() -> dict[str, str]:
    """Return the address parameters of this session's state; reads its runs."""
    step, selection = lesson.current(), st.session_state.get(state.SELECTION)
    parameters = {
        RUN: selection or "",
        LESSON: "" if step is None else str(step + 1),
        JOBS: ",".join(jobs.list_awaited()),
        STAGE: "1" if stage_mode.is_on() else "",
    }
    return {name: value for name, value in parameters.items() if value}
