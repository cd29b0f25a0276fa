"""How long, on which processors, with what."""

from dataclasses import dataclass, field

from benches.measure.backends import Backends
from benches.tools import Tools


@dataclass(frozen=True)
class Settings:
    """The same for all measurements of a run."""

    tools: Tools
    server_core: int | None
    load_core: int | None
    warm_up: float
    """Seconds of load before the measured ones."""
    seconds: float
    """Seconds that are measured."""
    backends: Backends = field(default_factory=Backends)
    """The programs that clients talk to."""
    allowance: float = 30
    """Seconds that a measurement may take beside these."""

    @property
    def patience(self) -> float:
        """Seconds after which a measurement has failed."""
        return self.warm_up + self.seconds + self.allowance
