-- Blocks: feature vectors packed into matrices of about a thousand rows. They are stored here, spread over segments, and
-- kept as files in the cache of whatever host searches them.

-- Trigger of pix.features, for a vector that was written again.
-- A vector that changes leaves its block: this alone tells which of a block's entries are still true.
CREATE OR REPLACE FUNCTION pix_internal.vector_changed() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    NEW.packed_in := NULL;
    RETURN NEW;
END
$$;
DROP TRIGGER IF EXISTS vector_changed ON pix.features;
CREATE TRIGGER vector_changed BEFORE UPDATE OF item_id, model_name, model_checksum, vector ON pix.features
FOR EACH ROW EXECUTE FUNCTION pix_internal.vector_changed();

-- The lengths of a block's vectors, and the sha256 of its file.
CREATE OR REPLACE FUNCTION pix_internal.describe_block(
    item_ids text[], vectors bytea, OUT norms bytea, OUT checksum text
)
LANGUAGE plpython3u IMMUTABLE STRICT PARALLEL SAFE COST 100000 SET search_path = pg_catalog, pg_temp
AS $$from pixelplum.server import call; return call(plpy, GD, '@VERSION@', 'blocks.describe_block', item_ids, vectors)$$;

-- Which blocks the cache of this host lacks, or has damaged.
CREATE OR REPLACE FUNCTION pix_internal.missing_blocks(checksums text[]) RETURNS text[]
LANGUAGE plpython3u STABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$from pixelplum.server import call; return call(plpy, GD, '@VERSION@', 'blocks.missing_blocks', checksums)$$;

-- Writes a block into the cache of this host.
CREATE OR REPLACE FUNCTION pix_internal.restore_block(checksum text, item_ids text[], vectors bytea, norms bytea) RETURNS void
LANGUAGE plpython3u STABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$from pixelplum.server import call; return call(plpy, GD, '@VERSION@', 'blocks.restore_block', checksum, item_ids, vectors, norms)$$;

-- Maps the files of blocks, to be searched under a key; false if one was removed.
CREATE OR REPLACE FUNCTION pix_internal.open_block_files(
    key text, block_ids integer[], checksums text[], items integer[], dimensions bigint
) RETURNS boolean
LANGUAGE plpython3u STABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$from pixelplum.server import call; return call(plpy, GD, '@VERSION@', 'blocks.open_block_files', key, block_ids, checksums, items, dimensions)$$;

-- Says that files cannot be kept.
CREATE OR REPLACE FUNCTION pix_internal.raise_files_vanish() RETURNS void
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = 'PX024', MESSAGE = 'Files of the cache folder vanish as soon as they are restored',
        HINT = 'Find out what removes them: SELECT found FROM pix.doctor() WHERE "check" = ''cache'';';
END
$$;

-- Maps the blocks of a model, restored into the cache of this host where they are missing.
-- SECURITY DEFINER: whoever may search may have files restored from the database, but not write any other.
CREATE OR REPLACE FUNCTION pix_internal.open_blocks(model_name text) RETURNS void
LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    pack record;
    listed record;
    missing text[];
    piece record;
BEGIN
    SELECT p.checksum, m.dimensions INTO pack
    FROM pix_internal.packs p JOIN pix.models m ON m.model_name = p.model_name WHERE p.model_name = open_blocks.model_name;
    SELECT coalesce(array_agg(b.block ORDER BY b.block), '{}') AS block_ids,
        coalesce(array_agg(b.checksum ORDER BY b.block), '{}') AS checksums,
        coalesce(array_agg(b.items ORDER BY b.block), '{}') AS items
    INTO listed FROM pix_internal.feature_blocks b WHERE b.model_name = open_blocks.model_name;
    -- Another session may remove a file that it has no use for, between one line and the next.
    FOR attempt IN 1 .. 10 LOOP
        missing := pix_internal.missing_blocks(listed.checksums);
        FOR piece IN
            SELECT b.checksum, b.item_ids, b.vectors, b.norms FROM pix_internal.feature_blocks b
            WHERE b.model_name = open_blocks.model_name AND b.checksum = ANY (missing)
        LOOP
            PERFORM pix_internal.restore_block(piece.checksum, piece.item_ids, piece.vectors, piece.norms);
        END LOOP;
        IF pix_internal.open_block_files(pack.checksum, listed.block_ids, listed.checksums, listed.items, pack.dimensions) THEN
            RETURN;
        END IF;
    END LOOP;
    PERFORM pix_internal.raise_files_vanish();
END
$$;

-- Removes files from the cache of this host but for those that are needed, by this database or another that shares the folder.
CREATE OR REPLACE FUNCTION pix_internal.sweep_cache(owner text, live text[]) RETURNS void
LANGUAGE plpython3u VOLATILE STRICT PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$from pixelplum.server import call; return call(plpy, GD, '@VERSION@', 'blocks.sweep_cache', owner, live)$$;

