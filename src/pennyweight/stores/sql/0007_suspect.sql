-- Why a provider's usage cannot be wholly true ('' when it can), so that reports and audits can tell those calls apart.

ALTER TABLE receipts ADD COLUMN usage_suspect TEXT NOT NULL DEFAULT '';
