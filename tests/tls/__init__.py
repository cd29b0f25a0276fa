"""TLS: each test runs on both of ferrio's engines,
and where it compares, on asyncio's own loop too.
"""
