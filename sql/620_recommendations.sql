-- Recommendations: the best of all items that a user has no opinion of, by a model that has seen all their votes.

-- The score that a model gives a vector.
-- Nobody but the owner calls what opens models: a damaged one could take the server along.
CREATE OR REPLACE FUNCTION pix_internal.score_vector(vector bytea, described text, content bytea) RETURNS double precision
LANGUAGE plpython3u STABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$from pixelplum.server import call; return call(plpy, GD, '@VERSION@', 'recommendations.score_vector', vector, described, content)$$;

-- Items that a model may like best; NULL if this backend has not opened what is to be searched.
CREATE OR REPLACE FUNCTION pix_internal.find_best_candidates(
    blocks_key text, index_key text, described text, content bytea, count bigint, seen_blocks integer[], seen_rows integer[],
    only_blocks integer[], only_rows integer[]
) RETURNS text[]
LANGUAGE plpython3u STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp
AS $$from pixelplum.server import call; return call(plpy, GD, '@VERSION@', 'recommendations.find_best_candidates', blocks_key, index_key, described, content, count, seen_blocks, seen_rows, only_blocks, only_rows)$$;

-- Where the vectors are of all items that pass a filter.
CREATE OR REPLACE FUNCTION pix_internal.passing_items(
    model_name text, packed_in bigint, conditions text, OUT blocks integer[], OUT positions integer[]
)
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp SET enable_seqscan = on SET enable_hashjoin = on
SET enable_mergejoin = on SET plan_cache_mode = auto AS $$
BEGIN
    EXECUTE 'SELECT coalesce(array_agg(f.block), ''{}''), coalesce(array_agg(f.position), ''{}'')
        FROM pix.features f WHERE f.model_name = $1 AND f.packed_in <= $2' || conditions
    INTO blocks, positions USING model_name, packed_in;
END
$$;

-- The best of some items, and which likes each is close to.
CREATE OR REPLACE FUNCTION pix_internal.choose_items(
    blocks_key text, described text, content bytea, passed pix_internal.located_items, other_ids text[], others bytea,
    liked pix_internal.located_items, k bigint, diversity double precision,
    OUT item_ids text[], OUT scores double precision[], OUT liked_ids text[]
)
LANGUAGE plpython3u STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp
AS $$from pixelplum.server import call; return call(plpy, GD, '@VERSION@', 'recommendations.choose_items', blocks_key, described, content, passed, other_ids, others, liked, k, diversity)$$;

-- A model that likes what is near some clusters.
CREATE OR REPLACE FUNCTION pix_internal.model_of_medoids(centers bytea, weights double precision[], OUT described text, OUT content bytea)
LANGUAGE plpython3u STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp
AS $$from pixelplum.server import call; return call(plpy, GD, '@VERSION@', 'recommendations.model_of_medoids', centers, weights)$$;

-- A model that likes what is typical; NULL if this backend has not opened the blocks.
CREATE OR REPLACE FUNCTION pix_internal.model_of_all_users(blocks_key text, OUT described text, OUT content bytea)
LANGUAGE plpython3u STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp
AS $$from pixelplum.server import call; return call(plpy, GD, '@VERSION@', 'recommendations.model_of_all_users', blocks_key)$$;

-- The model of a user of whom nothing is known.
CREATE OR REPLACE FUNCTION pix_internal.pooled_common_taste(taste text, arrays bytea, OUT described text, OUT content bytea)
LANGUAGE plpython3u STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp
AS $$from pixelplum.server import call; return call(plpy, GD, '@VERSION@', 'user_models.pooled_common_taste', taste, arrays)$$;

-- A model for a user without votes.
-- For whom nothing is known: what users have in common; else the clusters that others like; else what is typical.
CREATE OR REPLACE FUNCTION pix_internal.pooled_model(model pix.models, pack pix_internal.packs) RETURNS pix_internal.fitted_model
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    taste pix.common_taste;
    pooled pix_internal.fitted_model;
    liked record;
