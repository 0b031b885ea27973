"""The real job: a shuffle and group-by over a pool that hosts share, with rare faults to catch."""
