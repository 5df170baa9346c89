-- What is remembered. Times are microseconds since 1970 in UTC.
CREATE TABLE memories (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,  -- never reused: an id once told means this memory or nothing
    content         TEXT    NOT NULL,
    content_hash    TEXT    NOT NULL,
    type            TEXT    NOT NULL,
    tags            TEXT    NOT NULL,                   -- JSON array of strings
    metadata        TEXT    NOT NULL,                   -- JSON object
    importance      REAL    NOT NULL,
    workspace       TEXT    NOT NULL,
    scope_type      TEXT    NOT NULL,
    scope_id        TEXT,
    tier            TEXT    NOT NULL,
    version         INTEGER NOT NULL,
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL,
    accessed_at     INTEGER,
    access_count    INTEGER NOT NULL DEFAULT 0,
    expires_at      INTEGER,
    event_time      INTEGER,
    deleted_at      INTEGER,
    embedding_model TEXT                                -- whose vectors its passages hold; NULL: pending
) STRICT;

CREATE INDEX memories_by_time ON memories (created_at DESC, id DESC) WHERE deleted_at IS NULL;
CREATE INDEX memories_by_workspace ON memories (workspace, created_at DESC, id DESC) WHERE deleted_at IS NULL;
CREATE INDEX memories_by_hash ON memories (content_hash);
CREATE INDEX memories_by_expiry ON memories (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX memories_pending ON memories (id) WHERE embedding_model IS NULL AND deleted_at IS NULL;

CREATE TABLE memory_tags (
    tag       TEXT    NOT NULL,
    memory_id INTEGER NOT NULL REFERENCES memories (id) ON DELETE CASCADE,
    PRIMARY KEY (tag, memory_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX memory_tags_by_memory ON memory_tags (memory_id);

-- A text is embedded passage by passage. Positions count characters of the content, the end is exclusive.
CREATE TABLE passages (
    id         INTEGER PRIMARY KEY,
    memory_id  INTEGER NOT NULL REFERENCES memories (id) ON DELETE CASCADE,
    start_char INTEGER NOT NULL,
    end_char   INTEGER NOT NULL,
    vector     BLOB    NOT NULL                         -- float32, little endian, unit length
) STRICT;
CREATE INDEX passages_by_memory ON passages (memory_id);

-- The words. Its rows are those of memories; the triggers below keep the two in step.
CREATE VIRTUAL TABLE memories_fts USING fts5 (
    content, tags,
    content = 'memories', content_rowid = 'id',
    tokenize = 'porter unicode61 remove_diacritics 2'
);
-- Without this, the terms of a deleted row stay in the index until a merge happens to pass by.
INSERT INTO memories_fts (memories_fts, rank) VALUES ('secure-delete', 1);
CREATE VIRTUAL TABLE memories_vocabulary USING fts5vocab ('memories_fts', 'row');

-- Counted as it changes: a limit is checked on every write, and count(*) reads the whole table.
CREATE TABLE counters (
    name  TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO counters VALUES ('memories', 0);

CREATE TRIGGER memories_inserted AFTER INSERT ON memories BEGIN
    INSERT INTO memories_fts (rowid, content, tags) VALUES (new.id, new.content, new.tags);
    INSERT OR IGNORE INTO memory_tags SELECT value, new.id FROM json_each(new.tags);
    UPDATE counters SET value = value + (new.deleted_at IS NULL) WHERE name = 'memories';
END;
CREATE TRIGGER memories_deleted AFTER DELETE ON memories BEGIN
    INSERT INTO memories_fts (memories_fts, rowid, content, tags) VALUES ('delete', old.id, old.content, old.tags);
    UPDATE counters SET value = value - (old.deleted_at IS NULL) WHERE name = 'memories';
END;
CREATE TRIGGER memories_text_updated AFTER UPDATE OF content, tags ON memories BEGIN
    INSERT INTO memories_fts (memories_fts, rowid, content, tags) VALUES ('delete', old.id, old.content, old.tags);
    INSERT INTO memories_fts (rowid, content, tags) VALUES (new.id, new.content, new.tags);
    DELETE FROM memory_tags WHERE memory_id = old.id;
    INSERT OR IGNORE INTO memory_tags SELECT value, new.id FROM json_each(new.tags);
END;
CREATE TRIGGER memories_presence_updated AFTER UPDATE OF deleted_at ON memories BEGIN
    UPDATE counters SET value = value + (new.deleted_at IS NULL) - (old.deleted_at IS NULL) WHERE name = 'memories';
END;

-- What holds for the whole file: the model whose vectors it holds, and their dimension.
CREATE TABLE properties (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- An import is staged here in small transactions, seen by nobody, and becomes memories in one.
CREATE TABLE imports (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    created_at INTEGER NOT NULL
) STRICT;
CREATE TABLE import_entries (
    import_id INTEGER NOT NULL REFERENCES imports (id) ON DELETE CASCADE,
    position  INTEGER NOT NULL,
    entry     BLOB    NOT NULL,                         -- msgpack of engine.catalogue.transfer.Entry
    PRIMARY KEY (import_id, position)
) STRICT, WITHOUT ROWID;
