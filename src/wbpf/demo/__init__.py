"""The real job: a shuffle and group-by over a pool that four hosts share, with rare faults that wBPF must catch."""
