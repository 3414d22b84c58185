-- What budgets have spent and hold, shared by all replicas. Units as in the SQLite table budget_counters.

CREATE TABLE budget_counters (
    key bytea PRIMARY KEY,
    spent numeric NOT NULL DEFAULT 0,
    held numeric NOT NULL DEFAULT 0,
    ends timestamptz,
    changed timestamptz NOT NULL DEFAULT statement_timestamp()
);
CREATE INDEX budget_counters_ends ON budget_counters (ends);

-- All or none, in one statement of the caller's. Rows are locked in the order of their keys, so that two who take the
-- same ones cannot wait for each other.
CREATE FUNCTION budget_take(keys bytea[], amounts numeric[], limits numeric[], ends_at float8[])
RETURNS TABLE (place int, refused boolean, spent_now numeric, held_now numeric)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    full_ boolean;
BEGIN
    INSERT INTO budget_counters (key, ends)
        SELECT k, to_timestamp(e) FROM unnest(keys, ends_at) AS wanted(k, e) ORDER BY k
        ON CONFLICT (key) DO NOTHING;
    PERFORM 1 FROM budget_counters WHERE key = ANY (keys) ORDER BY key FOR UPDATE;
    SELECT bool_or(held.spent + held.held + w.amount > w.most) INTO full_
        FROM unnest(keys, amounts, limits) AS w(k, amount, most) JOIN budget_counters held ON held.key = w.k;
    RETURN QUERY SELECT w.at::int, held.spent + held.held + w.amount > w.most,
            held.spent, held.held + CASE WHEN full_ THEN 0 ELSE w.amount END
        FROM unnest(keys, amounts, limits) WITH ORDINALITY AS w(k, amount, most, at)
        JOIN budget_counters held ON held.key = w.k ORDER BY w.at;
    IF NOT full_ THEN
        UPDATE budget_counters SET held = budget_counters.held + w.amount, changed = statement_timestamp()
            FROM unnest(keys, amounts) AS w(k, amount) WHERE key = w.k;
    END IF;
END $$;
