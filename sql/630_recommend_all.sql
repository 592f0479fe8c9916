-- Recommendations for everybody, into a table: for BI tools, and for jobs that send e-mail.

-- The best items for many users; NULL if this backend has not opened the blocks.
CREATE OR REPLACE FUNCTION pix_internal.choose_items_of_users(
    blocks_key text, described text[], contents bytea[], seen_users integer[], seen pix_internal.located_items,
    liked_users integer[], liked pix_internal.located_items, k bigint,
    OUT users integer[], OUT item_ids text[], OUT scores double precision[], OUT liked_ids text[]
)
LANGUAGE plpython3u STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp
AS $$from pixelplum.server import call; return call(plpy, GD, '@VERSION@', 'recommendations.choose_items_of_users', blocks_key, described, contents, seen_users, seen, liked_users, liked, k)$$;

-- The recommendations of some users, and those among them whose model has not seen all votes, or other vectors.
-- Being stable, it sees votes, models, blocks and features of the same moment.
CREATE OR REPLACE FUNCTION pix_internal.recommendations_now(
    names text[], k bigint, model pix.models, algorithm text, since timestamptz,
    OUT answers pix.recommendations[], OUT older text[]
)
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp SET enable_nestloop = off AS $$
DECLARE
    pack pix_internal.packs := pix_internal.find_pack(model);
    has_taste boolean := pix_internal.common_taste_version(model) IS NOT NULL;
    user_models record;
    seen record;
    liked record;
    chosen record;
    wanted integer := k + 4;
    has_few boolean;
    was_opened boolean := false;
BEGIN
    -- Of each user the one model that fits the votes that there are, and has seen them, or was trained in this call.
    SELECT array_agg(m.user_id ORDER BY m.user_id) FILTER (WHERE m.is_current) AS users,
        array_agg(m.described::text ORDER BY m.user_id) FILTER (WHERE m.is_current) AS described,
        array_agg(m.content ORDER BY m.user_id) FILTER (WHERE m.is_current) AS contents,
        array_agg(m.algorithm ORDER BY m.user_id) FILTER (WHERE m.is_current) AS algorithms,
        array_agg(m.slope ORDER BY m.user_id) FILTER (WHERE m.is_current) AS slopes,
        array_agg(m.intercept ORDER BY m.user_id) FILTER (WHERE m.is_current) AS intercepts,
        array_agg(m.user_id ORDER BY m.user_id) FILTER (WHERE NOT m.is_current AND NOT m.has_failed) AS older
    INTO user_models FROM (
        SELECT c.user_id, m.described, m.content, m.algorithm, m.slope, m.intercept,
            coalesce(m.votes_hash = c.hash OR m.updated_at >= since, false) AS is_current,
            EXISTS (
                SELECT FROM pix.user_model_failures x
                WHERE x.user_id = c.user_id AND x.model_name = model.model_name AND x.algorithm = c.chosen
            ) AS has_failed
        FROM (
            SELECT v.user_id, sum(v.hash)::text AS hash, coalesce(recommendations_now.algorithm, pix_internal.choose_algorithm(
                count(*) FILTER (WHERE v.value > 0)::integer, count(*) FILTER (WHERE v.value < 0)::integer, has_taste
            )) AS chosen
            FROM (
                SELECT o.user_id, o.value, hashint8extended(o.vote_id, f.packed_in) AS hash,
                    row_number() OVER (PARTITION BY o.user_id ORDER BY o.voted_at DESC, o.vote_id DESC) AS rank
                FROM pix.opinions o JOIN pix.features f ON f.item_id = o.item_id
                WHERE o.user_id = ANY (names) AND o.value <> 0 AND o.signal <> 'skip'
                    AND f.model_name = model.model_name AND f.packed_in <= pack.packed_in
            ) v
            WHERE v.rank <= 2000
            GROUP BY v.user_id
        ) c
        LEFT JOIN pix.user_models m
            ON m.user_id = c.user_id AND m.model_name = model.model_name
            AND m.model_checksum IS NOT DISTINCT FROM model.checksum AND m.algorithm = c.chosen
        WHERE c.chosen IS NOT NULL
    ) m;
    older := user_models.older;
    IF user_models.users IS NULL THEN
        RETURN;
    END IF;
    SELECT coalesce(array_agg(array_position(user_models.users, o.user_id)), '{}') AS users,
        ROW(NULL, coalesce(array_agg(f.block), '{}'), coalesce(array_agg(f.position), '{}'))::pix_internal.located_items AS items
    INTO seen FROM pix.opinions o JOIN pix.features f ON f.item_id = o.item_id
    WHERE o.user_id = ANY (user_models.users) AND o.signal <> 'skip' AND f.model_name = model.model_name
        AND f.packed_in <= pack.packed_in;
    SELECT coalesce(array_agg(array_position(user_models.users, v.user_id) ORDER BY v.user_id, v.rank), '{}') AS users,
        ROW(coalesce(array_agg(v.item_id ORDER BY v.user_id, v.rank), '{}'),
            array_agg(v.block ORDER BY v.user_id, v.rank),
            array_agg(v.position ORDER BY v.user_id, v.rank))::pix_internal.located_items AS items
    INTO liked FROM (
        SELECT o.user_id, o.item_id, f.block, f.position,
            row_number() OVER (PARTITION BY o.user_id ORDER BY o.voted_at DESC, o.vote_id DESC) AS rank
        FROM pix.opinions o JOIN pix.features f ON f.item_id = o.item_id
        WHERE o.user_id = ANY (user_models.users) AND o.signal <> 'skip' AND o.value > 0
            AND f.model_name = model.model_name AND f.packed_in <= pack.packed_in
    ) v
    WHERE v.rank <= 200;
    LOOP
        SELECT c.* INTO chosen FROM pix_internal.choose_items_of_users(pack.checksum, user_models.described,
            user_models.contents, seen.users, seen.items, liked.users, liked.items, wanted) c;
        IF chosen.users IS NULL THEN
            IF was_opened THEN
                PERFORM pix_internal.raise_files_vanish();
            END IF;
            PERFORM pix_internal.open_blocks(model.model_name);
            was_opened := true;
            CONTINUE;
        END IF;
        SELECT array_agg(ROW(
                (user_models.users)[p.user_ordinal], model.model_name, p.rank, p.item_id, p.score,
                pix_internal.probability(p.score, (user_models.slopes)[p.user_ordinal], (user_models.intercepts)[p.user_ordinal]), (user_models.algorithms)[p.user_ordinal],
                ARRAY(SELECT jsonb_array_elements_text(p.liked::jsonb)), clock_timestamp()
            )::pix.recommendations) FILTER (WHERE p.rank <= k AND p.is_there),
            bool_or(p.has_few)
        INTO answers, has_few FROM (
            SELECT u.user_ordinal, u.item_id, u.score, u.liked, i.item_id IS NOT NULL AND f.item_id IS NOT NULL AS is_there,
                row_number() OVER (PARTITION BY u.user_ordinal, i.item_id IS NOT NULL AND f.item_id IS NOT NULL ORDER BY u.ordinal) AS rank,
                count(*) OVER w = wanted AND count(i.item_id) FILTER (WHERE f.item_id IS NOT NULL) OVER w < k AS has_few
            FROM unnest(chosen.users, chosen.item_ids, chosen.scores, chosen.liked_ids)
                WITH ORDINALITY u (user_ordinal, item_id, score, liked, ordinal)
            LEFT JOIN pix.current_features f
                ON f.item_id = u.item_id AND f.model_name = model.model_name AND f.packed_in <= pack.packed_in
            LEFT JOIN pix.items i ON i.item_id = u.item_id
            WINDOW w AS (PARTITION BY u.user_ordinal)
        ) p;
        EXIT WHEN has_few IS NOT TRUE;
        wanted := 8 * wanted;  -- many are deleted, or look different now
    END LOOP;
