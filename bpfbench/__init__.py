"""Declarative build-and-bench tool for userspace eBPF (see README.md for the map of the packages)."""

__version__ = "0.1.0"
