-- Blocks: feature vectors packed into matrices of about a thousand rows. They are stored here, spread over segments, and
-- kept as files in the cache of whatever host searches them.

-- A vector that changes leaves its block: this alone tells which of a block's entries are still true.
CREATE OR REPLACE FUNCTION pix._vector_changed() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    NEW.packed_in := NULL;
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION pix._vector_changed() IS
'Internal: trigger of pix.features, for a vector that was written anew. Runs: either.';
REVOKE ALL ON FUNCTION pix._vector_changed() FROM PUBLIC, pix_reader, pix_app, pix_admin;
DROP TRIGGER IF EXISTS vector_changed ON pix.features;
CREATE TRIGGER vector_changed BEFORE UPDATE OF item_id, model_name, model_checksum, vector ON pix.features
FOR EACH ROW EXECUTE FUNCTION pix._vector_changed();

CREATE OR REPLACE FUNCTION pix._describe_block(
    item_ids text[], vectors bytea, OUT norms bytea, OUT checksum text
)
LANGUAGE plpython3u IMMUTABLE STRICT PARALLEL SAFE COST 100000
SET search_path = pg_catalog, pg_temp
AS $$
from pixelplum.server import call
return call(plpy, GD, '@VERSION@', 'blocks.describe', item_ids, vectors)
$$;
COMMENT ON FUNCTION pix._describe_block(text[], bytea) IS
'Internal: the lengths of a block''s vectors, and the sha256 of its file. Errors: PX030. Runs: either.';
REVOKE ALL ON FUNCTION pix._describe_block(text[], bytea) FROM PUBLIC, pix_reader, pix_app, pix_admin;

CREATE OR REPLACE FUNCTION pix._missing_blocks(checksums text[]) RETURNS text[]
LANGUAGE plpython3u STABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
from pixelplum.server import call
return call(plpy, GD, '@VERSION@', 'blocks.missing', checksums)
$$;
COMMENT ON FUNCTION pix._missing_blocks(text[]) IS
'Internal: which blocks the cache of this host lacks, or has damaged. Errors: PX024. Runs: coordinator.';
REVOKE ALL ON FUNCTION pix._missing_blocks(text[]) FROM PUBLIC, pix_reader, pix_app, pix_admin;

CREATE OR REPLACE FUNCTION pix._restore_block(checksum text, item_ids text[], vectors bytea, norms bytea) RETURNS void
LANGUAGE plpython3u STABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
from pixelplum.server import call
return call(plpy, GD, '@VERSION@', 'blocks.restore', checksum, item_ids, vectors, norms)
$$;
COMMENT ON FUNCTION pix._restore_block(text, text[], bytea, bytea) IS
'Internal: writes a block into the cache of this host. Errors: PX024, PX094. Runs: coordinator.';
REVOKE ALL ON FUNCTION pix._restore_block(text, text[], bytea, bytea) FROM PUBLIC, pix_reader, pix_app, pix_admin;

CREATE OR REPLACE FUNCTION pix._map_blocks(
    key text, numbers integer[], checksums text[], items integer[], dimensions integer
) RETURNS boolean
LANGUAGE plpython3u STABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
from pixelplum.server import call
return call(plpy, GD, '@VERSION@', 'blocks.open_blocks', key, numbers, checksums, items, dimensions)
$$;
COMMENT ON FUNCTION pix._map_blocks(text, integer[], text[], integer[], integer) IS
'Internal: maps the files of blocks, to be searched under a key; false if one was removed meanwhile. Runs: coordinator.';
REVOKE ALL ON FUNCTION pix._map_blocks(text, integer[], text[], integer[], integer) FROM PUBLIC, pix_reader, pix_app, pix_admin;

CREATE OR REPLACE FUNCTION pix._raise_files_vanish() RETURNS void
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = 'PX024', MESSAGE = 'Files of the cache folder vanish as soon as they are restored',
        HINT = 'Find out what removes them: SELECT found FROM pix.doctor() WHERE "check" = ''cache'';';
END
$$;
COMMENT ON FUNCTION pix._raise_files_vanish() IS 'Internal: says that files cannot be kept. Errors: PX024. Runs: coordinator.';
REVOKE ALL ON FUNCTION pix._raise_files_vanish() FROM PUBLIC, pix_reader, pix_app, pix_admin;
GRANT EXECUTE ON FUNCTION pix._raise_files_vanish() TO pix_reader;

-- SECURITY DEFINER: whoever may search may have files restored from the database, but not write any other.
CREATE OR REPLACE FUNCTION pix._open_blocks(model_name text) RETURNS void
LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    pack record;
    listed record;
    missing text[];
    piece record;
