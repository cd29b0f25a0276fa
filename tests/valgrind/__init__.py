"""The hot paths under a memory checker: `make valgrind`."""
