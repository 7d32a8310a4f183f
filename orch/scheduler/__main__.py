"""`python -m orch.scheduler`."""

import sys

from orch.scheduler.command import main

sys.exit(main())