END
$$;


-- Writes the recommendations of some users, by the owner's rights, and tells whose model has to be trained first: of them,
-- what was there is left.
CREATE OR REPLACE FUNCTION pix_internal.recommend_some(
    names text[], k bigint, model_name text, algorithm text, since timestamptz
) RETURNS text[]
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    model pix.models := pix.find_model(model_name);
    answers pix.recommendations[];
    older text[];
BEGIN
    PERFORM pix_internal.check_range('k', k, 1, 1000);
    PERFORM pix_internal.use_planner();
    PERFORM pix_internal.lock('recommendations', model.model_name);
    SELECT n.answers, n.older INTO answers, older FROM pix_internal.recommendations_now(names, k, model, algorithm, since) n;
    DELETE FROM pix.recommendations r
    WHERE r.user_id = ANY (names) AND (older IS NULL OR r.user_id <> ALL (older)) AND r.model_name = model.model_name;
    INSERT INTO pix.recommendations SELECT u.* FROM unnest(answers) u;
    RETURN older;
END
$$;

CREATE OR REPLACE PROCEDURE pix.recommend_all(
    k bigint DEFAULT 10, users text[] DEFAULT NULL, algorithm text DEFAULT NULL, model_name text DEFAULT NULL
)
LANGUAGE plpgsql AS $$
DECLARE
    model pix.models := pix.find_model(model_name);
    begun timestamptz := clock_timestamp();
    low text := '';
    names text[];
    chunk_size integer;
BEGIN
    CALL pix_internal.require_no_transaction('pix.recommend_all');
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    PERFORM pix_internal.require_writable('pix.recommend_all');
    PERFORM pix_internal.check_range('k', k, 1, 1000);
    CALL pix.train_user_models(algorithm, users, model.model_name);
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    chunk_size := greatest(1, least(200, 20000000 / (pix_internal.find_pack(model)).items))::integer;  -- scores of 80 MB
    LOOP
        PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
        SELECT array_agg(c.user_id ORDER BY c.user_id) INTO names FROM (
            SELECT u.user_id FROM pix.users u
            WHERE u.user_id > low AND (users IS NULL OR u.user_id = ANY (users)) ORDER BY u.user_id LIMIT chunk_size
        ) c;
        EXIT WHEN names IS NULL;
        low := names[cardinality(names)];
        -- Somebody who has voted since, or whose items have other vectors now, is trained again.
        FOR attempt IN 1 .. 3 LOOP
            PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
            names := pix_internal.recommend_some(names, k, model.model_name, algorithm, begun);
            COMMIT;
            EXIT WHEN names IS NULL;
            CALL pix.train_user_models(algorithm, names, model.model_name);
        END LOOP;
    END LOOP;
END
$$;
COMMENT ON PROCEDURE pix.recommend_all IS
'Trains the models of users whose votes have changed, and writes what each user will like best into pix.recommendations, in the
place of what was there of them; commits after each few users. Users without votes get none: pix.recommend has some for them.
Arguments: k, how many for each user, up to 1,000; users (NULL: all); algorithm (NULL: what pix.algorithm_rules chooses);
model_name, whose features (NULL: the default model).
Result: none.
Errors: those of pix.train_user_models, PX003 invalid argument, PX061 read-only, PX062 call in a transaction.
Runs: coordinator, outside a transaction block.
Example: CALL pix.recommend_all(5, algorithm => ''centroid'');';