BEGIN
    SELECT p.checksum, m.dimensions INTO pack
    FROM pix.packs p JOIN pix.models m ON m.model_name = p.model_name WHERE p.model_name = _open_blocks.model_name;
    SELECT coalesce(array_agg(b.block ORDER BY b.block), '{}') AS numbers,
        coalesce(array_agg(b.checksum ORDER BY b.block), '{}') AS checksums,
        coalesce(array_agg(b.items ORDER BY b.block), '{}') AS items
    INTO listed
    FROM pix.feature_blocks b WHERE b.model_name = _open_blocks.model_name;
    -- Another session may remove a file that it has no use for, between one line and the next.
    FOR attempt IN 1 .. 10 LOOP
        missing := pix._missing_blocks(listed.checksums);
        FOR piece IN
            SELECT b.checksum, b.item_ids, b.vectors, b.norms FROM pix.feature_blocks b
            WHERE b.model_name = _open_blocks.model_name AND b.checksum = ANY (missing)
        LOOP
            PERFORM pix._restore_block(piece.checksum, piece.item_ids, piece.vectors, piece.norms);
        END LOOP;
        IF pix._map_blocks(pack.checksum, listed.numbers, listed.checksums, listed.items, pack.dimensions) THEN
            RETURN;
        END IF;
    END LOOP;
    PERFORM pix._raise_files_vanish();
END
$$;
COMMENT ON FUNCTION pix._open_blocks(text) IS
'Internal: maps the blocks of a model, restored into the cache of this host where they are missing.
Errors: PX024, PX094. Runs: coordinator.';
REVOKE ALL ON FUNCTION pix._open_blocks(text) FROM PUBLIC, pix_reader, pix_app, pix_admin;
GRANT EXECUTE ON FUNCTION pix._open_blocks(text) TO pix_reader;

CREATE OR REPLACE FUNCTION pix._sweep(owner text, live text[]) RETURNS void
LANGUAGE plpython3u VOLATILE STRICT PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
from pixelplum.server import call
return call(plpy, GD, '@VERSION@', 'blocks.sweep', owner, live)
$$;
COMMENT ON FUNCTION pix._sweep(text, text[]) IS
'Internal: removes files from the cache of this host but for those that are needed, by this database or another that shares the
folder. Errors: PX024. Runs: coordinator.';
REVOKE ALL ON FUNCTION pix._sweep(text, text[]) FROM PUBLIC, pix_reader, pix_app, pix_admin;

CREATE OR REPLACE FUNCTION pix._sweep_files() RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM pix._sweep(
        format('%s-%s', (SELECT c.system_identifier FROM pg_control_system() c),
            (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())),
        (
            SELECT coalesce(array_agg(n.name), '{}') FROM (
                SELECT b.checksum || '.block' AS name FROM pix.feature_blocks b
                UNION ALL SELECT i.checksum || '.index' FROM pix.indexes i
                UNION ALL SELECT i.design_checksum || '.design' FROM pix.indexes i
            ) n
        )
    );
END
$$;
COMMENT ON FUNCTION pix._sweep_files() IS
'Internal: removes files of blocks and indexes that are gone from the cache of this host; a session that still needs one restores
it. Errors: PX024. Runs: coordinator.';
REVOKE ALL ON FUNCTION pix._sweep_files() FROM PUBLIC, pix_reader, pix_app, pix_admin;

-- Whether each entry of a block is still true: the vector that it names is up to date, and says of itself that it is there.
CREATE OR REPLACE FUNCTION pix._entries(model_name text)
RETURNS TABLE (block integer, items bigint, live bigint, misplaced bigint)
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
SET enable_nestloop = off
AS $$
BEGIN
    RETURN QUERY
    SELECT coalesce(e.block, f.block), count(e.number), count(c.item_id) FILTER (WHERE f.block_row = e.number),
        count(f.item_id) FILTER (WHERE f.block_row IS DISTINCT FROM e.number)
    FROM (
        SELECT b.block, u.item_id, u.number
        FROM pix.feature_blocks b CROSS JOIN LATERAL unnest(b.item_ids) WITH ORDINALITY u (item_id, number)
        WHERE b.model_name = _entries.model_name
    ) e
    FULL JOIN (
        SELECT p.item_id, p.block, p.block_row FROM pix.features p
        WHERE p.model_name = _entries.model_name AND p.packed_in IS NOT NULL
    ) f ON f.item_id = e.item_id AND f.block = e.block
    LEFT JOIN pix.current_features c ON c.model_name = _entries.model_name AND c.item_id = f.item_id
    GROUP BY coalesce(e.block, f.block);
