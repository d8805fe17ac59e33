"""What we add to doit: commands of our own, the reporter, and a `run` that locks and cleans up."""