BEGIN
    SELECT t.* INTO taste FROM pix.common_taste t
    WHERE t.model_name = model.model_name AND t.model_checksum IS NOT DISTINCT FROM model.checksum;
    IF FOUND THEN
        SELECT p.described, p.content INTO pooled.described, pooled.content
        FROM pix_internal.pooled_common_taste(taste.described::text, taste.content) p;
        pooled.algorithm := 'pooled';
        pooled.reason := 'what users like on the whole';
        RETURN pooled;
    END IF;
    SELECT string_agg(c.center, ''::bytea ORDER BY c.cluster) AS centers,
        array_agg(coalesce(a.mean, p.alpha / (p.alpha + p.beta), 0.5) ORDER BY c.cluster) AS means, count(a.mean) + count(p.alpha) AS informed
    INTO liked FROM pix.clusters c
    JOIN (
        SELECT g.clustering FROM pix.clusterings g
        LEFT JOIN pix.settings s ON s.key = 'default_clustering' AND s.value = g.clustering
        WHERE g.model_name = model.model_name AND g.model_checksum IS NOT DISTINCT FROM model.checksum AND g.dimensions IS NULL
        ORDER BY s.value IS NULL, g.clustering LIMIT 1
    ) g ON g.clustering = c.clustering
    LEFT JOIN pix.arm_priors p ON p.clustering = c.clustering AND p.cluster = c.cluster
    LEFT JOIN (
        SELECT r.clustering, r.cluster, (1 + sum(r.likes)) / (2 + sum(r.likes) + sum(r.dislikes)) AS mean
        FROM pix.arms r WHERE r.votes > 0 GROUP BY r.clustering, r.cluster
    ) a ON a.clustering = c.clustering AND a.cluster = c.cluster
    WHERE c.height IS NULL AND c.items > 0;
    IF liked.informed > 0 THEN
        SELECT m.described, m.content INTO pooled.described, pooled.content FROM pix_internal.model_of_medoids(
            liked.centers, ARRAY(SELECT u - (SELECT avg(v) FROM unnest(liked.means) v) FROM unnest(liked.means) u)
        ) m;
        pooled.algorithm := 'clusters';
        pooled.reason := 'near clusters that users like on the whole';
        RETURN pooled;
    END IF;
    FOR attempt IN 1 .. 2 LOOP
        SELECT m.described, m.content INTO pooled.described, pooled.content FROM pix_internal.model_of_all_users(pack.checksum) m;
        IF pooled.described IS NOT NULL THEN
            pooled.algorithm := 'typical';
            pooled.reason := 'typical; nobody has voted yet';
            RETURN pooled;
        END IF;
        PERFORM pix_internal.open_blocks(model.model_name);
    END LOOP;
    PERFORM pix_internal.raise_files_vanish();
END
$$;

-- The probability of a like; NULL where scores cannot be turned into probabilities.
CREATE OR REPLACE FUNCTION pix_internal.probability(score double precision, slope double precision, intercept double precision)
RETURNS double precision
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$SELECT tanh((slope * score + intercept) / 2) / 2 + 0.5$$;

-- The best of all vectors that pass, each scored where it is stored.
CREATE OR REPLACE FUNCTION pix_internal.scan_scores(
    model_name text, described text, content bytea, count bigint, conditions text, OUT item_ids text[], OUT vectors bytea
)
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp SET enable_seqscan = on SET enable_hashjoin = on
SET enable_mergejoin = on SET plan_cache_mode = auto AS $$
BEGIN
    EXECUTE 'SELECT coalesce(array_agg(b.item_id ORDER BY b.item_id), ''{}''), coalesce(string_agg(b.vector, ''''::bytea ORDER BY b.item_id), '''')
        FROM (
            SELECT s.item_id, s.vector FROM (
                SELECT f.item_id, f.vector, pix_internal.score_vector(f.vector, $2, $3) AS score
                FROM pix.current_features f WHERE f.model_name = $1' || conditions || '
            ) s
            ORDER BY s.score DESC, s.item_id LIMIT $4
        ) b'
    INTO item_ids, vectors USING model_name, described, content, count;
END
$$;

-- pix.recommend as an array, and the model that it took, which may be a new one.
-- Being stable, it sees votes, models, blocks and features of the same moment.
CREATE OR REPLACE FUNCTION pix_internal.recommend_now(
    user_id text, k bigint, algorithm text, model pix.models, index pix.indexes, diversity double precision,
    filter pix.item_filter,
    OUT trained pix.user_models, OUT known_at timestamptz, OUT is_new boolean, OUT answers pix.recommended_item[]
)
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
SET enable_mergejoin = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    votes pix_internal.user_votes := pix_internal.votes_of_user(user_id, model);
    fitted record;
    used pix_internal.fitted_model;
    opinions record;
    seen record;
    liked pix_internal.located_items;
    allowed record;
    filtered text;
    conditions text;
    use_index boolean;
    wanted bigint;
    candidate_ids text[];
    was_opened boolean := false;
    passed pix_internal.located_items;
    scanned record;
    scanned_after integer;
    searched integer;
    chosen record;
