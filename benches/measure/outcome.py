"""What a measurement can come to, beside figures."""


class NotYet(Exception):
    """The loop says that it doesn't have what the row needs; the argument is what it said."""


class Failed(Exception):
    """The measurement went wrong; the argument says how."""
