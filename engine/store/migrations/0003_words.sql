-- The words: content, tags, workspace and metadata, as search_text() and search_metadata() prepare them for the index.
DROP TRIGGER memories_inserted;
DROP TRIGGER memories_deleted;
DROP TRIGGER memories_text_updated;
DROP TABLE memories_vocabulary;
DROP TABLE memories_fts;

CREATE VIEW memories_indexed AS
    SELECT id, search_text(content) AS content, search_text(tags) AS tags, search_text(workspace) AS workspace,
           search_metadata(metadata) AS metadata
    FROM memories;

-- M*: the marks of Hindi or Arabic are parts of words. The tokenizer is named once more in store/tokenizer.py.
CREATE VIRTUAL TABLE memories_fts USING fts5 (
    content, tags, workspace, metadata,
    content = 'memories_indexed', content_rowid = 'id',
    tokenize = "porter unicode61 remove_diacritics 2 categories 'L* N* Co M*'"
);
-- Without this, the terms of a deleted row stay in the index until a merge happens to pass by.
INSERT INTO memories_fts (memories_fts, rank) VALUES ('secure-delete', 1);
INSERT INTO memories_fts (memories_fts) VALUES ('rebuild');
CREATE VIRTUAL TABLE memories_vocabulary USING fts5vocab ('memories_fts', 'row');

CREATE TRIGGER memories_inserted AFTER INSERT ON memories BEGIN
    INSERT INTO memories_fts (rowid, content, tags, workspace, metadata)
    VALUES (new.id, search_text(new.content), search_text(new.tags), search_text(new.workspace), search_metadata(new.metadata));
    INSERT OR IGNORE INTO memory_tags SELECT value, new.id FROM json_each(new.tags);
    UPDATE counters SET value = value + 1 WHERE name = 'memories' AND new.import_id IS NULL;
END;
CREATE TRIGGER memories_deleted AFTER DELETE ON memories BEGIN
    INSERT INTO memories_fts (memories_fts, rowid, content, tags, workspace, metadata)
    VALUES ('delete', old.id, search_text(old.content), search_text(old.tags), search_text(old.workspace),
            search_metadata(old.metadata));
    UPDATE counters SET value = value - 1 WHERE name = 'memories' AND
        (old.import_id IS NULL OR old.import_id IN (SELECT id FROM imports WHERE revealed_at IS NOT NULL));
END;
CREATE TRIGGER memories_text_updated AFTER UPDATE OF content, tags, workspace, metadata ON memories BEGIN
    INSERT INTO memories_fts (memories_fts, rowid, content, tags, workspace, metadata)
    VALUES ('delete', old.id, search_text(old.content), search_text(old.tags), search_text(old.workspace),
            search_metadata(old.metadata));
    INSERT INTO memories_fts (rowid, content, tags, workspace, metadata)
    VALUES (new.id, search_text(new.content), search_text(new.tags), search_text(new.workspace), search_metadata(new.metadata));
END;
CREATE TRIGGER memories_tags_updated AFTER UPDATE OF tags ON memories BEGIN
    DELETE FROM memory_tags WHERE memory_id = old.id;
    INSERT OR IGNORE INTO memory_tags SELECT value, new.id FROM json_each(new.tags);
END;
