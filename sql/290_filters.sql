-- Which items may be answers of searches and recommendations: one filter for all of them.

-- Inlined, so that a filter is computed before the query starts: so it has no SET clause, and names everything in full.
CREATE OR REPLACE FUNCTION pix.items_where(
    only_ids text[] DEFAULT NULL, except_ids text[] DEFAULT NULL, label text DEFAULT NULL, label_set text DEFAULT NULL,
    brand text DEFAULT NULL, category text DEFAULT NULL, min_price double precision DEFAULT NULL,
    max_price double precision DEFAULT NULL, clustering text DEFAULT NULL, cluster bigint DEFAULT NULL
) RETURNS pix.item_filter
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
SELECT ROW(only_ids, except_ids, label, label_set, brand, category, min_price, max_price, clustering, cluster)::pix.item_filter
$$;
COMMENT ON FUNCTION pix.items_where IS
'A filter for pix.nearest and its like, and for pix.recommend: items that pass all conditions that are given.
Arguments (each NULL: no condition): only_ids, these items only: only_ids => ARRAY(SELECT item_id FROM …) makes any query a
filter (on Greenplum coalesce(ARRAY(…), ''{}''), as an array of no rows is NULL there); except_ids, none of these; label, with
this label; label_set, with a label of this set, or, with label, with that label in this set; brand; category, with this word
anywhere in their categories; min_price and max_price, both inclusive; clustering and cluster, in this cluster, or below it in
a tree.
Result: pix.item_filter, to be given as filter.
Errors: none; the search refuses what cannot be used (PX003) or exists nowhere (PX004, PX100, PX105).
Runs: either (coordinator or segments).
Example: SELECT * FROM pix.nearest(''B005IYS5ZA'', filter => pix.items_where(max_price => 100, except_ids => ARRAY[''B005IYS5ZA'']));';

-- A filter as SQL on features f; nothing where everything passes.
CREATE OR REPLACE FUNCTION pix_internal.filter_conditions(filter pix.item_filter) RETURNS text
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    item text;
    label text;
    sql text := '';
    ids text[];
BEGIN
    IF filter.min_price = 'NaN' OR filter.max_price = 'NaN' THEN
        PERFORM pix_internal.refuse('min_price and max_price must be numbers, not NaN', 'Leave out the one that is not known.');
    ELSIF (filter.clustering IS NULL) <> (filter.cluster IS NULL) THEN
        PERFORM pix_internal.refuse('clustering and cluster must be given together',
            'Give both: pix.items_where(clustering => ''boots'', cluster => 3).');
    ELSIF filter.min_price > filter.max_price THEN
        PERFORM pix_internal.refuse(format('min_price must be at most max_price, %s, not %s', filter.max_price, filter.min_price),
            'Swap the two.');
    END IF;
    item := concat(
        ' AND i.brand = ' || quote_literal(filter.brand),
        CASE WHEN filter.category IS NOT NULL THEN format(
            ' AND jsonb_path_exists(i.categories, ''$.** ? (@ == $category)'', %L)', jsonb_build_object('category', filter.category)
        ) END,
        CASE WHEN filter.min_price > '-Infinity' THEN format(' AND i.price >= %L::numeric', filter.min_price) END,
        CASE WHEN filter.max_price < 'Infinity' THEN format(' AND i.price <= %L::numeric', filter.max_price) END
    );
    label := concat(' AND l.label = ' || quote_literal(filter.label),
        ' AND l.label_set = ' || quote_literal(filter.label_set));
    IF item <> '' THEN
        sql := sql || format(' AND EXISTS (SELECT FROM pix.items i WHERE i.item_id = f.item_id%s)', item);
    END IF;
    IF label <> '' THEN
        sql := sql || format(' AND EXISTS (SELECT FROM pix.labels l WHERE l.item_id = f.item_id%s)', label);
    END IF;
    IF filter.cluster IS NOT NULL THEN
        PERFORM pix_internal.check_clustering(pix.find_clustering(filter.clustering));
        sql := sql || format(
            ' AND EXISTS (
                SELECT FROM pix.cluster_members m
                WHERE m.item_id = f.item_id AND m.clustering = %L AND m.cluster = ANY (%L::integer[])
            )', filter.clustering, pix.leaf_clusters(filter.clustering, filter.cluster)
        );
    END IF;
    -- Without NULLs: an array of nothing else crashes Greenplum 7.0's optimizer.
    IF filter.only_ids IS NOT NULL THEN
        SELECT coalesce(array_agg(u), '{}') INTO ids FROM unnest(filter.only_ids) u WHERE u IS NOT NULL;
        sql := sql || format(' AND f.item_id = ANY (%L::text[])', ids);
    END IF;
    IF filter.except_ids IS NOT NULL THEN
        SELECT coalesce(array_agg(u), '{}') INTO ids FROM unnest(filter.except_ids) u WHERE u IS NOT NULL;
        sql := sql || format(' AND f.item_id <> ALL (%L::text[])', ids);
    END IF;
    RETURN sql;
END
$$;

-- Refuses a filter that names a label, label set, brand or category that exists nowhere. Asked where nothing was found only.
CREATE OR REPLACE FUNCTION pix_internal.check_filter(filter pix.item_filter) RETURNS void
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    named record;
    names text[];
BEGIN
    FOR named IN
        SELECT n.* FROM (VALUES
            ('label set', filter.label_set, 'SELECT DISTINCT label_set FROM pix.labels'),
            ('label' || coalesce(' in label set ' || quote_literal(filter.label_set) || ':', ''), filter.label,
                'SELECT DISTINCT label FROM pix.labels' || coalesce(' WHERE label_set = ' || quote_literal(filter.label_set), '')),
            ('brand', filter.brand, 'SELECT DISTINCT brand FROM pix.items'),
            ('category', filter.category, 'SELECT DISTINCT categories FROM pix.items')
        ) n (kind, name, query) WHERE n.name IS NOT NULL
    LOOP
        names := CASE
            WHEN named.kind = 'label set' THEN ARRAY(SELECT DISTINCT l.label_set FROM pix.labels l)
            WHEN named.kind = 'brand' THEN ARRAY(SELECT DISTINCT i.brand FROM pix.items i WHERE i.brand IS NOT NULL)
            WHEN named.kind = 'category' THEN ARRAY(
                SELECT DISTINCT c.word #>> '{}' FROM pix.items i
                CROSS JOIN LATERAL jsonb_path_query(i.categories, 'strict $.** ? (@.type() == "string")') c (word))
            ELSE ARRAY(SELECT DISTINCT l.label FROM pix.labels l WHERE l.label_set = coalesce(filter.label_set, l.label_set)) END;
        IF named.name <> ALL (coalesce(names, '{}')) THEN  -- Greenplum's array of nothing is NULL
            RAISE EXCEPTION USING ERRCODE = 'PX004', MESSAGE = format('There is no %s %L', named.kind, left(named.name, 200)),
                HINT = pix_internal.did_you_mean(named.name, names, CASE WHEN coalesce(cardinality(names), 0) = 0
                    THEN format('No item has a %s: leave it out.', named.kind)
                    ELSE format('%s lists all %s.', named.query, cardinality(names)) END);
        END IF;
    END LOOP;
END
$$;
