-- Typed edges between memories. One of each type goes from one memory to another.
CREATE TABLE links (
    from_id        INTEGER NOT NULL REFERENCES memories (id) ON DELETE CASCADE,
    to_id          INTEGER NOT NULL REFERENCES memories (id) ON DELETE CASCADE,
    type           TEXT    NOT NULL,
    strength       REAL    NOT NULL,
    confidence     REAL    NOT NULL,                        -- as of reinforced_at; halves in 30 days unless pinned
    pinned         INTEGER NOT NULL,
    source         TEXT    NOT NULL,                        -- auto, manual, llm
    source_context TEXT,
    valid_from     INTEGER,                                 -- inclusive
    valid_to       INTEGER,                                 -- exclusive
    created_at     INTEGER NOT NULL,
    reinforced_at  INTEGER NOT NULL,
    PRIMARY KEY (from_id, to_id, type),
    CHECK (from_id <> to_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX links_to ON links (to_id);
