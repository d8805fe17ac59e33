"""Reading a machine: files below an injectable root, and the few system calls that the checks really make."""
