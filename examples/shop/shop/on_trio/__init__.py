"""The price comparison on trio, in four versions: one is right, three have a bug."""
