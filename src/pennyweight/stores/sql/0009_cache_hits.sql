-- How often each cache looked and answered, by UTC day, tenant, route and the store that had the answer; and stored
-- answers that were held against fresh ones. Money in two parts, whole micro-dollars and the rest, as in the rollups.

CREATE TABLE cache_hits (
  day        INTEGER NOT NULL,                     -- unix seconds, the beginning of a UTC day
  tenant     TEXT NOT NULL,
  route      TEXT NOT NULL,
  cache      TEXT NOT NULL,                        -- exact_cache semantic_cache coalesce …
  tier       TEXT NOT NULL,                        -- memory sqlite redis …; '': the cache had no answer
  looks      INTEGER NOT NULL,                     -- calls that it could have answered
  hits       INTEGER NOT NULL,                     -- calls that it did answer
  shadowed   INTEGER NOT NULL,                     -- calls that it would have answered, had it not only watched
  tokens     INTEGER NOT NULL,                     -- of the answers that were served
  saved_micro INTEGER NOT NULL,                    -- what they would have cost (computed)
  saved_rest INTEGER NOT NULL,
  PRIMARY KEY (day, tenant, route, cache, tier)
) WITHOUT ROWID;

CREATE TABLE cache_audits (
  id      INTEGER PRIMARY KEY AUTOINCREMENT,
  at      REAL NOT NULL,                           -- unix seconds, UTC
  tenant  TEXT NOT NULL,
  route   TEXT NOT NULL,
  cache   TEXT NOT NULL,
  tier    TEXT NOT NULL,
  call_id TEXT,                                    -- NULL: nobody told
  source  TEXT NOT NULL,                           -- audit: drawn at random; expired: asked again anyway; feedback
  valid   INTEGER NOT NULL,                        -- 1: the stored answer might have been served
  UNIQUE (call_id, cache, source)
);

CREATE INDEX cache_audits_at ON cache_audits (at);
