"""A small archive of genuine, manipulated, faceless and broken media, made on the spot."""

from dfd_batch.demo.archive import make_demo

__all__ = ["make_demo"]
