-- As before, grouped once, by all runs of the index of sessions: so who asks for one session by tenant and session_id gets
-- it by that index. (SQLite takes such a question into one grouping, and not through it into another.)

DROP VIEW sessions;
CREATE VIEW sessions AS
SELECT
  session AS session_id, tenant, max(agent) AS agent,
  datetime(min(at), 'unixepoch') AS created_at, datetime(max(at), 'unixepoch') AS last_at,
  -- the model that was asked most often
  (SELECT value FROM json_each(json_group_array(model)) GROUP BY value ORDER BY count(*) DESC, value LIMIT 1) AS model,
  count(*) AS calls,
  sum(iif(replayed, 0, coalesce(input_tokens, 0) + coalesce(output_tokens, 0))) AS tokens_used,
  sum(iif(replayed, 0, coalesce(input_tokens, 0))) AS input_tokens,
  sum(iif(replayed, 0, coalesce(cache_read_tokens, 0))) AS cached_tokens,
  sum(iif(replayed, 0, coalesce(output_tokens, 0))) AS output_tokens,
  sum(iif(replayed, coalesce(input_tokens, 0) + coalesce(output_tokens, 0), 0)) AS tokens_replayed,
  total(cost_pico / 1e12) AS cost, total(baseline_pico / 1e12) AS baseline, total(saved_pico / 1e12) AS saved,
  coalesce(sum(cost_pico / 1000000) * 1000000 + sum(cost_pico % 1000000), 0) AS cost_pico,
  coalesce(sum(baseline_pico / 1000000) * 1000000 + sum(baseline_pico % 1000000), 0) AS baseline_pico,
  coalesce(sum(saved_pico / 1000000) * 1000000 + sum(saved_pico % 1000000), 0) AS saved_pico,
  sum(pricing = 'unpriced') AS unpriced_calls, sum(pricing = 'subscription') AS subscription_calls,
  sum(status >= 400) AS failed_calls
FROM receipts WHERE run IN (SELECT run FROM receipt_runs)
GROUP BY tenant, session;
