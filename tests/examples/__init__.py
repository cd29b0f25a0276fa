"""The examples, driven from outside: real processes, real sockets, real signals."""
