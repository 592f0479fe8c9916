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
REVOKE ALL ON FUNCTION pix._vector_changed() FROM PUBLIC;
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
REVOKE ALL ON FUNCTION pix._describe_block(text[], bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION pix._describe_block(text[], bytea) TO pix_admin;

CREATE OR REPLACE FUNCTION pix._missing_blocks(checksums text[]) RETURNS text[]
LANGUAGE plpython3u STABLE STRICT PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
AS $$
from pixelplum.server import call
return call(plpy, GD, '@VERSION@', 'blocks.missing', checksums)
$$;
COMMENT ON FUNCTION pix._missing_blocks(text[]) IS
'Internal: which blocks the cache of this host lacks, or has damaged. Errors: PX024. Runs: coordinator.';
REVOKE ALL ON FUNCTION pix._missing_blocks(text[]) FROM PUBLIC;

CREATE OR REPLACE FUNCTION pix._restore_block(checksum text, item_ids text[], vectors bytea, norms bytea) RETURNS void
LANGUAGE plpython3u STABLE STRICT PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
AS $$
from pixelplum.server import call
return call(plpy, GD, '@VERSION@', 'blocks.restore', checksum, item_ids, vectors, norms)
$$;
COMMENT ON FUNCTION pix._restore_block(text, text[], bytea, bytea) IS
'Internal: writes a block into the cache of this host. Errors: PX024, PX094. Runs: coordinator.';
REVOKE ALL ON FUNCTION pix._restore_block(text, text[], bytea, bytea) FROM PUBLIC;

CREATE OR REPLACE FUNCTION pix._map_blocks(key text, checksums text[], items integer[], dimensions integer) RETURNS void
LANGUAGE plpython3u STABLE STRICT PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
AS $$
from pixelplum.server import call
return call(plpy, GD, '@VERSION@', 'blocks.open_blocks', key, checksums, items, dimensions)
$$;
COMMENT ON FUNCTION pix._map_blocks(text, text[], integer[], integer) IS
'Internal: maps the files of blocks, to be searched under a key. Runs: coordinator.';
REVOKE ALL ON FUNCTION pix._map_blocks(text, text[], integer[], integer) FROM PUBLIC;

-- SECURITY DEFINER: whoever may search may have files restored from the database, but not write any other.
CREATE OR REPLACE FUNCTION pix._open_blocks(model_name text) RETURNS void
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    pack record;
    listed record;
    piece record;
BEGIN
    SELECT p.checksum, m.dimensions INTO pack
    FROM pix.packs p JOIN pix.models m ON m.model_name = p.model_name WHERE p.model_name = _open_blocks.model_name;
    SELECT coalesce(array_agg(b.checksum ORDER BY b.block), '{}') AS checksums,
        coalesce(array_agg(b.items ORDER BY b.block), '{}') AS items
    INTO listed
    FROM pix.feature_blocks b WHERE b.model_name = _open_blocks.model_name;
    FOR piece IN
        SELECT b.checksum, b.item_ids, b.vectors, b.norms FROM pix.feature_blocks b
        WHERE b.model_name = _open_blocks.model_name
            AND b.checksum IN (SELECT unnest(pix._missing_blocks(listed.checksums)))
    LOOP
        PERFORM pix._restore_block(piece.checksum, piece.item_ids, piece.vectors, piece.norms);
    END LOOP;
    PERFORM pix._map_blocks(pack.checksum, listed.checksums, listed.items, pack.dimensions);
END
$$;
COMMENT ON FUNCTION pix._open_blocks(text) IS
'Internal: maps the blocks of a model, restored into the cache of this host where they are missing.
Errors: PX024, PX094. Runs: coordinator.';
REVOKE ALL ON FUNCTION pix._open_blocks(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION pix._open_blocks(text) TO pix_reader;

CREATE OR REPLACE FUNCTION pix._forget_files(checksums text[], kind text) RETURNS void
LANGUAGE plpython3u VOLATILE STRICT PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
from pixelplum.server import call
return call(plpy, GD, '@VERSION@', 'blocks.forget', checksums, kind)
$$;
COMMENT ON FUNCTION pix._forget_files(text[], text) IS
'Internal: removes files from the cache of this host; the database keeps what it needs. Errors: PX024. Runs: coordinator.';
REVOKE ALL ON FUNCTION pix._forget_files(text[], text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION pix._forget_files(text[], text) TO pix_admin;

CREATE OR REPLACE FUNCTION pix.pack_features(model_name text DEFAULT NULL) RETURNS pix.packing
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    model pix.models;
    result pix.packing := (0, 0, 0, 0);
    known integer;
    damaged text;
    holed integer[];
    small integer[];
    old_checksums text[];
    buckets bigint := 1;
    rows_per_block bigint;
    first_block integer;
    key text;
BEGIN
    PERFORM pix._require_coordinator('pix.pack_features', 'Call it alone: SELECT * FROM pix.pack_features(…);');
    model := pix._find_model(model_name);
    rows_per_block := greatest(1, least(1000, 67108864 / (4 * model.dimensions)));
    PERFORM pg_advisory_xact_lock(hashtext('pix.pack_features'), hashtext(model.model_name));
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

    -- Vectors that are in no block yet are marked with this packing's number, which no other session sees before it is
    -- done. An index tells by these numbers which vectors it cannot know.
    UPDATE pix.features f SET packed_in = known + 1
    FROM pix.current_features c
    WHERE c.item_id = f.item_id AND c.model_name = f.model_name AND f.model_name = model.model_name
        AND (c.packed_in IS NULL OR c.packed_in > known);
    GET DIAGNOSTICS result.added = ROW_COUNT;

    -- Blocks with an entry that is not true any more are made anew; and so are small ones, if there is reason to.
    SELECT array_agg(b.block) FILTER (WHERE b.live < b.entries),
        array_agg(b.block) FILTER (WHERE b.live = b.entries AND b.entries < rows_per_block / 2),
        coalesce(sum(b.entries - b.live), 0)
    INTO holed, small, result.removed
    FROM (
        SELECT e.block, count(*) AS entries, count(f.item_id) AS live
        FROM (
            SELECT b.block, unnest(b.item_ids) AS item_id FROM pix.feature_blocks b
            WHERE b.model_name = model.model_name
        ) e
        LEFT JOIN pix.current_features f
            ON f.item_id = e.item_id AND f.model_name = model.model_name AND f.packed_in <= known
        GROUP BY e.block
    ) b;
    IF result.added = 0 AND result.removed = 0 THEN
        RETURN (0, 0, coalesce(result.items, 0), coalesce(result.blocks, 0))::pix.packing;
    END IF;
    holed := coalesce(holed, '{}') || coalesce(small, '{}');

    SELECT coalesce(max(b.block), 0) + 1 INTO first_block
    FROM pix.feature_blocks b WHERE b.model_name = model.model_name;
    IF pix._is_cluster() THEN
        SELECT count(*) INTO buckets FROM gp_segment_configuration WHERE role = 'p' AND content >= 0;
    END IF;
    INSERT INTO pix.feature_blocks (model_name, block, items, item_ids, vectors, norms, checksum)
    SELECT model.model_name, d.block, cardinality(d.item_ids), d.item_ids, d.vectors, (d.described).norms, (d.described).checksum
    FROM (
        SELECT g.block, g.item_ids, g.vectors, pix._describe_block(g.item_ids, g.vectors) AS described
        FROM (
            SELECT (first_block + r.number / rows_per_block * buckets + r.bucket)::integer AS block,
                array_agg(r.item_id ORDER BY r.item_id) AS item_ids,
                string_agg(r.vector, ''::bytea ORDER BY r.item_id) AS vectors
            FROM (
                SELECT n.item_id, n.vector, n.bucket,
                    row_number() OVER (PARTITION BY n.bucket ORDER BY n.item_id) - 1 AS number
                FROM (
                    SELECT f.item_id, f.vector, abs(hashtext(f.item_id)::bigint) % buckets AS bucket
                    FROM pix.current_features f
                    LEFT JOIN (
                        SELECT DISTINCT unnest(b.item_ids) AS item_id FROM pix.feature_blocks b
                        WHERE b.model_name = model.model_name AND b.block = ANY (holed)
                    ) old ON old.item_id = f.item_id
                    WHERE f.model_name = model.model_name
                        AND (f.packed_in = known + 1 OR (f.packed_in <= known AND old.item_id IS NOT NULL))
                ) n
            ) r
            GROUP BY 1
        ) g
        OFFSET 0  -- or it would be described once for each column
    ) d;

    SELECT array_agg(b.checksum) INTO old_checksums
    FROM pix.feature_blocks b WHERE b.model_name = model.model_name AND b.block = ANY (holed);
    DELETE FROM pix.feature_blocks b WHERE b.model_name = model.model_name AND b.block = ANY (holed);
    IF result.removed > 0 THEN
        UPDATE pix.features f SET packed_in = NULL
        WHERE f.model_name = model.model_name AND f.packed_in IS NOT NULL AND NOT EXISTS (
            SELECT FROM pix.current_features c WHERE c.item_id = f.item_id AND c.model_name = f.model_name
        );
    END IF;
    SELECT coalesce(sum(b.items), 0), count(*),
        encode(sha256(convert_to(coalesce(string_agg(b.checksum, ' ' ORDER BY b.block), ''), 'UTF8')), 'hex')
    INTO result.items, result.blocks, key
    FROM pix.feature_blocks b WHERE b.model_name = model.model_name;
    DELETE FROM pix.packs p WHERE p.model_name = model.model_name;
    INSERT INTO pix.packs (model_name, model_checksum, packed_in, items, blocks, checksum)
    VALUES (model.model_name, model.checksum, known + 1, result.items, result.blocks, key);
    PERFORM pix._forget_files(old_checksums, 'block');
    RETURN result;
END
$$;
COMMENT ON FUNCTION pix.pack_features(text) IS
'Packs the features of a model into blocks, which is what searches are fast on: vectors that are in none yet, and the rest
of blocks that hold some which are gone, changed or out of date. pix.extract_features calls it in the end.
What is not packed is found all the same, more slowly.
Arguments: model_name (NULL: the default model).
Result: added and removed, vectors that went into blocks and out of them; items and blocks, what there is now.
Errors: PX020 unknown model, PX030 a vector that cannot be compared, PX024 a cache folder that cannot be used,
PX060 a call as a part of a larger query on a cluster.
Runs: coordinator; the work is done on the segments.
Example: SELECT * FROM pix.pack_features(''mini_inception'');';
REVOKE ALL ON FUNCTION pix.pack_features(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION pix.pack_features(text) TO pix_admin;
