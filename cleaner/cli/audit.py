"""The command audit: is this model backdoored, and how often would that be a false alarm?"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from cleaner.audit import IMAGES
from cleaner.cli.folders import resolve_output_file
from cleaner.cli.options import MODEL_HELP, OWN_DATA_HELP, Device, stated_default, validate_minima
from cleaner.cli.output import Progress
from cleaner.files import cache_root, is_run_folder, write_json, write_text


@dataclass(frozen=True)
class Audit:
    """Audit a model: known triggers and trigger inversion, compared with clean models. Writes one HTML, one JSON file.

    Exit status: 0 nothing found, 1 suspicious, 2 not testable. Nothing found does not mean that there is no backdoor.
    """

    model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN|MODEL", help=MODEL_HELP)]
    data: Annotated[
        tuple[str, ...],
        stated_default(help=f"{OWN_DATA_HELP} The test split is used. A built-in architecture needs none."),
    ] = ()
    reference: Annotated[
        str | None, stated_default(help="Clean model of the same architecture, to finetune references from first.")
    ] = None
    references: Annotated[int, tyro.conf.arg(help="With --reference: how many; earlier ones are used again.")] = 19
    out: Annotated[Path, tyro.conf.arg(help="HTML file; the JSON file is next to it.")] = Path("audit.html")
    device: Device = "auto"

    def run(self) -> None:
        from cleaner.audit.population import FOLDER, build_population, find_population
        from cleaner.audit.report import EXIT_CODES, audit, render_html
        from cleaner.audit.result import FEWEST
        from cleaner.cli.inputs import load_run_or_model, load_split, resolve_data
        from cleaner.models.lookup import describe_model_file

        validate_minima(self, references=FEWEST)
        out = resolve_output_file(self.out, (".html",))
        source = resolve_data(self.data, self.model)
        data = load_split(source, "test", IMAGES)
        clip = load_run_or_model(self.model, self.device)
        if self.reference is not None:
            name = hashlib.sha256(f"{self.reference} {source}".encode()).hexdigest()[:16]
            path = cache_root() / FOLDER / f"{name}.json"
            build_population(self.reference, source, data, self.references, path, Progress("references"))
        result = audit(clip, data, find_population(clip, data), Progress())
        model = str(Path(self.model) / "model.safetensors") if is_run_folder(self.model) else self.model
        file = describe_model_file(model) or f"{model} (built in)"
        write_json(out.with_suffix(".json"), result | {"file": file})
        write_text(out, render_html(result, file))
        for found in result["findings"] if result["references"]["n"] else ():
            print("{test}: {name}, class {class_name}, stands out by {distance:.1f}, p = {p:.3f}".format(**found))
        print(f"Verdict: {result['verdict']} ({result['references']['n']} clean references). Written to {out}.")
        raise SystemExit(EXIT_CODES[result["verdict"]])
