"""Whether a result can be believed: its schema, and what it means."""
