-- Version 1.  One table per lane, all alike: each grows at its end and shrinks at its beginning, so its rows are
-- always a contiguous run of seq and its pages stay full (one table for all lanes would insert into the middle).
--
-- items         the bytes that are sent; empty in a row that stands for a damaged one
-- records       how many are in items
-- total_records records in this lane from its first row through this one, evicted rows included
-- total_bytes   room taken by the same rows (rows.py, footprint)
-- crc           CRC-32 over all of it, the epoch and the lane (rows.py, seal)
--
-- The totals make size and content of any run of rows a subtraction: nothing has to be counted at start.

CREATE TABLE alarm (
    seq INTEGER PRIMARY KEY, boot_id TEXT NOT NULL, items BLOB NOT NULL, records INTEGER NOT NULL,
    from_ms INTEGER NOT NULL, to_ms INTEGER NOT NULL,
    total_records INTEGER NOT NULL, total_bytes INTEGER NOT NULL, crc INTEGER NOT NULL
) STRICT;

CREATE TABLE event (
    seq INTEGER PRIMARY KEY, boot_id TEXT NOT NULL, items BLOB NOT NULL, records INTEGER NOT NULL,
    from_ms INTEGER NOT NULL, to_ms INTEGER NOT NULL,
    total_records INTEGER NOT NULL, total_bytes INTEGER NOT NULL, crc INTEGER NOT NULL
) STRICT;

CREATE TABLE gap (
    seq INTEGER PRIMARY KEY, boot_id TEXT NOT NULL, items BLOB NOT NULL, records INTEGER NOT NULL,
    from_ms INTEGER NOT NULL, to_ms INTEGER NOT NULL,
    total_records INTEGER NOT NULL, total_bytes INTEGER NOT NULL, crc INTEGER NOT NULL
) STRICT;

CREATE TABLE billing (
    seq INTEGER PRIMARY KEY, boot_id TEXT NOT NULL, items BLOB NOT NULL, records INTEGER NOT NULL,
    from_ms INTEGER NOT NULL, to_ms INTEGER NOT NULL,
    total_records INTEGER NOT NULL, total_bytes INTEGER NOT NULL, crc INTEGER NOT NULL
) STRICT;

CREATE TABLE telemetry (
    seq INTEGER PRIMARY KEY, boot_id TEXT NOT NULL, items BLOB NOT NULL, records INTEGER NOT NULL,
    from_ms INTEGER NOT NULL, to_ms INTEGER NOT NULL,
    total_records INTEGER NOT NULL, total_bytes INTEGER NOT NULL, crc INTEGER NOT NULL
) STRICT;

CREATE TABLE bulk (
    seq INTEGER PRIMARY KEY, boot_id TEXT NOT NULL, items BLOB NOT NULL, records INTEGER NOT NULL,
    from_ms INTEGER NOT NULL, to_ms INTEGER NOT NULL,
    total_records INTEGER NOT NULL, total_bytes INTEGER NOT NULL, crc INTEGER NOT NULL
) STRICT;

-- What has been evicted from each lane: everything up to seq.  Written only by an eviction (and once at the start),
-- so that a lane that was emptied still knows its next seq.
CREATE TABLE lane (
    name TEXT PRIMARY KEY,
    seq INTEGER NOT NULL,
    total_records INTEGER NOT NULL,
    total_bytes INTEGER NOT NULL,
    evicted INTEGER NOT NULL,        -- envelopes that some uplink had not acknowledged
    evicted_records INTEGER NOT NULL,  -- in them
    damaged INTEGER NOT NULL         -- envelopes found damaged, replaced and announced
) STRICT, WITHOUT ROWID;

-- Up to where each uplink has acknowledged each lane; crc over epoch, uplink, lane and seq.
CREATE TABLE cursor (
    uplink TEXT NOT NULL,
    lane TEXT NOT NULL,
    seq INTEGER NOT NULL,
    crc INTEGER NOT NULL,
    PRIMARY KEY (uplink, lane)
) STRICT, WITHOUT ROWID;

-- Saved state of others (the alarm journal); crc over key and value.
CREATE TABLE state (
    key TEXT PRIMARY KEY,
    value BLOB NOT NULL,
    crc INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The epoch.
CREATE TABLE meta (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
