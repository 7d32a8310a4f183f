"""The engines that drive a machine: `fast` is our own, `hypothesis` makes a state machine for Hypothesis of it."""
