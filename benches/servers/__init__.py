"""The servers that are loaded, one file a way of writing them.

Each runs as `python -m benches.servers.NAME LOOP`, where LOOP is a key of
`benches.loops.FACTORIES`, prints `{"port": N, ...}` when it listens on 127.0.0.1, and serves until
it is stopped.
"""
