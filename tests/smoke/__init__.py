"""Programs and libraries that say `asyncio`, unmodified, under `python -m ferrio`, with real peers on loopback."""
