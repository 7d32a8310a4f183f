"""Other people's queues in the same rig: four verbs (put, get, ack, nack) over RQ, Celery, Dramatiq and Huey on Redis.

Nothing of orch imports this package, and importing it loads no library: `load(name)` does. `levels` drives the four
verbs of a library through its own code and has the checker judge what came; `kills` kills its real workers. Run both
with `python -m orch.testing.adapters`, in an environment with the extra `peers`.
"""

from orch.testing.adapters.base import NAMES, Adapter, Delivery, Setting, load

__all__ = ["NAMES", "Adapter", "Delivery", "Setting", "load"]
