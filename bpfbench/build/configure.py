"""Packages with a script called ``configure``, written by hand or by autoconf, and a makefile.

Options: ``configure`` (the script's arguments), ``arguments`` (make's: targets and ``NAME=value``), and those
that all third-party recipes have.
"""

from __future__ import annotations

from bpfbench.build.external import Call, External
from bpfbench.model.types import Package


def calls(package: Package) -> tuple[Call, ...]:
    """Return the two commands."""
    options, source = package.options, package.sources[0]
    environment = options.get("environment", {})
    return (
        Call("configure", "./configure", tuple(options.get("configure", ())), source, environment),
        Call("make", "make", ("-j{jobs}", *options.get("arguments", ())), source, environment),
    )


RECIPE = External("configure", 1, ("make", "ar"), calls)
key_components = RECIPE.key_components
make = RECIPE.make
