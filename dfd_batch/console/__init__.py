"""What the command line prints: plans, progress, verdicts, one object, one run."""
