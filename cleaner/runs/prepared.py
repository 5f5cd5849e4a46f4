"""The prepared trigger of a training that is not finished: a file next to its checkpoint.

An optimization can take longer than the training, and with another number of threads it ends in another patch. A
training that resumes goes on with the patch that it began with.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from cleaner.files import parse_json, read_json, write_json
from cleaner.labels import name_difference
from cleaner.types import CleanerError, StepReport

if TYPE_CHECKING:  # run control must not load torch
    from cleaner.attacks.base import Trigger

_REPORTS = TypeAdapter(list[StepReport])


def prepared_trigger_file(checkpoint: Path) -> Path:
    """Return the file of the prepared trigger that belongs to a checkpoint."""
    return checkpoint.with_name(f"{checkpoint.stem}-trigger.json")


def write_prepared_trigger(
    checkpoint: Path, settings: Mapping[str, Any], trigger: Trigger, reports: Sequence[StepReport]
) -> None:
    """Write a trigger, and the reports of its preparation, atomically; settings: what must match to use it again."""
    content = {"settings": settings, "trigger": trigger.state_dict(), "reports": [asdict(each) for each in reports]}
    write_json(prepared_trigger_file(checkpoint), content)


def read_prepared_trigger(checkpoint: Path, settings: Mapping[str, Any]) -> tuple[Trigger, list[StepReport]] | None:
    """Return trigger and reports of a checkpoint with these settings; None if there are none."""
    from cleaner.attacks.base import complete_trigger, load_trigger

    path = prepared_trigger_file(checkpoint)
    if not path.exists():
        return None
    stored = read_json(path)
    try:
        difference = name_difference(complete_trigger(stored["settings"]), parse_json(json.dumps(settings)))
        trigger, reports = load_trigger(stored["trigger"]), _REPORTS.validate_python(stored["reports"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CleanerError(f"the trigger {path} cannot be read: delete it to optimize it again.") from error
    if difference:
        raise CleanerError(
            f"the trigger {path} belongs to a run with other {difference}: restore them to resume, or delete it and "
            f"{checkpoint.name} to start from the beginning."
        )
    return trigger, reports
