-- The index of sessions, in runs: `run` tells receipts of one stretch of the table from those of the next. Sessions come in
-- no order, so in one index over all receipts each row falls on a page of its own, which is written twice; within a run,
-- rows fall on a few pages. Receipts from before this step are run 0, as one sorted whole. See docs/decisions/0043.
-- To find a session by it: WHERE run IN (SELECT run FROM receipt_runs) AND tenant = … AND session = …

ALTER TABLE receipts ADD COLUMN run INTEGER NOT NULL DEFAULT 0;
DROP INDEX receipts_session;
CREATE INDEX receipts_session ON receipts (run, tenant, session, at);

-- One step in the index for each run.
CREATE VIEW receipt_runs AS
WITH RECURSIVE found (run) AS (
  SELECT min(run) FROM receipts
  UNION ALL
  SELECT (SELECT min(r.run) FROM receipts r WHERE r.run > found.run) FROM found WHERE found.run IS NOT NULL
)
SELECT run FROM found WHERE run IS NOT NULL;

-- As before, in one pass over the receipts: by session and model first, then by session.
DROP VIEW sessions;
CREATE VIEW sessions AS
SELECT
  session AS session_id, tenant, max(agent) AS agent,
  datetime(min(first_at), 'unixepoch') AS created_at, datetime(max(last_at), 'unixepoch') AS last_at,
  max(iif(place = 1, model, NULL)) AS model,  -- that was asked most often
  sum(calls) AS calls, sum(input_tokens + output_tokens) AS tokens_used, sum(input_tokens) AS input_tokens,
  sum(cached_tokens) AS cached_tokens, sum(output_tokens) AS output_tokens, sum(tokens_replayed) AS tokens_replayed,
  total(cost) AS cost, total(baseline) AS baseline, total(saved) AS saved,
  coalesce(sum(cost_micro) * 1000000 + sum(cost_rest), 0) AS cost_pico,
  coalesce(sum(baseline_micro) * 1000000 + sum(baseline_rest), 0) AS baseline_pico,
  coalesce(sum(saved_micro) * 1000000 + sum(saved_rest), 0) AS saved_pico,
  sum(unpriced_calls) AS unpriced_calls, sum(subscription_calls) AS subscription_calls, sum(failed_calls) AS failed_calls
FROM (
  SELECT
    tenant, session, model, max(agent) AS agent, min(at) AS first_at, max(at) AS last_at, count(*) AS calls,
    sum(iif(replayed, 0, coalesce(input_tokens, 0))) AS input_tokens,
    sum(iif(replayed, 0, coalesce(cache_read_tokens, 0))) AS cached_tokens,
    sum(iif(replayed, 0, coalesce(output_tokens, 0))) AS output_tokens,
    sum(iif(replayed, coalesce(input_tokens, 0) + coalesce(output_tokens, 0), 0)) AS tokens_replayed,
    total(cost_pico / 1e12) AS cost, total(baseline_pico / 1e12) AS baseline, total(saved_pico / 1e12) AS saved,
    sum(cost_pico / 1000000) AS cost_micro, sum(cost_pico % 1000000) AS cost_rest,
    sum(baseline_pico / 1000000) AS baseline_micro, sum(baseline_pico % 1000000) AS baseline_rest,
    sum(saved_pico / 1000000) AS saved_micro, sum(saved_pico % 1000000) AS saved_rest,
    sum(pricing = 'unpriced') AS unpriced_calls, sum(pricing = 'subscription') AS subscription_calls,
    sum(status >= 400) AS failed_calls,
    row_number() OVER (PARTITION BY tenant, session ORDER BY count(*) DESC, model) AS place
  FROM receipts GROUP BY tenant, session, model
)
GROUP BY tenant, session;
