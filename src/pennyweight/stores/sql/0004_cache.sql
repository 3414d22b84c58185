-- What was foreseen of the provider's prompt cache, to be held against cache_read_tokens: tokens (NULL: nothing was
-- foreseen) and the probability in [0, 1].

ALTER TABLE receipts ADD COLUMN foreseen_read_tokens INTEGER;
ALTER TABLE receipts ADD COLUMN warm REAL;
