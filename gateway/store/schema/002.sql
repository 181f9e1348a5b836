-- Version 2.  Rows may have been thinned: how often every second reading was taken out.  The checksum covers it where
-- it is not 0, so that rows of version 1 check as they are.

ALTER TABLE alarm ADD COLUMN thinned INTEGER NOT NULL DEFAULT 0;
ALTER TABLE event ADD COLUMN thinned INTEGER NOT NULL DEFAULT 0;
ALTER TABLE gap ADD COLUMN thinned INTEGER NOT NULL DEFAULT 0;
ALTER TABLE billing ADD COLUMN thinned INTEGER NOT NULL DEFAULT 0;
ALTER TABLE telemetry ADD COLUMN thinned INTEGER NOT NULL DEFAULT 0;
ALTER TABLE bulk ADD COLUMN thinned INTEGER NOT NULL DEFAULT 0;

-- Readings that were taken out of rows some uplink had not acknowledged.
ALTER TABLE lane ADD COLUMN thinned_records INTEGER NOT NULL DEFAULT 0;

-- The lowest schema version whose program may read and write this file.  A program meets a newer file after a rollback;
-- if it is listed here, it works on the file as it is.  A later script raises this only when it must: when it does more
-- than add columns with defaults or tables of its own.
INSERT OR REPLACE INTO meta (key, value) VALUES ('readable_from', '2');
