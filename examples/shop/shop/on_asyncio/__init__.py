"""The price comparison on asyncio, in four versions: one is right, three have a bug."""
