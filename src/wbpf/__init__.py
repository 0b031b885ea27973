"""wBPF: a flight recorder for clusters that share memory."""

__version__ = "0.1.0"

__all__ = ["__version__"]
