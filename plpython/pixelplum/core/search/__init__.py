"""Vectors, blocks of them, and what is near what: exactly, by indexes, all against all."""
