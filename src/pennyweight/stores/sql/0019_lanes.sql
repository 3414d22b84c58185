-- Calls that went to a provider's Batch API, and calls whose callers fetch the answer later. See docs/lanes.md.
-- Bodies and answers are sealed as caches are: encrypted where PENNYWEIGHT_CACHE_KEY is set.
CREATE TABLE lane_batches (
    id TEXT PRIMARY KEY,
    provider TEXT NOT NULL,
    model TEXT NOT NULL,
    at REAL NOT NULL,                -- unix seconds
    state TEXT NOT NULL,             -- sending creating doubtful submitted ended
    remote TEXT NOT NULL,            -- the provider's id; '': not known
    count INTEGER NOT NULL,
    ended_at REAL,
    owner TEXT NOT NULL,             -- the process that follows it; one that died is followed by another
    facts BLOB NOT NULL              -- the whole record, as JSON; no prompt
);

CREATE TABLE lane_items (
    id TEXT PRIMARY KEY,
    batch TEXT NOT NULL,             -- '': not sent yet
    tenant TEXT NOT NULL,
    at REAL NOT NULL,
    until REAL NOT NULL,             -- when the answer must be there
    state TEXT NOT NULL,             -- queued sent answered refused unserved
    done_at REAL,
    owner TEXT NOT NULL,
    facts BLOB NOT NULL,             -- the record without these two, as JSON
    body BLOB NOT NULL,
    answer BLOB NOT NULL
);

CREATE INDEX lane_items_batch ON lane_items (batch);

CREATE TABLE lane_calls (
    id TEXT PRIMARY KEY,             -- of the call
    tenant TEXT NOT NULL,
    at REAL NOT NULL,
    until REAL NOT NULL,
    state TEXT NOT NULL,             -- waiting done
    status INTEGER NOT NULL,
    webhook TEXT NOT NULL,           -- a name of [lanes.webhooks]; '': it is fetched
    told INTEGER NOT NULL,           -- 1: the webhook took it, or will not be tried again
    done_at REAL,
    owner TEXT NOT NULL,
    facts BLOB NOT NULL,
    body BLOB NOT NULL,
    answer BLOB NOT NULL
);

CREATE INDEX lane_calls_tenant ON lane_calls (tenant, at);
