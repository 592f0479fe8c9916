-- All against all: queries of some blocks are compared with every block, where it is stored, in parallel; what is near is
-- merged on the coordinator.

-- Candidates for the k nearest to each query in one block.
CREATE OR REPLACE FUNCTION pix_internal.nearest_in_block(
    queries bytea, query_count bigint, vectors bytea, norms bytea, k bigint, metric text
) RETURNS bytea
LANGUAGE plpython3u IMMUTABLE STRICT PARALLEL SAFE COST 1000000 SET search_path = pg_catalog, pg_temp
AS $$from pixelplum.server import call; return call(plpy, GD, '@VERSION@', 'neighbor_graph.nearest_in_block', queries, query_count, vectors, norms, k, metric)$$;

-- Pairs of a query and a vector of one block that may be that near.
CREATE OR REPLACE FUNCTION pix_internal.alike_in_block(
    queries bytea, query_count bigint, vectors bytea, norms bytea, max_distance double precision
) RETURNS bytea
LANGUAGE plpython3u IMMUTABLE STRICT PARALLEL SAFE COST 1000000 SET search_path = pg_catalog, pg_temp
AS $$from pixelplum.server import call; return call(plpy, GD, '@VERSION@', 'neighbor_graph.alike_in_block', queries, query_count, vectors, norms, max_distance)$$;

CREATE OR REPLACE PROCEDURE pix.build_neighbor_graph(
    model_name text DEFAULT NULL, k bigint DEFAULT 10, metric text DEFAULT 'cosine'
)
LANGUAGE plpgsql AS $$
BEGIN
    CALL pix_internal.require_no_transaction('pix.build_neighbor_graph');
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    PERFORM pix_internal.require_writable('pix.build_neighbor_graph');
    PERFORM pix_internal.check_range('k', k, 1);
    PERFORM pix_internal.check_choice('metric', metric, pix_internal.algorithms_with('metric', '{}'));
    CALL pix_internal.drive_parts('neighbor_graph.compare_some', pg_catalog.jsonb_build_object(
        'model_name', (pix.find_model(model_name)).model_name, 'k', k, 'metric', metric));
END
$$;
COMMENT ON PROCEDURE pix.build_neighbor_graph IS
'Fills pix.neighbors with the k nearest neighbors of every item: BI tools join it, and hot queries are answered from it. It
works on some blocks at a time and commits. It can be stopped at any moment and called again: at most the last part is lost.
Called when all is done, it does nothing; called after features have changed, it starts again, and readers have the old
neighbors of an item until its new ones are there. pix.neighbor_graphs and pix.builds show its progress.
Arguments: model_name (NULL: the default model); k, how many neighbors; metric, one of pix.algorithms(''metric'').
Result: none.
Errors: PX003 invalid argument, PX020 unknown model, PX024 unusable cache folder, PX030 incomparable vector, PX061 read-only, PX062 call in a transaction, PX095 no features, PX097 features that change all the
time.
Runs: coordinator, on all its cores, outside a transaction block; on Greenplum the work is done on the segments.
Example: CALL pix.build_neighbor_graph(''mini_inception'', k => 10);';