END
$$;
COMMENT ON FUNCTION pix._entries(text) IS
'Internal: of each block, how many entries it has, how many are true, and how many vectors take themselves to be in another row.
Runs: coordinator; the work is done on the segments.';
REVOKE ALL ON FUNCTION pix._entries(text) FROM PUBLIC, pix_reader, pix_app, pix_admin;

-- Statistics lag behind features that were just loaded: nested loops over them would be chosen wrongly.
CREATE OR REPLACE FUNCTION pix.pack_features(model_name text DEFAULT NULL) RETURNS pix.packing
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_nestloop = off
AS $$
DECLARE
    model pix.models;
    result pix.packing := (0, 0, 0, 0);
    known integer;
    damaged text;
    changed integer[];
    misplaced integer[];
    small integer[];
    buckets bigint := 1;
    rows_per_block bigint;
    first_block integer;
    key text;
BEGIN
    PERFORM pix._require_coordinator('pix.pack_features', 'Call it alone: SELECT * FROM pix.pack_features(…);');
    PERFORM pix._require_writable('pix.pack_features');
    PERFORM pix._require_read_committed();
    model := pix._find_model(model_name);
    rows_per_block := greatest(1, least(1000, 67108864 / (4 * model.dimensions)));
    PERFORM pix._lock('packs', model.model_name);
    SELECT p.packed_in, p.items, p.blocks INTO known, result.items, result.blocks
    FROM pix.packs p WHERE p.model_name = model.model_name;
    known := coalesce(known, 0);

    SELECT min(f.item_id) INTO damaged FROM pix.current_features f
    WHERE f.model_name = model.model_name AND octet_length(f.vector) <> 4 * model.dimensions;
    IF damaged IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'PX030',
            MESSAGE = format('The features of item %L do not have the %s dimensions of model %L', damaged, model.dimensions, model.model_name),
            HINT = 'Extract or load them again; vectors of different models need different model names.';
    END IF;

    -- Blocks with an entry that is not true any more are made anew; and so are small ones, if there is reason to. Version
    -- 0.7.0 could leave blocks whose vectors were misplaced: whatever was learned from those is learned again.
    SELECT coalesce(array_agg(b.block) FILTER (WHERE b.live < b.items OR b.misplaced > 0), '{}'),
        coalesce(array_agg(b.block) FILTER (WHERE b.misplaced > 0), '{}'),
        coalesce(array_agg(b.block) FILTER (WHERE b.live = b.items AND b.misplaced = 0 AND b.items < rows_per_block / 2), '{}'),
        coalesce(sum(b.items - b.live), 0), coalesce(sum(b.misplaced), 0)
    INTO changed, misplaced, small, result.removed, result.added
    FROM pix._entries(model.model_name) b;
    result.added := result.added + (
        SELECT count(*) FROM pix.current_features f WHERE f.model_name = model.model_name AND f.packed_in IS NULL
    );
    IF result.added = 0 AND result.removed = 0 THEN
        RETURN (0, 0, coalesce(result.items, 0), coalesce(result.blocks, 0))::pix.packing;
    END IF;
    changed := changed || small;

    SELECT coalesce(max(b.block), 0) + 1 INTO first_block
    FROM pix.feature_blocks b WHERE b.model_name = model.model_name;
    IF pix._is_cluster() THEN
        EXECUTE 'SELECT count(*) FROM gp_segment_configuration WHERE role = ''p'' AND content >= 0' INTO buckets;
    END IF;
    -- New vectors are marked with this packing's number: an index tells by it which vectors it cannot know.
    UPDATE pix.features f
    SET packed_in = CASE WHEN f.packed_in IS NULL OR f.block = ANY (misplaced) THEN known + 1 ELSE f.packed_in END,
        block = first_block + p.number / rows_per_block * buckets + p.bucket,
        block_row = p.number % rows_per_block + 1
    FROM (
        SELECT n.item_id, n.bucket, row_number() OVER (PARTITION BY n.bucket ORDER BY n.item_id) - 1 AS number
        FROM (
            SELECT c.item_id, abs(hashtext(c.item_id)::bigint) % buckets AS bucket
            FROM pix.current_features c
            WHERE c.model_name = model.model_name AND (c.packed_in IS NULL OR c.block = ANY (changed))
        ) n
    ) p
    WHERE f.item_id = p.item_id AND f.model_name = model.model_name;
    -- Rows that others deleted while this waited for them were numbered too. What is left is this transaction's own: nobody can
    -- delete it any more, so numbers without gaps are right.
    UPDATE pix.features f SET block_row = p.number
    FROM (
        SELECT c.item_id, row_number() OVER (PARTITION BY c.block ORDER BY c.block_row) AS number
        FROM pix.features c WHERE c.model_name = model.model_name AND c.block >= first_block AND c.packed_in IS NOT NULL
    ) p
    WHERE f.item_id = p.item_id AND f.model_name = model.model_name AND f.block_row <> p.number;
    INSERT INTO pix.feature_blocks (model_name, block, items, item_ids, vectors, norms, checksum)
    SELECT model.model_name, d.block, cardinality(d.item_ids), d.item_ids, d.vectors, (d.described).norms, (d.described).checksum
    FROM (
        SELECT g.block, g.item_ids, g.vectors, pix._describe_block(g.item_ids, g.vectors) AS described
        FROM (
            SELECT f.block, array_agg(f.item_id ORDER BY f.block_row) AS item_ids,
                string_agg(f.vector, ''::bytea ORDER BY f.block_row) AS vectors
            FROM pix.features f
            WHERE f.model_name = model.model_name AND f.block >= first_block AND f.packed_in IS NOT NULL
            GROUP BY f.block
        ) g
        OFFSET 0  -- or it would be described once for each column
    ) d;

    DELETE FROM pix.feature_blocks b WHERE b.model_name = model.model_name AND b.block = ANY (changed);
    IF result.removed > 0 THEN
        UPDATE pix.features f SET packed_in = NULL
        WHERE f.model_name = model.model_name AND f.packed_in IS NOT NULL AND NOT EXISTS (
            SELECT FROM pix.current_features c WHERE c.item_id = f.item_id AND c.model_name = f.model_name
        );
    END IF;
    IF cardinality(misplaced) > 0 THEN
        DELETE FROM pix.tastes t WHERE t.model_name = model.model_name;
    END IF;
    SELECT coalesce(sum(b.items), 0), count(*),
        encode(sha256(convert_to(coalesce(string_agg(b.block || ' ' || b.checksum, ' ' ORDER BY b.block), ''), 'UTF8')), 'hex')
    INTO result.items, result.blocks, key
    FROM pix.feature_blocks b WHERE b.model_name = model.model_name;
    DELETE FROM pix.packs p WHERE p.model_name = model.model_name;
    INSERT INTO pix.packs (model_name, model_checksum, packed_in, items, blocks, checksum)
    VALUES (model.model_name, model.checksum, known + 1, result.items, result.blocks, key);
    PERFORM pix._sweep_files();
    RETURN result;
