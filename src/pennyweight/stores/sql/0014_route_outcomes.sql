-- What routed calls came to, by task type and model: what the router learns from. No word of a prompt: `text` is a digest,
-- `features` are counts, `vector` is an embedding (float16). `success` is NULL where nobody has said; that is no success.
-- See docs/learned-router.md.

CREATE TABLE route_outcomes (
  id        INTEGER PRIMARY KEY,
  at        REAL NOT NULL,                         -- unix seconds
  tenant    TEXT NOT NULL,
  agent     TEXT NOT NULL DEFAULT '',
  task      TEXT NOT NULL,
  model     TEXT NOT NULL,                         -- provider/model that answered, or as a file calls it
  success   REAL,                                  -- 0 to 1
  source    TEXT NOT NULL,                         -- who says so; '' where nobody has
  weight    REAL NOT NULL,
  call_id   TEXT NOT NULL DEFAULT '',
  text      TEXT NOT NULL DEFAULT '',
  hard      REAL NOT NULL DEFAULT 0,
  features  BLOB NOT NULL DEFAULT x'',
  vector    BLOB NOT NULL DEFAULT x'',
  declared  TEXT NOT NULL DEFAULT ''               -- the task as the caller named it
);
CREATE UNIQUE INDEX route_outcomes_by_call ON route_outcomes (call_id, source) WHERE call_id <> '';
CREATE INDEX route_outcomes_by_tenant ON route_outcomes (tenant, id);
