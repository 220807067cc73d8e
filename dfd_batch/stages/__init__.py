"""The stages that Ray runs, in the order of the data: Crop, Embed, Judge, Report.

Each is a plain class: `__init__` loads, `__call__` takes a batch and gives a batch of the next
schema, row for row. `Crop` is the one place where an object's fault becomes its outcome; `Judge`
is the one place where report rows are made.

The networks' libraries are imported where a stage is made: the driver, which only names the stages,
starts without them, and each actor loads what its own stage needs.
"""

from dfd_batch.stages.context import RunContext
from dfd_batch.stages.crop import Crop
from dfd_batch.stages.embed import MICRO_BATCH, Embed
from dfd_batch.stages.judge import Judge
from dfd_batch.stages.report import Report
from dfd_batch.stages.rows import MAX_MESSAGE, MAX_URI

__all__ = ["MAX_MESSAGE", "MAX_URI", "MICRO_BATCH"]
__all__ += ["Crop", "Embed", "Judge", "Report", "RunContext"]
