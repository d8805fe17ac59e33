"""Packages that are built with Meson, by Ninja, in a directory beside their source (``work``).

Options: ``define`` (NAME: value, as -DNAME=value), ``targets``, and those that all third-party recipes have.
"""

from __future__ import annotations

from bpfbench.build.external import Call, External
from bpfbench.model.types import Package

_ALWAYS = {"buildtype": "debugoptimized", "prefix": "/usr", "libdir": "lib", "wrap_mode": "nodownload"}
"""The prefix is no place that anything is installed in: programs may have it built in."""


def calls(package: Package) -> tuple[Call, ...]:
    """Return the two commands."""
    options = package.options
    environment = options.get("environment", {})
    defined = {**_ALWAYS, **options.get("define", {})}
    switches = (f"-D{name}={value}" for name, value in sorted(defined.items()))
    arguments = ("setup", *switches, ".", f"{{source:{package.sources[0]}}}")
    return (
        Call("meson", "meson", arguments, "work", environment),
        Call("ninja", "ninja", ("-j{jobs}", *options.get("targets", ())), "work", environment),
    )


RECIPE = External("meson", 1, ("meson", "ninja", "ar", "pkg-config"), calls)
key_components = RECIPE.key_components
make = RECIPE.make
