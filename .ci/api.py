"""Write the API reference of the public names as HTML: python .ci/api.py FOLDER"""

import sys
from pathlib import Path

import pdoc

import cleaner

MODULES = ("cleaner", "cleaner.losses", "cleaner.metrics", "cleaner.text", "cleaner.config", "cleaner.presets")
BASES = ("cleaner.attacks.base", "cleaner.defenses.base", "cleaner.detectors.base", "cleaner.explain.base")

for name in cleaner.__all__:
    setattr(cleaner, name, getattr(cleaner, name))  # pdoc reads the module's dictionary, where lazy names are missing
pdoc.render.configure(docformat="google", show_source=False)
pdoc.pdoc(*MODULES, *BASES, output_directory=Path(sys.argv[1]))
