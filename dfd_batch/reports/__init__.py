"""From verdicts to Parquet and back: write, read, show."""
