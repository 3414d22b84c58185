"""Vectors by space and id, in this process, in Redis or in Postgres: three stores behind one protocol (`Vectors`).

A space's name says whose vectors it holds and which embedder made them, so vectors of two models never meet. Vectors of
another length under the same name are kept apart too: they are found by queries of their own length only.
"""
