-- What the adaptive loop turned, why, and how it came out. A value of NULL is no limit.

CREATE TABLE adaptive_changes (
  number     INTEGER PRIMARY KEY,                  -- in the order of happening, whatever the clock says
  at         REAL NOT NULL,                        -- unix seconds, UTC
  knob       TEXT NOT NULL,
  old        REAL,
  new        REAL,
  start      REAL,                                 -- what the operator had set
  reason     TEXT NOT NULL,                        -- with its figures; never prompts
  outcome    TEXT NOT NULL,                        -- trial kept undone
  figures    TEXT NOT NULL,                        -- by which the outcome was judged
  settled_at REAL
);

CREATE INDEX adaptive_changes_knob ON adaptive_changes (knob, number);
