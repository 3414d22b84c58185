-- Sums of receipts by UTC day (and, for all calls together, by hour), so that a page over a million receipts is quick.
-- They cover the receipts up to `rollup_state.position`; a reader adds what came after from `receipt_sums` itself, so
-- appending a receipt costs nothing here. See docs/decisions/0007-dashboard.md.

CREATE INDEX receipts_tenant ON receipts (tenant, at);

-- What a receipt adds to each sum. Money in two parts, whole micro-dollars and the rest, as in the reports.
CREATE VIEW receipt_sums AS
SELECT
  rowid AS position, CAST(at AS INTEGER) AS at, tenant, provider, model, agent, session, task, skill,
  1 AS calls,
  replayed AS replayed_calls,
  status >= 400 AS failed_calls,
  pricing = 'unpriced' AS unpriced_calls,
  pricing = 'subscription' AS subscription_calls,
  iif(replayed, 0, coalesce(input_tokens, 0)) AS input_tokens,
  iif(replayed, 0, coalesce(cache_read_tokens, 0)) AS cached_tokens,
  iif(replayed, 0, coalesce(cache_write_5m_tokens, 0) + coalesce(cache_write_1h_tokens, 0)) AS written_tokens,
  iif(replayed, 0, coalesce(output_tokens, 0)) AS output_tokens,
  iif(replayed, coalesce(input_tokens, 0) + coalesce(output_tokens, 0), 0) AS replayed_tokens,
  CAST(round(latency_s * 1000) AS INTEGER) AS latency_ms,
  coalesce(cost_pico, 0) / 1000000 AS cost_micro,
  coalesce(cost_pico, 0) % 1000000 AS cost_rest,
  coalesce(baseline_pico, 0) / 1000000 AS baseline_micro,
  coalesce(baseline_pico, 0) % 1000000 AS baseline_rest,
  iif(basis = 'measured', coalesce(saved_pico, 0), 0) / 1000000 AS measured_micro,
  iif(basis = 'measured', coalesce(saved_pico, 0), 0) % 1000000 AS measured_rest,
  iif(basis = 'computed', coalesce(saved_pico, 0), 0) / 1000000 AS computed_micro,
  iif(basis = 'computed', coalesce(saved_pico, 0), 0) % 1000000 AS computed_rest,
  iif(basis = 'estimated', coalesce(saved_pico, 0), 0) / 1000000 AS estimated_micro,
  iif(basis = 'estimated', coalesce(saved_pico, 0), 0) % 1000000 AS estimated_rest,
  iif(cost_pico IS NULL, 0, spent_pico) / 1000000 AS spent_micro,
  iif(cost_pico IS NULL, 0, spent_pico) % 1000000 AS spent_rest
FROM receipts;

CREATE TABLE rollups (
  dimension          TEXT NOT NULL,    -- 'all', or what `key` names: provider model agent session task skill
  span_s             INTEGER NOT NULL, -- 3600 or 86400
  start              INTEGER NOT NULL, -- unix seconds, a multiple of span_s
  tenant             TEXT NOT NULL,
  key                TEXT NOT NULL,
  calls              INTEGER NOT NULL,
  replayed_calls     INTEGER NOT NULL,
  failed_calls       INTEGER NOT NULL,
  unpriced_calls     INTEGER NOT NULL,
  subscription_calls INTEGER NOT NULL,
  input_tokens       INTEGER NOT NULL,
  cached_tokens      INTEGER NOT NULL,
  written_tokens     INTEGER NOT NULL,
  output_tokens      INTEGER NOT NULL,
  replayed_tokens    INTEGER NOT NULL,
  latency_ms         INTEGER NOT NULL,
  cost_micro         INTEGER NOT NULL,
  cost_rest          INTEGER NOT NULL,
  baseline_micro     INTEGER NOT NULL,
  baseline_rest      INTEGER NOT NULL,
  measured_micro     INTEGER NOT NULL,
  measured_rest      INTEGER NOT NULL,
  computed_micro     INTEGER NOT NULL,
  computed_rest      INTEGER NOT NULL,
  estimated_micro    INTEGER NOT NULL,
  estimated_rest     INTEGER NOT NULL,
  spent_micro        INTEGER NOT NULL,
  spent_rest         INTEGER NOT NULL,
  PRIMARY KEY (dimension, span_s, start, tenant, key)
) WITHOUT ROWID;

-- The same for the lines of trails: what each optimizer said.
CREATE VIEW step_sums AS
SELECT
  r.rowid AS position, CAST(r.at AS INTEGER) AS at, r.tenant,
  coalesce(json_extract(s.value, '$.optimizer'), '') AS optimizer,
  coalesce(json_extract(s.value, '$.verdict'), '') AS verdict,
  1 AS steps,
  coalesce(json_extract(s.value, '$.saving'), 0) / 1000000 AS saving_micro,
  coalesce(json_extract(s.value, '$.saving'), 0) % 1000000 AS saving_rest,
  coalesce(json_extract(s.value, '$.spent'), 0) / 1000000 AS spent_micro,
  coalesce(json_extract(s.value, '$.spent'), 0) % 1000000 AS spent_rest
FROM receipts r, json_each(r.trail) s;

CREATE TABLE step_rollups (
  start        INTEGER NOT NULL,       -- unix seconds, the beginning of a UTC day
  tenant       TEXT NOT NULL,
  optimizer    TEXT NOT NULL,
  verdict      TEXT NOT NULL,
  steps        INTEGER NOT NULL,
  saving_micro INTEGER NOT NULL,
  saving_rest  INTEGER NOT NULL,
  spent_micro  INTEGER NOT NULL,
  spent_rest   INTEGER NOT NULL,
  PRIMARY KEY (start, tenant, optimizer, verdict)
) WITHOUT ROWID;

-- One row: the rowid of the last receipt that is in the rollups, and its id, by which a renumbered table (VACUUM) shows.
CREATE TABLE rollup_state (position INTEGER NOT NULL, call_id TEXT NOT NULL);
