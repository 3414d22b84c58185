-- Answers of cheap targets that were held against a stronger target's, and what was trained on them. No texts.

CREATE TABLE cascade_comparisons (
  id       INTEGER PRIMARY KEY AUTOINCREMENT,
  at       REAL NOT NULL,                          -- unix seconds, UTC
  tenant   TEXT NOT NULL,
  cheap    TEXT NOT NULL,                          -- provider/model
  peer     TEXT NOT NULL,                          -- '' without one
  strong   TEXT NOT NULL,
  task     TEXT NOT NULL,
  features TEXT NOT NULL,                          -- a JSON list; see routing/confidence/features.py
  keepable INTEGER NOT NULL,                       -- no verifier complained
  same     INTEGER NOT NULL,                       -- the stronger target said the same
  first    INTEGER NOT NULL,                       -- pico-dollars that the cheap target and the peer were billed
  last     INTEGER NOT NULL                        -- the same of the stronger one; 0: not known, or nothing
);

CREATE INDEX cascade_comparisons_kind ON cascade_comparisons (tenant, cheap, peer, strong, id);

CREATE TABLE cascade_acceptors (
  tenant   TEXT NOT NULL,
  cheap    TEXT NOT NULL,
  peer     TEXT NOT NULL,
  strong   TEXT NOT NULL,
  learnt   TEXT NOT NULL,                          -- JSON: names and weights
  until    INTEGER NOT NULL,                       -- the last comparison that it learnt from
  PRIMARY KEY (tenant, cheap, peer, strong)
) WITHOUT ROWID;
