"""YAML specs into a validated, frozen model."""
