"""The command `python -m cleaner.worker RUN_DIR`; see `cleaner.jobs.worker`."""

import os
import sys

from cleaner.jobs.worker import main

if __name__ == "__main__":
    exit_status = main(sys.argv[1:])
    sys.stderr.flush()
    os._exit(exit_status)  # all files are written; unloading torch would hold the device for another second
