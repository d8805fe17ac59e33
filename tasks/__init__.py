"""doit's side: one module a stage, each turning model objects into tasks. No logic lives here."""
