-- Who changed a memory and why, what it was before, the trash, purges, and requests that may be sent twice.
ALTER TABLE memories ADD COLUMN event_duration_seconds INTEGER;
ALTER TABLE memories ADD COLUMN changed_by TEXT;            -- the key whose request made this version
ALTER TABLE memories ADD COLUMN change_summary TEXT;        -- why, in the words of whoever changed it
ALTER TABLE memories ADD COLUMN deleted_by TEXT;            -- the key whose request put it into the trash
ALTER TABLE memories ADD COLUMN import_id INTEGER;          -- staged by that import; hidden until it is revealed
-- The conversation that a memory is a turn of. Cast, because a session's name in metadata may be a number.
ALTER TABLE memories ADD COLUMN session TEXT GENERATED ALWAYS AS (
    CASE WHEN scope_type = 'session' THEN scope_id
         ELSE CAST(coalesce(metadata ->> '$.session', metadata ->> '$.session_id', metadata ->> '$.conversation_id',
                            metadata ->> '$.thread_id') AS TEXT) END
) VIRTUAL;

ALTER TABLE memories ADD COLUMN happened_at INTEGER GENERATED ALWAYS AS (coalesce(event_time, created_at)) VIRTUAL;

CREATE INDEX memories_by_session ON memories (workspace, session, happened_at, id)
    WHERE session IS NOT NULL;
CREATE INDEX memories_by_event ON memories (event_time) WHERE event_time IS NOT NULL;
CREATE INDEX memories_by_update ON memories (updated_at DESC, id DESC) WHERE deleted_at IS NULL;
CREATE INDEX memories_in_trash ON memories (deleted_at) WHERE deleted_at IS NOT NULL;
CREATE INDEX memories_staged ON memories (import_id) WHERE import_id IS NOT NULL;

-- What a memory was before each change. Its present state is its row in memories.
CREATE TABLE memory_versions (
    memory_id              INTEGER NOT NULL REFERENCES memories (id) ON DELETE CASCADE,
    version                INTEGER NOT NULL,
    content                TEXT    NOT NULL,
    content_hash           TEXT    NOT NULL,
    type                   TEXT    NOT NULL,
    tags                   TEXT    NOT NULL,
    metadata               TEXT    NOT NULL,
    importance             REAL    NOT NULL,
    workspace              TEXT    NOT NULL,
    scope_type             TEXT    NOT NULL,
    scope_id               TEXT,
    tier                   TEXT    NOT NULL,
    expires_at             INTEGER,
    event_time             INTEGER,
    event_duration_seconds INTEGER,
    updated_at             INTEGER NOT NULL,                -- when this version came to be
    changed_by             TEXT,
    change_summary         TEXT,
    PRIMARY KEY (memory_id, version)
) STRICT;

-- What was erased for good. A restore to a time before must not bring it back.
CREATE TABLE purges (
    memory_id    INTEGER PRIMARY KEY,
    content_hash TEXT    NOT NULL,
    purged_at    INTEGER NOT NULL
) STRICT;
CREATE INDEX purges_by_time ON purges (purged_at);

-- Answers to requests that carried an Idempotency-Key, written with what they did. NULL: what it made has been purged.
CREATE TABLE idempotent_requests (
    key         TEXT    PRIMARY KEY,
    fingerprint BLOB    NOT NULL,                           -- SHA-256 of the method and its arguments
    answer      BLOB,                                       -- msgpack of the operation's result
    created_at  INTEGER NOT NULL
) STRICT;  -- with a rowid: a look at a key, which each row below takes, must not read an answer of megabytes
CREATE INDEX idempotent_requests_by_time ON idempotent_requests (created_at);
CREATE TABLE idempotent_memories (
    memory_id INTEGER NOT NULL,
    key       TEXT    NOT NULL REFERENCES idempotent_requests (key) ON DELETE CASCADE,
    PRIMARY KEY (memory_id, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotent_memories_by_key ON idempotent_memories (key);

-- The counter now holds all that counts against a plan: what lies in the trash too, but nothing that is staged.
DROP TRIGGER memories_presence_updated;
UPDATE counters SET value = (SELECT count(*) FROM memories) WHERE name = 'memories';
