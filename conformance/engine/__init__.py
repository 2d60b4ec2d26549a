"""The engine: which case runs where and when, in which process, and where its record goes."""
