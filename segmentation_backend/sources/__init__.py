"""Where images come from: any EM volume, opened, imported or drawn.

The modules are imported one by one: an address needs neither tensorstore nor HDF5.
"""

__all__ = ["importing", "specs", "synthetic", "volume"]
