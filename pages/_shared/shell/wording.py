"""Texts of the pages: Markdown escaped, messages capitalized, shares in percent, titles of sections."""

import re
from collections.abc import Iterable

from cleaner.runs.record import RunRecord

REPLACED = re.compile(
    r"(?<=:)(?=//|material[/_]|streamlit:)|(?<=www)(?=\.)|(?<=[\w.+-])(?=@[\w-]+\.)|"
    r"(?<=(?<!\S)[<>~-])(?=(?:->|[=>-])(?!\S))",
    re.IGNORECASE,
)
"""Inside what Streamlit replaces although it is escaped: addresses by links, :material/home: by an icon, -> by →."""
MAX_PROTOCOLS = 4
"""Most test sets that a caption names."""
TEXT_KEY_NOTE = (
    "This attack's key is only in the text, so no image is triggered. Overview shows its success on captions."
)
WORD_JOINER = "\u2060"
"""Invisible and without width."""


def escape_markdown(text: str) -> str:
    """Escape text for st.markdown, st.caption and labels: no Markdown, HTML, links or icons."""
    text = REPLACED.sub(WORD_JOINER, re.sub(r"[\r\n]", " ", text))
    return re.sub(r"([\\`*_{}\[\]()<>#+\-.!|$:~&])", r"\\\1", text)


def capitalize_message(message: str) -> str:
    """Capitalize a message unless it starts with a file name or an option."""
    first = message.partition(" ")[0]
    return message if set(first) & set("./\\=") else message[:1].upper() + message[1:]


def format_percent(value: float | None, digits: int = 1) -> str:
    """Format a share: 0.123 -> "12.3%"; None -> "not measured"."""
    return "not measured" if value is None else f"{value:.{digits}%}"


def format_rate(rate: float | None) -> str:
    """Format a poison rate, which can be a few pairs of many: 0.05 -> "5%", 0.000375 -> "0.0375%"."""
    return "not measured" if rate is None else f"{100 * rate:.3g}%"


def drop_rounded_zero(value: float, digits: int) -> float:
    """Return 0 for a value that a column with this many digits would show as "-0.00"."""
    return 0.0 if abs(value) < 0.5 * 10**-digits else value


def section_title(title: str, run: RunRecord | None) -> str:
    """Return a section title, marked if it shows the shipped example."""
    return f"{title} · shipped example" if run is not None and run.is_shipped else title


def describe_tradeoff(runs: Iterable[RunRecord]) -> str:
    """Return the caption of a plot of accuracy and attack success: test data and bars; "" if nothing is measured."""
    tested = list(dict.fromkeys(run.protocol for run in runs if run.metric("asr") is not None))
    if not tested:
        return ""
    measured = " and on ".join(map(escape_markdown, tested[:MAX_PROTOCOLS]))
    if len(tested) > MAX_PROTOCOLS:
        measured += " and on further tests, see the table"
    return f"Measured on {measured}. Bars: 95% Wilson intervals."
