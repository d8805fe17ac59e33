"""Tables, figures and pages: pure functions of result JSON."""