BEGIN
    fitted := pix_internal.current_user_model(user_id, model, algorithm, NULL, false, votes);
    trained := fitted.current;
    known_at := fitted.known_at;
    is_new := fitted.is_new;
    IF trained.user_id IS NULL THEN
        used := pix_internal.pooled_model(model, pix_internal.find_pack(model));
    ELSE
        used.described := trained.described::text;
        used.content := trained.content;
        used.algorithm := trained.algorithm;
    END IF;
    SELECT coalesce(array_agg(o.item_id), '{}') AS item_ids INTO opinions
    FROM pix.opinions o WHERE o.user_id = recommend_now.user_id AND o.signal <> 'skip';
    SELECT coalesce(array_agg(f.block), '{}') AS blocks, coalesce(array_agg(f.position), '{}') AS positions INTO seen
    FROM pix.features f
    WHERE f.item_id = ANY (opinions.item_ids) AND f.model_name = model.model_name AND f.packed_in <= votes.packed_in;
    SELECT array_agg(l.item_id ORDER BY l.ordinal), array_agg(l.block ORDER BY l.ordinal), array_agg(l.position ORDER BY l.ordinal)
    INTO liked FROM (
        SELECT u.* FROM unnest(votes.item_ids, votes.blocks, votes.positions, votes.vals)
            WITH ORDINALITY u (item_id, block, position, val, ordinal)
        WHERE u.val > 0 ORDER BY u.ordinal LIMIT 200
    ) l;
    conditions := ' AND EXISTS (SELECT FROM pix.items n WHERE n.item_id = f.item_id)';
    IF cardinality(opinions.item_ids) > 0 THEN
        conditions := conditions || format(' AND f.item_id <> ALL (%L::text[])', opinions.item_ids);
    END IF;
    SELECT NULL::integer[] AS blocks, NULL::integer[] AS positions INTO allowed;
    IF NOT filter IS NULL THEN
        filtered := pix_internal.filter_conditions(filter);
        conditions := filtered || conditions;
        SELECT p.* INTO allowed FROM pix_internal.passing_items(model.model_name, votes.packed_in, filtered) p;
        IF cardinality(allowed.blocks) = 0 THEN
            PERFORM pix_internal.check_filter(filter);
        END IF;
    END IF;
    use_index := index.index_name IS NOT NULL AND allowed.blocks IS NULL;
    wanted := CASE WHEN diversity > 0 THEN greatest(5 * k, 100) ELSE k + 4 END;
    LOOP
        searched := CASE WHEN use_index THEN index.packed_in ELSE votes.packed_in END;
        candidate_ids := pix_internal.find_best_candidates(
            votes.blocks_key, CASE WHEN use_index THEN index.state_checksum END, used.described, used.content,
            least(wanted, votes.packed_items)::integer, seen.blocks, seen.positions, allowed.blocks, allowed.positions
        );
        IF candidate_ids IS NULL THEN
            IF was_opened THEN
                PERFORM pix_internal.raise_files_vanish();
            END IF;
            was_opened := true;
            PERFORM pix_internal.open_blocks(model.model_name);
            IF use_index THEN
                PERFORM pix_internal.open_index(index.index_name);
            END IF;
            CONTINUE;
        END IF;
        EXECUTE 'SELECT array_agg(f.item_id), array_agg(f.block), array_agg(f.position)
            FROM pix.current_features f
            WHERE f.item_id = ANY ($1) AND f.model_name = $2 AND f.packed_in <= $3' || conditions
        INTO passed USING candidate_ids, model.model_name, searched;
        IF scanned_after IS DISTINCT FROM searched THEN
            SELECT '{}'::text[] AS item_ids, ''::bytea AS vectors INTO scanned;
            IF EXISTS (
                SELECT FROM pix.features f WHERE f.model_name = model.model_name AND (f.packed_in IS NULL OR f.packed_in > searched)
            ) THEN
                SELECT s.* INTO scanned FROM pix_internal.scan_scores(model.model_name, used.described, used.content,
                    least(wanted, 1000000)::integer,
                    format(' AND (f.packed_in IS NULL OR f.packed_in > %s)', searched) || conditions) s;
            END IF;
            scanned_after := searched;
        END IF;
        EXIT WHEN coalesce(cardinality(passed.item_ids), 0) >= least(wanted, k)
            OR wanted >= coalesce(cardinality(allowed.blocks), votes.packed_items);
        IF use_index AND wanted > 2000 THEN
            use_index := false;
        ELSE
            wanted := 8 * wanted;
        END IF;
    END LOOP;
    chosen := pix_internal.choose_items(
        votes.blocks_key, used.described, used.content, passed, scanned.item_ids, scanned.vectors, liked, k, diversity);
    SELECT array_agg(ROW(
        c.ordinal::integer, c.item_id, c.score, pix_internal.probability(c.score, trained.slope, trained.intercept), used.algorithm,
        CASE WHEN trained.user_id IS NULL THEN used.reason
            WHEN cardinality(c.likes) = 1 THEN format('close to %s, which %s liked', c.likes[1], recommend_now.user_id)
            WHEN cardinality(c.likes) > 1 THEN format('close to %s items that %s liked', cardinality(c.likes), recommend_now.user_id)
            WHEN trained.dislikes > 0 THEN format('unlike what %s disliked', recommend_now.user_id)
            ELSE format('unlike what %s liked, but the best there is', recommend_now.user_id) END,
        c.likes
    )::pix.recommended_item ORDER BY c.ordinal) INTO answers
    FROM (
        SELECT u.ordinal, u.item_id, u.score, ARRAY(SELECT jsonb_array_elements_text(u.liked::jsonb)) AS likes
        FROM unnest(chosen.item_ids, chosen.scores, chosen.liked_ids) WITH ORDINALITY u (item_id, score, liked, ordinal)
    ) c;
