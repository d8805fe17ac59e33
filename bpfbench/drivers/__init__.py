"""One module a kind of workload: turns a cell into processes, and what they say into a proved sample."""
