-- The same task done both ways, as told by who did it: the evidence for and against an optimizer. See docs/selection.md.
CREATE TABLE shadow_pairs (
    id INTEGER PRIMARY KEY,
    at REAL NOT NULL,
    optimizer TEXT NOT NULL,
    change INTEGER NOT NULL,  -- the change of its flag that was in force; 0: none
    route TEXT NOT NULL,
    new REAL NOT NULL,
    old REAL NOT NULL
);
CREATE INDEX shadow_pairs_by_stage ON shadow_pairs (optimizer, change, id);
