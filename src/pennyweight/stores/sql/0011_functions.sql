-- What cached functions saved, by UTC day, tenant and function. Money in two parts, whole micro-dollars and the rest,
-- as in the rollups.

CREATE TABLE function_hits (
  day        INTEGER NOT NULL,                     -- unix seconds, the beginning of a UTC day
  tenant     TEXT NOT NULL,
  function   TEXT NOT NULL,                        -- module and name
  hits       INTEGER NOT NULL,                     -- calls that were answered by a stored result
  stale      INTEGER NOT NULL,                     -- of those: by one that was being made anew
  shared     INTEGER NOT NULL,                     -- calls that waited for another one's result
  misses     INTEGER NOT NULL,                     -- calls that ran the function
  failures   INTEGER NOT NULL,                     -- of those: it raised
  saved_s    REAL NOT NULL,                        -- seconds that the stored results had taken to make
  saved_micro INTEGER NOT NULL,                    -- what the caller says that they had cost (estimated)
  saved_rest INTEGER NOT NULL,
  PRIMARY KEY (day, tenant, function)
) WITHOUT ROWID;
