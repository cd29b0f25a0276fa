"""Ports that are taken, of which the test says whether anybody listens."""

import socket


def dual_stack() -> socket.socket:
    """A socket bound to a port of all of IPv4 and IPv6, on which nobody listens yet."""
    sock = socket.socket(socket.AF_INET6)
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    sock.bind(("::", 0))
    return sock
