"""The command `python -m cleaner.worker RUN_DIR`; see `cleaner.jobs.worker`."""

import os
import sys

from cleaner.jobs.worker import main

if __name__ == "__main__":
    status = main(sys.argv[1:])
    sys.stderr.flush()
    os._exit(status)  # everything is written; unloading torch would keep a canceled run's device for another second
