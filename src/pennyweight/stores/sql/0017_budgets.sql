-- What budgets have spent and hold. key: budget, beginning of the window, tenant and subject, set apart by line feeds.
-- Money in pico-dollars, tokens in thousandths. ends: of the window, unix seconds; NULL: it has none.

CREATE TABLE budget_counters (
  key     TEXT PRIMARY KEY,
  spent   INTEGER NOT NULL,
  held    INTEGER NOT NULL,
  ends    REAL,
  changed REAL NOT NULL                            -- unix seconds
) WITHOUT ROWID;
CREATE INDEX budget_counters_by_end ON budget_counters (ends);
