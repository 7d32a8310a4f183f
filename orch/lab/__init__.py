"""What notebooks share: charts, and scenarios to draw. Needs the extra `lab`."""