END
$$;

-- pix.recommend, by the owner's rights.
CREATE OR REPLACE FUNCTION pix_internal.recommend_items(
    user_id text, k bigint, algorithm text, model_name text, index_name text, diversity double precision, filter pix.item_filter
) RETURNS SETOF pix.recommended_item
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER ROWS 10 SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    model pix.models;
    index pix.indexes;
    ranked record;
BEGIN
    PERFORM pix_internal.require_coordinator('pix.recommend', 'Call it alone: SELECT * FROM pix.recommend(…)');
    PERFORM pix_internal.check_user(user_id);
    PERFORM pix_internal.check_range('k', k, 1, 10000);
    PERFORM pix_internal.check_range('diversity', diversity, 0, 1);
    IF index_name IS NOT NULL THEN
        index := pix_internal.find_index(index_name);
    END IF;
    model := pix_internal.searched_model(model_name, index, 'cosine');
    IF algorithm IS NOT NULL THEN
        PERFORM pix_internal.check_algorithm(algorithm, '{}', model.dimensions);
    END IF;
    PERFORM pix_internal.find_pack(model);
    PERFORM pix_internal.use_planner();
    SELECT r.* INTO ranked FROM pix_internal.recommend_now(user_id, k, algorithm, model, index, diversity, filter) r;
    IF ranked.is_new THEN
        PERFORM pix_internal.keep_user_model(ranked.trained, ranked.known_at);
    END IF;
    RETURN QUERY SELECT u.* FROM unnest(ranked.answers) u;
END
$$;

CREATE OR REPLACE FUNCTION pix.recommend(
    user_id text, k bigint DEFAULT 10, algorithm text DEFAULT NULL, model_name text DEFAULT NULL, index_name text DEFAULT NULL,
    diversity double precision DEFAULT 0, filter pix.item_filter DEFAULT NULL
) RETURNS SETOF pix.recommended_item
LANGUAGE sql VOLATILE PARALLEL UNSAFE ROWS 10 SET search_path = pg_catalog, pg_temp AS $$
SELECT r.* FROM pix_internal.recommend_items(
    user_id, k, algorithm, model_name, index_name, diversity, filter) r
