"""Packages with a makefile alone.

Options: ``arguments`` (targets and ``NAME=value``), ``directory`` (below the source, where the makefile is),
and those that all third-party recipes have.
"""

from __future__ import annotations

from bpfbench.build.external import Call, External
from bpfbench.model.types import Package


def calls(package: Package) -> tuple[Call, ...]:
    """Return the one command."""
    options = package.options
    directory = "/".join(filter(None, (package.sources[0], options.get("directory"))))
    arguments = ("-j{jobs}", *options.get("arguments", ()))
    return (Call("make", "make", arguments, directory, options.get("environment", {})),)


RECIPE = External("make", 1, ("make", "ar"), calls)
key_components = RECIPE.key_components
make = RECIPE.make
