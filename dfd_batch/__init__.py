"""dfd-batch: scans large video and image archives for deepfakes.

What the command `dfd scan` does, from Python:

```python
from dfd_batch import pipeline, settings

result = pipeline.scan("/media/in", "OUT", settings.load())
assert result.reconciled  # one object in, one row out
```

One object is one row, from the listing to the report. The packages stand in the order of its way:
`catalog` (which objects need a verdict), `decode` (an object to frames), `faces` (frames to face
crops), `features` (crops to vectors), `judge` (vectors to a verdict), `reports` (rows to Parquet,
to answers, to actions). `stages` makes them Ray's actors and `pipeline` the chain of these;
`schema` holds the shapes of the data between them, `outcomes` the words of the answers, `settings`
all that a user may set, `checkpoint` what a detector is. `watch`, `metrics` and `failures` tell
what a running scan does. `training` makes detectors, `evaluation` measures them, `site` shows
verdicts, `schedule` does all of it by the clock, `benchmark` measures speed.
"""

__version__ = "0.1.0"