$$;
COMMENT ON FUNCTION pix.recommend IS
'The items that a user will like best, of those they have no opinion of: all are scored by the user''s model, which has seen
all their votes. Somebody without votes gets what users like on the whole.
Arguments: user_id; k, how many, up to 10,000; algorithm, as for pix.train_user_model (NULL: what pix.algorithm_rules
chooses); model_name, whose features (NULL: the index''s, or the default model); index_name, whose candidates are looked at
(NULL: all items are, as with a filter); diversity, from 0 to 1: how much items should differ from one another, against how
good they are (maximal marginal relevance); filter, which items may be recommended, as pix.items_where makes it (NULL: all).
Result: rank, item_id, score (comparable between items of one user), probability of a like (NULL: too few votes to tell),
algorithm, reason in words, liked_ids: up to three items that the user liked and this one is close to.
Errors: PX003 invalid argument, PX004 a filter that names what exists nowhere, PX020 unknown model, PX024 unusable cache
folder, PX060 call on segments, PX090 unknown index, PX092 an index of another model or metric, PX094 a damaged block, PX095
no packed features, PX100 unknown clustering, PX103 clustering of a changed model, PX105 unknown cluster, PX132 model of earlier features, PX134 too few votes for it, PX137 hierarchical
without pix.fit_common_taste.
Runs: coordinator.
Example: SELECT rank, item_id, score, reason FROM pix.recommend(''ann'', 5);';

-- The score of an item, and how like it is to what its user has voted on; NULL if this backend has not opened the blocks.
CREATE OR REPLACE FUNCTION pix_internal.explain_score(
    described text, content bytea, vector bytea, votes pix_internal.user_votes, OUT score double precision,
    OUT item_ids text[], OUT likeness double precision[], OUT vals double precision[]
)
LANGUAGE plpython3u STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp
AS $$from pixelplum.server import call; return call(plpy, GD, '@VERSION@', 'recommendations.explain_score', described, content, vector, votes)$$;

-- A user's model of an algorithm; NULL: the one that was used last.
CREATE OR REPLACE FUNCTION pix_internal.find_user_model(user_id text, algorithm text, model pix.models) RETURNS pix.user_models
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    user_model pix.user_models;
BEGIN
    SELECT m.* INTO user_model FROM pix.user_models m
    WHERE m.user_id = find_user_model.user_id AND m.model_name = model.model_name
        AND m.algorithm = coalesce(find_user_model.algorithm, m.algorithm)
    ORDER BY m.updated_at DESC LIMIT 1;
    IF NOT FOUND THEN
        PERFORM pix_internal.check_known_user(user_id);
        IF algorithm IS NOT NULL THEN
            PERFORM pix_internal.check_algorithm(algorithm, '{}', model.dimensions);
        END IF;
        RAISE EXCEPTION USING ERRCODE = 'PX139',
            MESSAGE = format('User %L has no %smodel on features of %L', user_id, algorithm || ' ', model.model_name),
            HINT = format('SELECT * FROM pix.train_user_model(%L%s);', user_id, ', ' || quote_literal(algorithm));
    END IF;
    PERFORM pix_internal.check_user_model(user_model, model);
    RETURN user_model;
END
$$;

CREATE OR REPLACE FUNCTION pix.explain(
    user_id text, item_id text, k bigint DEFAULT 5, algorithm text DEFAULT NULL, model_name text DEFAULT NULL
) RETURNS SETOF pix.explanation
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER ROWS 10 SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    model pix.models;
    user_model pix.user_models;
    votes pix_internal.user_votes;
    fitted record;
    query pix.feature_vector;
    explained record;
