-- Items that look the same, and pictures that are the same.

CREATE OR REPLACE FUNCTION pix._raise_too_many_pairs() RETURNS void
LANGUAGE plpython3u STABLE PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
AS $$
from pixelplum.server import call
return call(plpy, GD, '@VERSION@', 'neighbor_graph.raise_too_many_pairs')
$$;
COMMENT ON FUNCTION pix._raise_too_many_pairs() IS 'Internal: says that there are too many pairs. Errors: PX096. Runs: coordinator.';
REVOKE ALL ON FUNCTION pix._raise_too_many_pairs() FROM PUBLIC, pix_reader, pix_app, pix_admin;

CREATE OR REPLACE FUNCTION pix._alike(max_distance double precision) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$SELECT format('pix._alike_in_block($queries, b.vectors, b.norms, %L)', max_distance)$$;
COMMENT ON FUNCTION pix._alike(double precision) IS
'Internal: the expression that pix._compare_blocks takes, for pairs that are that near. Runs: either.';
REVOKE ALL ON FUNCTION pix._alike(double precision) FROM PUBLIC, pix_reader, pix_app, pix_admin;

-- Where nothing can be written, blocks are compared by this backend alone; and being stable, it sees them as of one moment.
CREATE OR REPLACE FUNCTION pix._duplicates_now(model pix.models, max_distance double precision) RETURNS pix.duplicate[]
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    pack pix.packs;
    done integer[] := '{}';
    asked integer[];
    compared record;
    pairs record;
    answer pix.duplicate[] := '{}';
BEGIN
    IF EXISTS (SELECT FROM pix.current_features f WHERE f.model_name = model.model_name AND f.packed_in IS NULL)
        OR EXISTS (SELECT FROM pix._entries(model.model_name) e WHERE e.live < e.items OR e.misplaced > 0)
    THEN
        RAISE EXCEPTION USING ERRCODE = 'PX061',
            MESSAGE = format('Features of model %L have come or changed since they were packed, and nothing can be written here', model.model_name),
            HINT = format('Where it can: SELECT * FROM pix.pack_features(%L);', model.model_name);
    END IF;
    SELECT p.* INTO pack FROM pix.packs p WHERE p.model_name = model.model_name;
    IF pack.items > 0 THEN
        PERFORM pix._open_blocks(model.model_name);
    END IF;
    LOOP
        asked := pix._next_blocks(model, done, 4000);
        EXIT WHEN asked IS NULL;
        done := done || asked;
        compared := pix._compare_blocks_now(model.model_name, asked, pix._alike(max_distance), asked[1]);
        pairs := pix._merge_pairs(pack.checksum, asked, compared.numbers, compared.parts, max_distance, cardinality(answer));
        SELECT answer || coalesce(array_agg(ROW(u.item_id, u.duplicate_id, u.distance)::pix.duplicate), '{}') INTO answer
        FROM unnest(pairs.item_ids, pairs.duplicate_ids, pairs.distances) u (item_id, duplicate_id, distance);
    END LOOP;
    RETURN answer;
END
$$;
COMMENT ON FUNCTION pix._duplicates_now(pix.models, double precision) IS
'Internal: pix.duplicates as an array, without writing anything. Errors: PX024, PX061, PX094, PX096. Runs: coordinator.';
REVOKE ALL ON FUNCTION pix._duplicates_now(pix.models, double precision) FROM PUBLIC, pix_reader, pix_app, pix_admin;

CREATE OR REPLACE FUNCTION pix.duplicates(model_name text DEFAULT NULL, max_distance double precision DEFAULT 0.01)
RETURNS SETOF pix.duplicate
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER ROWS 1000
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    model pix.models;
    pack pix.packs;
    done integer[] := '{}';
    asked integer[];
    compared record;
    found_pairs record;
    known bigint := 0;
BEGIN
    PERFORM pix._require_coordinator('pix.duplicates', 'Call it alone: SELECT * FROM pix.duplicates(…);');
    IF max_distance IS NULL OR NOT max_distance BETWEEN 0 AND 2 THEN
        RAISE EXCEPTION USING ERRCODE = 'PX096', MESSAGE = format('max_distance is %s', coalesce(max_distance::text, 'NULL')),
            HINT = 'It is a cosine distance, from 0 to 2; 0.01 is about the same picture twice.';
    END IF;
    model := pix._find_model(model_name);
    IF pix._is_read_only() THEN
        RETURN QUERY SELECT u.* FROM unnest(pix._duplicates_now(model, max_distance)) u;
        RETURN;
    END IF;
    PERFORM pix.pack_features(model.model_name);
    SELECT p.* INTO pack FROM pix.packs p WHERE p.model_name = model.model_name;
    IF pack.items > 0 THEN
        PERFORM pix._open_blocks(model.model_name);
    END IF;
    LOOP
        asked := pix._next_blocks(model, done, 4000);
        EXIT WHEN asked IS NULL;
        done := done || asked;
        compared := pix._compare_blocks(
            model.model_name, asked, pix._alike(max_distance), asked[1], 100000000
        );
        IF compared.parts IS NULL THEN
            PERFORM pix._raise_too_many_pairs();
        END IF;
        found_pairs := pix._merge_pairs(pack.checksum, asked, compared.numbers, compared.parts, max_distance, known);
        known := known + cardinality(found_pairs.item_ids);
        RETURN QUERY SELECT u.item_id, u.duplicate_id, u.distance
            FROM unnest(found_pairs.item_ids, found_pairs.duplicate_ids, found_pairs.distances)
                u (item_id, duplicate_id, distance);
    END LOOP;
END
$$;
COMMENT ON FUNCTION pix.duplicates(text, double precision) IS
'Pairs of items that look the same to a model: every item is compared with every other.
Arguments: model_name (NULL: the default model); max_distance, cosine distance up to which two are the same.
Result: item_id, duplicate_id, distance (as pix.distance); each pair once, item_id being the first by name.
Errors: PX020 unknown model, PX024 a cache folder that cannot be used, PX030 a vector that cannot be compared, PX060 a call as
a part of a larger query on a cluster, PX061 features that are not packed on a standby or in a read-only transaction, PX096 a max_distance that makes no sense, or more than a million pairs.
Runs: coordinator; the work is done in parallel workers or on the segments.
Example: SELECT * FROM pix.duplicates(''mini_inception'', max_distance => 0.001) ORDER BY distance LIMIT 5;';
REVOKE ALL ON FUNCTION pix.duplicates(text, double precision) FROM PUBLIC, pix_reader, pix_app, pix_admin;
GRANT EXECUTE ON FUNCTION pix.duplicates(text, double precision) TO pix_admin;

CREATE OR REPLACE VIEW pix.identical_images AS
SELECT i.sha256, count(*) AS items, array_agg(i.item_id ORDER BY i.item_id) AS item_ids
FROM pix.images i GROUP BY i.sha256 HAVING count(*) > 1;
COMMENT ON VIEW pix.identical_images IS 'Picture files that several items have, byte for byte, and which items these are.';
REVOKE ALL ON pix.identical_images FROM PUBLIC, pix_reader, pix_app, pix_admin;
GRANT SELECT ON pix.identical_images TO pix_reader;
