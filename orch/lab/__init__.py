"""What notebooks share: charts, scenarios to draw, live pictures. Needs the extra `lab`."""

from orch.lab.jupyter import register

register()
