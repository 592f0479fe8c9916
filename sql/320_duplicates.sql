-- Items that look the same, and images that are the same.

-- pix.duplicates, of features that are packed; where nothing can be written, these must be all.
CREATE OR REPLACE FUNCTION pix_internal.find_duplicates(model_name text, max_distance double precision, may_write boolean)
RETURNS SETOF pix.duplicate_pair
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE ROWS 1000 SET search_path = pg_catalog, pg_temp SET enable_nestloop = off
AS $$from pixelplum.server import call; return call(plpy, GD, '@VERSION@', 'neighbor_graph.find_duplicates', model_name, max_distance, may_write)$$;

CREATE OR REPLACE FUNCTION pix.duplicates(model_name text DEFAULT NULL, max_distance double precision DEFAULT 0.01)
RETURNS SETOF pix.duplicate_pair
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER ROWS 1000 SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    may_write boolean := NOT pix_internal.is_read_only();
BEGIN
    PERFORM pix_internal.check_alone('pix.duplicates');
    PERFORM pix_internal.check_range('max_distance', max_distance, 0, 2);
    PERFORM pix_internal.drive('packing.pack_features', jsonb_build_object('model_name', model_name)) WHERE may_write;
    RETURN QUERY SELECT d.* FROM pix_internal.find_duplicates(model_name, max_distance, may_write) d;
END
$$;
COMMENT ON FUNCTION pix.duplicates IS
'Pairs of items that look the same to a model: every item is compared with every other.
Arguments: model_name (NULL: the default model); max_distance, cosine distance up to which two are the same.
Result: item_id, duplicate_id, distance (as pix.distance); each pair once, item_id being the first by name.
Errors: PX003 invalid argument, PX020 unknown model, PX024 unusable cache folder, PX030 incomparable vector, PX060 call
on segments, PX061 read-only, PX096 more than a million pairs.
Runs: coordinator, on all its cores; on Greenplum the work is done on the segments.
Example: SELECT * FROM pix.duplicates(''mini_inception'', max_distance => 0.001) ORDER BY distance LIMIT 5;';

CREATE OR REPLACE VIEW pix.identical_images AS
SELECT i.sha256, count(*) AS items, array_agg(i.item_id ORDER BY i.item_id) AS item_ids
FROM pix.images i GROUP BY i.sha256 HAVING count(*) > 1;
COMMENT ON VIEW pix.identical_images IS 'Image files that several items have, byte for byte, and which items these are.';
