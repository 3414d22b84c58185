-- Vectors that survive a restart: float16, little-endian. See docs/vectors.md.
CREATE TABLE vectors (
    space TEXT NOT NULL,
    id TEXT NOT NULL,
    dimensions INTEGER NOT NULL,
    vector BLOB NOT NULL,
    expires REAL
);
CREATE UNIQUE INDEX vectors_by_id ON vectors (space, id, dimensions);
