"""`python -m task_pipeline`: the same as the script `task-pipeline`."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
