"""Nothing is left of what has ended: counted, in processes of their own."""
