"""Recipes: how a package is built, one module a recipe, and the toolchain, steps and checks they share."""