BEGIN
    PERFORM pix_internal.require_coordinator('pix.explain', 'Call it alone: SELECT * FROM pix.explain(…)');
    PERFORM pix_internal.check_range('k', k, 1);
    model := pix.find_model(model_name);
    votes := pix_internal.votes_of_user(user_id, model);
    -- As the votes are now, be it stored or not; but no algorithm is trained only to be explained.
    IF algorithm IS NOT NULL THEN
        PERFORM pix_internal.find_user_model(user_id, algorithm, model);
    END IF;
    SELECT c.* INTO fitted FROM pix_internal.current_user_model(user_id, model, algorithm, NULL, false, votes) c;
    user_model := fitted.current;
    IF user_model.user_id IS NULL THEN
        user_model := pix_internal.find_user_model(user_id, algorithm, model);
    END IF;
    SELECT f.vector INTO query FROM pix.current_features f
    WHERE f.item_id = explain.item_id AND f.model_name = model.model_name;
    IF NOT FOUND THEN
        PERFORM pix_internal.raise_no_features(item_id, model.model_name);
    END IF;
    PERFORM pix_internal.check_dimensions(octet_length(query), model);
    FOR attempt IN 1 .. 2 LOOP
        SELECT e.* INTO explained
        FROM pix_internal.explain_score(user_model.described::text, user_model.content, query, votes) e;
        EXIT WHEN explained.score IS NOT NULL;
        IF attempt = 2 THEN
            PERFORM pix_internal.raise_files_vanish();
        END IF;
        PERFORM pix_internal.open_blocks(model.model_name);
    END LOOP;
    RETURN QUERY
    SELECT 'score', NULL::text, explained.score, format('by %s, trained on %s likes and %s dislikes', user_model.algorithm, user_model.likes, user_model.dislikes)
    UNION ALL
    SELECT 'probability', NULL, pix_internal.probability(explained.score, user_model.slope, user_model.intercept), 'of a like'
    WHERE user_model.slope IS NOT NULL;
    RETURN QUERY
    SELECT CASE WHEN r.is_like THEN 'like' ELSE 'dislike' END, r.item_id, r.likeness,
        format('looks like it (cosine); %s %s it', _user.name, CASE WHEN r.is_like THEN 'liked' ELSE 'disliked' END)
    FROM (
        SELECT u.item_id, u.likeness, u.val > 0 AS is_like,
            row_number() OVER (PARTITION BY u.val > 0 ORDER BY u.ordinal) AS rank
        FROM unnest(explained.item_ids, explained.likeness, explained.vals) WITH ORDINALITY u (item_id, likeness, val, ordinal)
        WHERE u.item_id <> explain.item_id
    ) r, (SELECT explain.user_id AS name) _user
    WHERE r.rank <= k ORDER BY r.is_like DESC, r.rank;
END
$$;
COMMENT ON FUNCTION pix.explain IS
'Why a user''s model thinks of an item what it does: its score, the probability of a like, and which liked and disliked items
it looks most like.
Arguments: user_id; item_id, any with features; k, how many likes and dislikes; algorithm (NULL: what pix.algorithm_rules
chooses); model_name (NULL: the default model).
Result: aspect: score, probability (where it is known), like, dislike; item_id of a like or dislike; value: the score, the
probability, or the cosine; note in words.
Errors: PX003 invalid argument, PX020 unknown model, PX024 unusable cache folder, PX030 features of other dimensions,
PX040 unknown item, PX041 an item without features, PX060 call on segments, PX095 no packed features, PX132 model of
earlier features, PX138 unknown user, PX139 a user without a model.
Runs: coordinator.
Example: SELECT aspect, item_id, value FROM pix.explain(''ann'', ''B005IYS5ZA'');';

-- The dimensions that a linear model gives a weight.
CREATE OR REPLACE FUNCTION pix_internal.selected_weights(described text, content bytea, OUT dimensions integer[], OUT weights real[])
LANGUAGE plpython3u STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$from pixelplum.server import call; return call(plpy, GD, '@VERSION@', 'user_models.selected_weights', described, content)$$;

CREATE OR REPLACE FUNCTION pix.selected_dimensions(
    user_id text, algorithm text DEFAULT 'sgd_log', model_name text DEFAULT NULL
) RETURNS TABLE (dimension integer, weight real)
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER ROWS 100 SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    user_model pix.user_models;
    explained record;
BEGIN
    PERFORM pix_internal.require_coordinator('pix.selected_dimensions', 'Call it alone: SELECT * FROM pix.selected_dimensions(…)');
    user_model := pix_internal.find_user_model(user_id, algorithm, pix.find_model(model_name));
    SELECT s.* INTO explained FROM pix_internal.selected_weights(user_model.described::text, user_model.content) s;
    RETURN QUERY SELECT u.dimension, u.weight FROM unnest(explained.dimensions, explained.weights) WITH ORDINALITY u (dimension, weight, ordinal)
    ORDER BY u.ordinal;
END
$$;
COMMENT ON FUNCTION pix.selected_dimensions IS
'Which numbers of the features a user''s model looks at: those that the L1 penalty of sgd_log or sgd_hinge has left a weight.
They can be used again: pix.fit_clusters takes dimensions, and so do the parameters of sgd_log and sgd_hinge.
Arguments: user_id, algorithm, model_name (NULL: the default model).
Result: dimension, from 1; weight, the largest first; no rows for models that are not linear.
Errors: PX020 unknown model, PX060 call on segments, PX131 a damaged model, PX132 model of earlier features, PX139 a
user without such a model.
Runs: coordinator.
Example: SELECT * FROM pix.selected_dimensions(''ann'', ''sgd_log'');';
