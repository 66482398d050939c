"""What the daemon costs: `python -m tests.bench`."""
