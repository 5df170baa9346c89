-- A compact code of each vector in a small table of its own: a search reads all codes, and the vectors of the best alone.
-- And a change of the embedding model: the vectors of two models may be here at once, never compared with each other.
CREATE TABLE embedding_models (
    id               INTEGER PRIMARY KEY AUTOINCREMENT,
    name             TEXT    NOT NULL UNIQUE,
    dimensions       INTEGER NOT NULL,
    role             TEXT    NOT NULL,                      -- active: searched; next: being filled; obsolete: being erased
    passages_deleted INTEGER NOT NULL DEFAULT 0             -- ever: tells an image of the codes how far it is behind
) STRICT;
CREATE UNIQUE INDEX embedding_models_by_role ON embedding_models (role) WHERE role <> 'obsolete';
INSERT INTO embedding_models (name, dimensions, role)
    SELECT m.value, CAST(d.value AS INTEGER), 'active'
    FROM properties AS m, properties AS d WHERE m.name = 'embedding_model' AND d.name = 'embedding_dimensions';
DELETE FROM properties WHERE name IN ('embedding_model', 'embedding_dimensions');

ALTER TABLE passages ADD COLUMN model_id INTEGER NOT NULL DEFAULT 1;  -- vectors that were here belong to the one model there was

CREATE TABLE passage_codes (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,            -- the passage's; never reused, so that whoever read up to one reads on
    memory_id INTEGER NOT NULL,
    model_id  INTEGER NOT NULL,
    code      BLOB    NOT NULL                              -- a bit per dimension, lowest first: whether the number is above zero
) STRICT;
CREATE INDEX passage_codes_by_model ON passage_codes (model_id);
INSERT INTO passage_codes SELECT id, memory_id, model_id, vec_quantize_binary(vector) FROM passages;

CREATE TRIGGER passages_deleted AFTER DELETE ON passages BEGIN
    DELETE FROM passage_codes WHERE id = old.id;
    UPDATE embedding_models SET passages_deleted = passages_deleted + 1 WHERE id = old.model_id;
END;

-- What waits for vectors: of no model yet, or not of the model that is wanted now.
DROP INDEX memories_pending;
CREATE INDEX memories_by_embedding ON memories (embedding_model, import_id) WHERE deleted_at IS NULL;
