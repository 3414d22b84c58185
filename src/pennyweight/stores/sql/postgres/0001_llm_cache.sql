-- Entries of the response caches. key is what the program asks by; tenant and hash are its parts, for people who read
-- the table. response is as the program sealed it (compressed, checked, perhaps encrypted), so Postgres need not
-- compress it again. prompt is empty unless the operator asked to keep prompts. expires_at NULL: kept until deleted.

CREATE TABLE llm_cache (
    key bytea PRIMARY KEY,
    tenant text NOT NULL DEFAULT '',
    hash text NOT NULL DEFAULT '',
    prompt text NOT NULL DEFAULT '',
    response bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT statement_timestamp(),
    expires_at timestamptz
);
ALTER TABLE llm_cache ALTER COLUMN response SET STORAGE EXTERNAL;
CREATE INDEX llm_cache_expires_at ON llm_cache (expires_at) WHERE expires_at IS NOT NULL;

-- Who does what at the moment, among all replicas, and the last word of who did it.
CREATE UNLOGGED TABLE llm_lease (
    key bytea PRIMARY KEY,
    token bytea NOT NULL,
    expires_at timestamptz NOT NULL,
    released_at timestamptz,
    word bytea NOT NULL DEFAULT ''
);