END
$$;
COMMENT ON FUNCTION pix.pack_features(text) IS
'Packs the features of a model into blocks, which is what searches are fast on: vectors that are in none yet, and the rest
of blocks that hold some which are gone, changed or out of date. pix.extract_features calls it in the end.
What is not packed is found all the same, more slowly. A block whose vectors are not where they take themselves to be, as
version 0.7.0 could leave some, is made anew too.
Arguments: model_name (NULL: the default model).
Result: added and removed, vectors that went into blocks and out of them; items and blocks, what there is now.
Errors: PX020 unknown model, PX024 a cache folder that cannot be used, PX030 a vector that cannot be compared,
PX060 a call as a part of a larger query on a cluster, PX061 a standby or a read-only transaction, PX130 a transaction that is
REPEATABLE READ or SERIALIZABLE.
Runs: coordinator; the work is done on the segments.
Example: SELECT * FROM pix.pack_features(''mini_inception'');';
REVOKE ALL ON FUNCTION pix.pack_features(text) FROM PUBLIC, pix_reader, pix_app, pix_admin;
GRANT EXECUTE ON FUNCTION pix.pack_features(text) TO pix_admin;

CREATE OR REPLACE FUNCTION pix._check_pack(pack pix.packs, model pix.models) RETURNS void
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF coalesce(pack.items, 0) = 0 THEN
        RAISE EXCEPTION USING ERRCODE = 'PX095',
            MESSAGE = format('There are no up-to-date features of model %L', model.model_name),
            HINT = format('CALL pix.extract_features(%L);', model.model_name);
    END IF;
END
$$;
COMMENT ON FUNCTION pix._check_pack(pix.packs, pix.models) IS
'Internal: refuses a model that has nothing in blocks. Errors: PX095. Runs: either.';
REVOKE ALL ON FUNCTION pix._check_pack(pix.packs, pix.models) FROM PUBLIC, pix_reader, pix_app, pix_admin;
GRANT EXECUTE ON FUNCTION pix._check_pack(pix.packs, pix.models) TO pix_reader;
