-- What calls missed in their providers' prompt caches, and why: one row per cause, conversation and place. Positions and
-- names only, never a prompt's text. Money in integer pico-dollars.

CREATE TABLE findings (
  tenant        TEXT NOT NULL,
  session       TEXT NOT NULL,
  code          TEXT NOT NULL,                     -- the cause, see docs/doctor.md
  provider      TEXT NOT NULL,
  model         TEXT NOT NULL,
  place_kind    TEXT NOT NULL,                     -- the place without numbers that move: 'system[0]', 'user message'
  client        TEXT NOT NULL,
  calls         INTEGER NOT NULL,
  tokens        INTEGER NOT NULL,                  -- missed
  prompt_tokens INTEGER NOT NULL,                  -- of the calls that missed
  cost_pico     INTEGER,                           -- above the price of a hit; NULL: no price is known
  first_at      REAL NOT NULL,                     -- unix seconds, UTC
  last_at       REAL NOT NULL,
  dearest       INTEGER NOT NULL,                  -- missed tokens of the call that the rest of the row is about
  call_id       TEXT NOT NULL,
  place         TEXT NOT NULL,
  what          TEXT NOT NULL,
  names         TEXT NOT NULL,                     -- JSON: tools, models or parameters
  at_byte       INTEGER,
  at_token      INTEGER NOT NULL,
  gap_s         REAL NOT NULL,
  ttl_s         REAL NOT NULL,
  PRIMARY KEY (tenant, session, code, provider, model, place_kind)
) WITHOUT ROWID;

CREATE INDEX findings_last_at ON findings (last_at);
