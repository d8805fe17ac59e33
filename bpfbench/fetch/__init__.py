"""Sources: one module a method by which they are had, and what keeps hostile or broken ones out."""
