"""`python -m orch.worker`."""

import sys

from orch.worker.command import main

sys.exit(main())
