"""Python's asyncio, implemented in Rust."""
