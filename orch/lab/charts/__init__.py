"""Charts of what a queue did: plain sequences in, a matplotlib axis back; one file for each question.

What colour says is also said by place, shape or words. Nothing is fetched from anywhere.
"""

from __future__ import annotations

from orch.lab.charts.life import life_of_a_job

__all__ = ["life_of_a_job"]
