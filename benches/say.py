"""What a server or an operation, in a process of its own, tells the benchmark: lines of JSON."""

import json


def say(**facts: object) -> None:
    """Prints one line of JSON, at once."""
    print(json.dumps(facts), flush=True)


def say_not_implemented(error: NotImplementedError) -> None:
    """Tells that the loop doesn't have what the row needs, in its own words."""
    say(not_implemented=f"NotImplementedError: {error}".rstrip(": "))
