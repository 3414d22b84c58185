-- Experiments: who switched an optimizer when and why, what callers and checks say of answers, and where the
-- running evaluation stands.

CREATE TABLE flag_changes (
  id           INTEGER PRIMARY KEY AUTOINCREMENT,
  at           REAL NOT NULL,                    -- unix seconds, UTC
  optimizer    TEXT NOT NULL,
  kind         TEXT NOT NULL,                    -- set, reset (back to the file), notice (nothing was changed)
  mode         TEXT NOT NULL,                    -- off shadow on
  share        REAL NOT NULL,                    -- of sessions, in [0, 1]
  by           TEXT NOT NULL,                    -- operator loop
  reason       TEXT NOT NULL,
  figures      TEXT NOT NULL,                    -- JSON: what it was decided by
  configured   TEXT NOT NULL,                    -- what the file said then; another file since is the newer word
  last_receipt INTEGER NOT NULL                  -- rowid of the newest receipt then
);

CREATE INDEX flag_changes_optimizer ON flag_changes (optimizer, id);

CREATE TABLE signals (
  id      INTEGER PRIMARY KEY AUTOINCREMENT,
  at      REAL NOT NULL,
  tenant  TEXT NOT NULL,
  session TEXT NOT NULL,
  call_id TEXT NOT NULL,                         -- '': about the whole session
  kind    TEXT NOT NULL,                         -- feedback judge tools reask
  value   REAL NOT NULL,                         -- feedback -1 or 1; judge and tools 0 to 1; reask 1
  comment TEXT NOT NULL DEFAULT '',
  UNIQUE (tenant, session, call_id, kind)
);

CREATE TABLE experiment_state (
  id    INTEGER PRIMARY KEY CHECK (id = 1),
  state BLOB NOT NULL                            -- JSON; made anew from receipts when it cannot be read
);
