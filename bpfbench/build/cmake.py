"""Packages that are built with CMake, by Ninja, in a directory beside their source (``work``).

Options: ``define`` (NAME: value, as -DNAME=value), ``targets``, and those that all third-party recipes have.
"""

from __future__ import annotations

from bpfbench.build.external import Call, External
from bpfbench.model.types import Package

_ALWAYS = {
    "CMAKE_BUILD_TYPE": "RelWithDebInfo",
    # what lies in the caller's registry or was installed by hand is not looked for
    "CMAKE_FIND_USE_PACKAGE_REGISTRY": "OFF",
    "CMAKE_SKIP_RPATH": "ON",
}


def calls(package: Package) -> tuple[Call, ...]:
    """Return the two commands."""
    options = package.options
    environment = options.get("environment", {})
    defined = {**_ALWAYS, **options.get("define", {})}
    arguments = (
        "-G", "Ninja", "-S", f"{{source:{package.sources[0]}}}", "-B", ".",
        *(f"-D{name}={value}" for name, value in sorted(defined.items())),
    )  # fmt: skip
    return (
        Call("cmake", "cmake", arguments, "work", environment),
        Call("ninja", "ninja", ("-j{jobs}", *options.get("targets", ())), "work", environment),
    )


RECIPE = External("cmake", 1, ("cmake", "ninja", "ar"), calls)
key_components = RECIPE.key_components
make = RECIPE.make
