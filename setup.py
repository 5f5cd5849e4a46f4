"""Start each build clean: setuptools keeps build/lib, whose deleted files would become part of the next wheel."""

import shutil
from pathlib import Path

from setuptools import setup

shutil.rmtree(Path(__file__).with_name("build") / "lib", ignore_errors=True)
setup(script_name="setup.py")  # else this file, next to app.py, would become part of the package
