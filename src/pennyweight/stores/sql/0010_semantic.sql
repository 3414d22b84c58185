-- How the semantic cache stands with each kind of call of each tenant, what it has learnt there, and the last pairs that
-- it was judged by. The pairs hold texts of prompts and answers: they are for the tenant's own operator, and few.

CREATE TABLE semantic_partitions (
  partition     TEXT PRIMARY KEY,                  -- hexadecimal; covers tenant, kind of call and embedder
  tenant        TEXT NOT NULL,
  route         TEXT NOT NULL,
  state         TEXT NOT NULL,                     -- learning open closed
  asked         INTEGER NOT NULL,
  hits          INTEGER NOT NULL,
  audited       INTEGER NOT NULL,
  audited_wrong INTEGER NOT NULL,
  labels        INTEGER NOT NULL,
  entries       INTEGER NOT NULL,
  bound         REAL NOT NULL,                     -- of the share of wrong answers above the threshold
  target        REAL NOT NULL,
  share         REAL NOT NULL,
  reason        TEXT NOT NULL,
  updated_at    REAL NOT NULL,                     -- unix seconds, UTC
  learnt        BLOB                               -- vectors and answers' digests, no texts; see semantic_cache/partition.py
) WITHOUT ROWID;

CREATE INDEX semantic_partitions_tenant ON semantic_partitions (tenant, updated_at);

CREATE TABLE semantic_pairs (
  id        INTEGER PRIMARY KEY AUTOINCREMENT,
  at        REAL NOT NULL,
  tenant    TEXT NOT NULL,
  partition TEXT NOT NULL,
  route     TEXT NOT NULL,
  call_id   TEXT NOT NULL,
  asked     TEXT NOT NULL,
  stored    TEXT NOT NULL,
  served    TEXT NOT NULL,
  fresh     TEXT NOT NULL,
  equal     INTEGER NOT NULL,
  cosine    REAL NOT NULL,
  source    TEXT NOT NULL                          -- audit shadow miss
);

CREATE INDEX semantic_pairs_tenant ON semantic_pairs (tenant, id);