-- Removes files of blocks and indexes that are deleted, from the cache of this host; a session that still needs one restores it.
CREATE OR REPLACE FUNCTION pix_internal.sweep_files() RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pix_internal.sweep_cache(
        format('%s-%s', (SELECT c.system_identifier FROM pg_control_system() c),
            (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())),
        (
            SELECT coalesce(array_agg(n.name), '{}') FROM (
                SELECT b.checksum || '.block' AS name FROM pix_internal.feature_blocks b
                UNION ALL SELECT i.checksum || '.index' FROM pix.indexes i
                UNION ALL SELECT i.state_checksum || '.state' FROM pix.indexes i
            ) n
        )
    );
END
$$;

-- Of each block, how many entries it has, how many are true, and how many vectors take themselves to be in another row.
-- Whether each entry of a block is still true: the vector that it names is up to date, and says of itself that it is there.
CREATE OR REPLACE FUNCTION pix_internal.block_entries(model_name text)
RETURNS TABLE (block integer, items bigint, live bigint, misplaced bigint)
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp SET enable_nestloop = off AS $$
BEGIN
    RETURN QUERY
    SELECT coalesce(e.block, f.block), count(e.ordinal), count(c.item_id) FILTER (WHERE f.position = e.ordinal),
        count(f.item_id) FILTER (WHERE f.position IS DISTINCT FROM e.ordinal)
    FROM (
        SELECT b.block, u.item_id, u.ordinal
        FROM pix_internal.feature_blocks b CROSS JOIN LATERAL unnest(b.item_ids) WITH ORDINALITY u (item_id, ordinal)
        WHERE b.model_name = block_entries.model_name
    ) e
    FULL JOIN (
        SELECT p.item_id, p.block, p.position FROM pix.features p
        WHERE p.model_name = block_entries.model_name AND p.packed_in IS NOT NULL
    ) f ON f.item_id = e.item_id AND f.block = e.block
    LEFT JOIN pix.current_features c ON c.model_name = block_entries.model_name AND c.item_id = f.item_id
    GROUP BY coalesce(e.block, f.block);
END
$$;

-- Statistics lag behind features that were just loaded: nested loops over them would be chosen wrongly.
CREATE OR REPLACE FUNCTION pix.pack_features(model_name text DEFAULT NULL) RETURNS pix.packing
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_nestloop = off AS $$
DECLARE
    model pix.models;
    result pix.packing := (0, 0, 0, 0);
    last_packing integer;
    damaged text;
    changed integer[];
    misplaced integer[];
    small integer[];
    buckets bigint := 1;
    rows_per_block bigint;
    first_block integer;
    key text;
