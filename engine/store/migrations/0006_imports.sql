-- Imports are staged in the tables they end in, unseen, and revealed by one small transaction. What lay staged in the old
-- way was never seen, and whoever sent it has had no answer.
DROP TABLE import_entries;
DELETE FROM imports;
ALTER TABLE imports ADD COLUMN touched_at  INTEGER NOT NULL DEFAULT 0;  -- when the last of it came
ALTER TABLE imports ADD COLUMN revealed_at INTEGER;
ALTER TABLE imports ADD COLUMN ended_at    INTEGER;                     -- given up, or answered: it may be cleared away
ALTER TABLE imports ADD COLUMN imported    INTEGER NOT NULL DEFAULT 0;
ALTER TABLE imports ADD COLUMN skipped     INTEGER NOT NULL DEFAULT 0;

-- What became of each entry of a file: a batch may come twice, links name entries by their ids in the file, and whoever
-- imports is told the ids that have changed.
CREATE TABLE import_ids (
    import_id INTEGER NOT NULL,
    position  INTEGER NOT NULL,                         -- in the file, from 0
    file_id   INTEGER NOT NULL,
    memory_id INTEGER,                                  -- NULL: it has expired and is not taken
    outcome   TEXT    NOT NULL,                         -- new; known: it was there; trash: it is to be restored; expired
    PRIMARY KEY (import_id, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX import_ids_by_file ON import_ids (import_id, file_id);
CREATE INDEX import_ids_changed ON import_ids (import_id, file_id) WHERE memory_id <> file_id;
CREATE INDEX import_ids_found ON import_ids (import_id, outcome, memory_id) WHERE outcome <> 'new';

-- Links between memories that were there before the import: set once it is revealed. The others hide with their new ends.
CREATE TABLE import_links (
    import_id      INTEGER NOT NULL,
    from_id        INTEGER NOT NULL,
    to_id          INTEGER NOT NULL,
    type           TEXT    NOT NULL,
    strength       REAL    NOT NULL,
    confidence     REAL    NOT NULL,
    pinned         INTEGER NOT NULL,
    source         TEXT    NOT NULL,
    source_context TEXT,
    valid_from     INTEGER,
    valid_to       INTEGER,
    created_at     INTEGER NOT NULL,
    reinforced_at  INTEGER NOT NULL,
    PRIMARY KEY (import_id, from_id, to_id, type)
) STRICT, WITHOUT ROWID;
