-- Receipts, one row per call, and the views that plain SQL reads. Money is integer pico-dollars (10^-12 USD).
-- SQLite raises an error where sum() of integers passes 2^63 (9.2 million dollars in pico), so money is summed in two
-- parts, whole micro-dollars and the rest; a total beyond 2^63 turns into a REAL instead of an error.

CREATE TABLE receipts (
  call_id               TEXT PRIMARY KEY,
  at                    REAL NOT NULL,             -- unix seconds, UTC
  tenant                TEXT NOT NULL,
  session               TEXT NOT NULL,
  agent                 TEXT NOT NULL,
  task                  TEXT NOT NULL,
  skill                 TEXT NOT NULL,
  housekeeping          TEXT NOT NULL,
  wire                  TEXT NOT NULL,
  operation             TEXT NOT NULL,
  provider              TEXT NOT NULL,
  model                 TEXT NOT NULL,             -- as asked
  target_model          TEXT NOT NULL,             -- as sent
  input_tokens          INTEGER,                   -- NULL: nobody told the usage
  cache_read_tokens     INTEGER,
  cache_write_5m_tokens INTEGER,
  cache_write_1h_tokens INTEGER,
  output_tokens         INTEGER,
  reasoning_tokens      INTEGER,
  tier                  TEXT,
  counted               INTEGER,                   -- 1: we counted the tokens, the provider did not say
  replayed              INTEGER NOT NULL,          -- 1: the tokens were not consumed, the answer came from a store
  cost_pico             INTEGER,                   -- NULL: not a matter of dollars, or no price is known
  baseline_pico         INTEGER,
  saved_pico            INTEGER GENERATED ALWAYS AS (baseline_pico - cost_pico) VIRTUAL,
  spent_pico            INTEGER NOT NULL,          -- what optimizing cost, inside cost_pico
  pricing               TEXT NOT NULL,             -- priced unpriced local subscription free
  basis                 TEXT NOT NULL,             -- '' computed estimated measured
  answered_by           TEXT NOT NULL,
  trail                 TEXT NOT NULL,             -- JSON: what each optimizer said
  status                INTEGER NOT NULL,
  finish_reason         TEXT NOT NULL,
  arm                   TEXT NOT NULL,
  ttft_s                REAL,
  latency_s             REAL NOT NULL,
  added_s               REAL NOT NULL,
  error                 TEXT NOT NULL,
  abandoned             INTEGER NOT NULL
);

CREATE INDEX receipts_at ON receipts (at);
CREATE INDEX receipts_session ON receipts (tenant, session, at);

CREATE TABLE kv (
  key     TEXT PRIMARY KEY,
  value   BLOB NOT NULL,                           -- a counter is its decimal digits
  expires REAL                                     -- unix seconds; NULL: until evicted
);

CREATE INDEX kv_expires ON kv (expires) WHERE expires IS NOT NULL;

-- One row per call, with the columns that people ask for under the names they use. Money in USD as REAL, for reading.
CREATE VIEW calls AS
SELECT
  call_id, datetime(at, 'unixepoch') AS created_at, date(at, 'unixepoch') AS day,
  date(at, 'unixepoch', 'weekday 0', '-6 days') AS week, strftime('%Y-%m', at, 'unixepoch') AS month,
  tenant, session, agent, task, skill, housekeeping, provider, model, target_model, status, pricing, basis, answered_by,
  replayed,
  iif(replayed, 0, coalesce(input_tokens, 0)) AS input_tokens,
  iif(replayed, 0, coalesce(cache_read_tokens, 0)) AS cached_tokens,
  iif(replayed, 0, coalesce(output_tokens, 0)) AS output_tokens,
  iif(replayed, 0, coalesce(input_tokens, 0) + coalesce(output_tokens, 0)) AS tokens_used,
  iif(replayed, coalesce(input_tokens, 0) + coalesce(output_tokens, 0), 0) AS tokens_replayed,
  cost_pico, baseline_pico, saved_pico, spent_pico, cost_pico / 1e12 AS cost, baseline_pico / 1e12 AS baseline,
  saved_pico / 1e12 AS saved, added_s * 1000 AS added_ms, ttft_s, latency_s, at
FROM receipts;

CREATE VIEW sessions AS
SELECT
  session AS session_id, tenant, max(agent) AS agent,
  datetime(min(at), 'unixepoch') AS created_at, datetime(max(at), 'unixepoch') AS last_at,
  -- the model that was asked most often
  (SELECT r.model FROM receipts r WHERE r.tenant = c.tenant AND r.session = c.session
   GROUP BY r.model ORDER BY count(*) DESC, r.model LIMIT 1) AS model,
  count(*) AS calls, sum(tokens_used) AS tokens_used, sum(input_tokens) AS input_tokens,
  sum(cached_tokens) AS cached_tokens, sum(output_tokens) AS output_tokens, sum(tokens_replayed) AS tokens_replayed,
  total(cost) AS cost, total(baseline) AS baseline, total(saved) AS saved,
  coalesce(sum(cost_pico / 1000000) * 1000000 + sum(cost_pico % 1000000), 0) AS cost_pico,
  coalesce(sum(baseline_pico / 1000000) * 1000000 + sum(baseline_pico % 1000000), 0) AS baseline_pico,
  coalesce(sum(saved_pico / 1000000) * 1000000 + sum(saved_pico % 1000000), 0) AS saved_pico,
  sum(pricing = 'unpriced') AS unpriced_calls, sum(pricing = 'subscription') AS subscription_calls,
  sum(status >= 400) AS failed_calls
FROM calls c GROUP BY tenant, session;

CREATE VIEW skill_invocations AS
SELECT
  skill AS skill_name, call_id, session AS session_id, tenant, agent, task, created_at, model, target_model,
  tokens_used, input_tokens, cached_tokens, output_tokens, tokens_replayed, cost, baseline, saved,
  cost_pico, baseline_pico, saved_pico, pricing, status
FROM calls WHERE skill <> '';

-- What each optimizer said to each call it was asked about.
CREATE VIEW optimizer_steps AS
SELECT
  r.call_id, r.at, r.tenant, r.session, r.answered_by,
  json_extract(s.value, '$.optimizer') AS optimizer, json_extract(s.value, '$.verdict') AS verdict,
  coalesce(json_extract(s.value, '$.saving'), 0) AS saving_pico,
  coalesce(json_extract(s.value, '$.spent'), 0) AS spent_pico,
  coalesce(json_extract(s.value, '$.why'), '') AS why
FROM receipts r, json_each(r.trail) s;
