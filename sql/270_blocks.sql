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

-- Maps the blocks of a model, restored into the cache of this host where they are missing.
-- SECURITY DEFINER: whoever may search may have files restored from the database, but not write any other.
CREATE OR REPLACE FUNCTION pix_internal.open_blocks(model_name text) RETURNS void
LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    pack record;
    listed record;
    missing text[];
BEGIN
    SELECT p.checksum, m.dimensions INTO pack
    FROM pix_internal.packs p JOIN pix.models m ON m.model_name = p.model_name WHERE p.model_name = open_blocks.model_name;
    SELECT coalesce(array_agg(b.block ORDER BY b.block), '{}') AS block_ids,
        coalesce(array_agg(b.checksum ORDER BY b.block), '{}') AS checksums,
        coalesce(array_agg(b.items ORDER BY b.block), '{}') AS items
    INTO listed FROM pix_internal.feature_blocks b WHERE b.model_name = open_blocks.model_name;
    -- Another session may remove a file that it has no use for, between one line and the next.
    FOR attempt IN 1 .. 10 LOOP
        missing := pix_internal.missing_files(listed.checksums, 'block');
        -- From a subquery with a limit, which Greenplum computes on the coordinator, whose cache this is.
        PERFORM pix_internal.restore_block(r.checksum, r.item_ids, r.vectors, r.norms) FROM (
            SELECT b.checksum, b.item_ids, b.vectors, b.norms FROM pix_internal.feature_blocks b
            WHERE b.model_name = open_blocks.model_name AND b.checksum = ANY (missing) ORDER BY b.block LIMIT 1000000000
        ) r;
        IF pix_internal.open_block_files(pack.checksum, listed.block_ids, listed.checksums, listed.items, pack.dimensions) THEN
            RETURN;
        END IF;
    END LOOP;
    PERFORM pix_internal.raise_files_vanish();
END
$$;

-- Of each block, how many entries it has, how many are true, and how many vectors take themselves to be in another row.
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

CREATE OR REPLACE FUNCTION pix.pack_features(model_name text DEFAULT NULL) RETURNS pix.packing
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pix_internal.check_call('pix.pack_features');
    RETURN jsonb_populate_record(NULL::pix.packing,
        pix_internal.drive('packing.pack_features', jsonb_build_object('model_name', model_name)));
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

-- The blocks of a model as it is; refuses one that has nothing in blocks.
CREATE OR REPLACE FUNCTION pix_internal.find_pack(model pix.models) RETURNS pix_internal.packs
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    pack pix_internal.packs;
BEGIN
    SELECT p.* INTO pack FROM pix_internal.packs p
    WHERE p.model_name = model.model_name AND p.model_checksum IS NOT DISTINCT FROM model.checksum;
    IF coalesce(pack.items, 0) = 0 THEN
        RAISE EXCEPTION USING ERRCODE = 'PX095',
            MESSAGE = format('There are no up-to-date features of model %L', model.model_name),
            HINT = format('CALL pix.extract_features(%L);', model.model_name);
    END IF;
    RETURN pack;
END
$$;