BEGIN
    PERFORM pix_internal.check_call('pix.pack_features');
    PERFORM pix_internal.require_read_committed();
    model := pix.find_model(model_name);
    rows_per_block := greatest(1, least(1000, 67108864 / (4 * model.dimensions)));
    PERFORM pix_internal.lock('packs', model.model_name);
    SELECT p.packed_in, p.items, p.blocks INTO last_packing, result.items, result.blocks
    FROM pix_internal.packs p WHERE p.model_name = model.model_name;
    last_packing := coalesce(last_packing, 0);

    SELECT min(f.item_id) INTO damaged FROM pix.current_features f
    WHERE f.model_name = model.model_name AND octet_length(f.vector) <> 4 * model.dimensions;
    IF damaged IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'PX030',
            MESSAGE = format('The features of item %L do not have the %s dimensions of model %L', damaged, model.dimensions, model.model_name),
            HINT = 'Extract or load them again; vectors of different models need different model names.';
    END IF;

    -- Blocks with an entry that is not true any more are made again; and so are small ones, if there is reason to. Version
    -- 0.7.0 could leave blocks whose vectors were misplaced: whatever was learned from those is learned again.
    SELECT coalesce(array_agg(b.block) FILTER (WHERE b.live < b.items OR b.misplaced > 0), '{}'),
        coalesce(array_agg(b.block) FILTER (WHERE b.misplaced > 0), '{}'),
        coalesce(array_agg(b.block) FILTER (WHERE b.live = b.items AND b.misplaced = 0 AND b.items < rows_per_block / 2), '{}'),
        coalesce(sum(b.items - b.live), 0), coalesce(sum(b.misplaced), 0)
    INTO changed, misplaced, small, result.removed, result.added FROM pix_internal.block_entries(model.model_name) b;
    result.added := result.added + (
        SELECT count(*) FROM pix.current_features f WHERE f.model_name = model.model_name AND f.packed_in IS NULL
    );
    IF result.added = 0 AND result.removed = 0 THEN
        RETURN (0, 0, coalesce(result.items, 0), coalesce(result.blocks, 0))::pix.packing;
    END IF;
    changed := changed || small;

    SELECT coalesce(max(b.block), 0) + 1 INTO first_block
    FROM pix_internal.feature_blocks b WHERE b.model_name = model.model_name;
    IF pix_internal.is_distributed() THEN
        EXECUTE 'SELECT count(*) FROM gp_segment_configuration WHERE role = ''p'' AND content >= 0' INTO buckets;
    END IF;
    -- New vectors are marked with this packing's number: an index tells by it which vectors it cannot know.
    UPDATE pix.features f
    SET packed_in = CASE WHEN f.packed_in IS NULL OR f.block = ANY (misplaced) THEN last_packing + 1 ELSE f.packed_in END,
        block = first_block + p.ordinal / rows_per_block * buckets + p.bucket,
        position = p.ordinal % rows_per_block + 1
    FROM (
        SELECT n.item_id, n.bucket, row_number() OVER (PARTITION BY n.bucket ORDER BY n.item_id) - 1 AS ordinal FROM (
            SELECT c.item_id, abs(hashtext(c.item_id)::bigint) % buckets AS bucket FROM pix.current_features c
            WHERE c.model_name = model.model_name AND (c.packed_in IS NULL OR c.block = ANY (changed))
        ) n
    ) p
    WHERE f.item_id = p.item_id AND f.model_name = model.model_name;
    -- Rows that others deleted while this waited for them were numbered too. What is left is this transaction's own: nobody can
    -- delete it any more, so numbers without gaps are right.
    UPDATE pix.features f SET position = p.ordinal FROM (
        SELECT c.item_id, row_number() OVER (PARTITION BY c.block ORDER BY c.position) AS ordinal
        FROM pix.features c WHERE c.model_name = model.model_name AND c.block >= first_block AND c.packed_in IS NOT NULL
    ) p
    WHERE f.item_id = p.item_id AND f.model_name = model.model_name AND f.position <> p.ordinal;
    INSERT INTO pix_internal.feature_blocks (model_name, block, items, item_ids, vectors, norms, checksum)
    SELECT model.model_name, d.block, cardinality(d.item_ids), d.item_ids, d.vectors, (d.described).norms, (d.described).checksum
    FROM (
        SELECT g.block, g.item_ids, g.vectors, pix_internal.describe_block(g.item_ids, g.vectors) AS described FROM (
            SELECT f.block, array_agg(f.item_id ORDER BY f.position) AS item_ids,
                string_agg(f.vector, ''::bytea ORDER BY f.position) AS vectors
            FROM pix.features f
            WHERE f.model_name = model.model_name AND f.block >= first_block AND f.packed_in IS NOT NULL
            GROUP BY f.block
        ) g
        OFFSET 0  -- or it would be described once for each column
    ) d;

    DELETE FROM pix_internal.feature_blocks b WHERE b.model_name = model.model_name AND b.block = ANY (changed);
    IF result.removed > 0 THEN
        UPDATE pix.features f SET packed_in = NULL
        WHERE f.model_name = model.model_name AND f.packed_in IS NOT NULL AND NOT EXISTS (
            SELECT FROM pix.current_features c WHERE c.item_id = f.item_id AND c.model_name = f.model_name
        );
    END IF;
    IF cardinality(misplaced) > 0 THEN
        DELETE FROM pix.common_taste t WHERE t.model_name = model.model_name;
    END IF;
    SELECT coalesce(sum(b.items), 0), count(*),
        encode(sha256(convert_to(coalesce(string_agg(b.block || ' ' || b.checksum, ' ' ORDER BY b.block), ''), 'UTF8')), 'hex')
    INTO result.items, result.blocks, key FROM pix_internal.feature_blocks b WHERE b.model_name = model.model_name;
    DELETE FROM pix_internal.packs p WHERE p.model_name = model.model_name;
    INSERT INTO pix_internal.packs (model_name, model_checksum, packed_in, items, blocks, checksum)
    VALUES (model.model_name, model.checksum, last_packing + 1, result.items, result.blocks, key);
    PERFORM pix_internal.sweep_files();
    RETURN result;
END
$$;
COMMENT ON FUNCTION pix.pack_features IS
'Packs the features of a model into blocks, which is what searches are fast on: vectors that are in none yet, and the rest of
blocks that hold some which are deleted, changed or out of date. pix.extract_features calls it in the end. What is not packed is
found all the same, more slowly. A block whose vectors are not where they take themselves to be, as version 0.7.0 could leave
some, is made again too.
Arguments: model_name (NULL: the default model).
Result: added and removed, vectors that went into blocks and out of them; items and blocks, what there is now.
Errors: PX020 unknown model, PX024 unusable cache folder, PX030 incomparable vector, PX060 call on segments, PX061
read-only, PX130 isolation above READ COMMITTED.
Runs: coordinator; the work is done on the segments.
Example: SELECT * FROM pix.pack_features(''mini_inception'');';

-- Refuses a model that has nothing in blocks.
CREATE OR REPLACE FUNCTION pix_internal.check_pack(pack pix_internal.packs, model pix.models) RETURNS void
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF coalesce(pack.items, 0) = 0 THEN
        RAISE EXCEPTION USING ERRCODE = 'PX095',
            MESSAGE = format('There are no up-to-date features of model %L', model.model_name),
            HINT = format('CALL pix.extract_features(%L);', model.model_name);
    END IF;
END
$$;
