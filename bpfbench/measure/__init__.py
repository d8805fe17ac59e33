"""Measuring: what the machine is, whether it is quiet, and the samples themselves."""
