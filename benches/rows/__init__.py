"""What is measured: tables and their rows, with the figures of the design beside them."""

from benches.rows.form import Row, Table
from benches.rows.operations import OPERATIONS
from benches.rows.programs import CLIENTS, HTTP, IMPORTS, SIZE
from benches.rows.servers import ECHO, LATENCY, MEMORY, SCALE, TLS, UDP, UNIX

__all__ = ["TABLES", "Row", "Table"]

TABLES = (
    ECHO,
    TLS,
    UNIX,
    UDP,
    SCALE,
    MEMORY,
    LATENCY,
    OPERATIONS,
    HTTP,
    CLIENTS,
    IMPORTS,
    SIZE,
)
