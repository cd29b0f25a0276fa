"""Stream transports, servers and connections: each scenario runs on asyncio, which arbitrates, and on ferrio."""
