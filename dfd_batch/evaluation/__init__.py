"""How good detectors are on labelled media: figures with intervals, curves and one page of them."""
