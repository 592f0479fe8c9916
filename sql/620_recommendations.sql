-- Recommendations: the best of all items that a user has no opinion of, by a model that has seen all their votes.

-- Nobody but the owner calls what opens models: a damaged one could take the server along.
CREATE OR REPLACE FUNCTION pix._score_vector(vector bytea, described text, content bytea) RETURNS double precision
LANGUAGE plpython3u STABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
from pixelplum.server import call
return call(plpy, GD, '@VERSION@', 'recommendations.score_vector', vector, described, content)
$$;
COMMENT ON FUNCTION pix._score_vector(bytea, text, bytea) IS
'Internal: the score that a model gives a vector. Errors: PX030, PX131. Runs: either.';
REVOKE ALL ON FUNCTION pix._score_vector(bytea, text, bytea) FROM PUBLIC, pix_reader, pix_app, pix_admin;

CREATE OR REPLACE FUNCTION pix._best_candidates(
    blocks_key text, index_key text, described text, content bytea, count integer, seen_blocks integer[], seen_rows integer[],
    only_blocks integer[], only_rows integer[]
) RETURNS text[]
LANGUAGE plpython3u STABLE PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
AS $$
from pixelplum.server import call
return call(plpy, GD, '@VERSION@', 'recommendations.candidates', blocks_key, index_key, described, content, count, seen_blocks, seen_rows, only_blocks, only_rows)
$$;
COMMENT ON FUNCTION pix._best_candidates(text, text, text, bytea, integer, integer[], integer[], integer[], integer[]) IS
'Internal: items that a model may like best; NULL if this backend has not opened what is to be searched. Runs: coordinator.';
REVOKE ALL ON FUNCTION pix._best_candidates(text, text, text, bytea, integer, integer[], integer[], integer[], integer[])
FROM PUBLIC, pix_reader, pix_app, pix_admin;

CREATE OR REPLACE FUNCTION pix._passing(
    model_name text, packed_in integer, conditions text, OUT blocks integer[], OUT block_rows integer[]
)
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = on SET enable_hashjoin = on SET enable_mergejoin = on SET plan_cache_mode = auto
AS $$
BEGIN
    EXECUTE 'SELECT coalesce(array_agg(f.block), ''{}''), coalesce(array_agg(f.block_row), ''{}'')
        FROM pix.features f WHERE f.model_name = $1 AND f.packed_in <= $2' || conditions
    INTO blocks, block_rows USING model_name, packed_in;
END
$$;
COMMENT ON FUNCTION pix._passing(text, integer, text) IS
'Internal: where the vectors are of all items that pass a filter. Runs: coordinator.';
REVOKE ALL ON FUNCTION pix._passing(text, integer, text) FROM PUBLIC, pix_reader, pix_app, pix_admin;

CREATE OR REPLACE FUNCTION pix._choose_best(
    blocks_key text, described text, content bytea, ids text[], blocks integer[], block_rows integer[], other_ids text[],
    others bytea, voted_ids text[], voted_blocks integer[], voted_rows integer[], k integer, diversity double precision,
    OUT item_ids text[], OUT scores double precision[], OUT liked_ids text[]
)
LANGUAGE plpython3u STABLE PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
AS $$
from pixelplum.server import call
return call(plpy, GD, '@VERSION@', 'recommendations.choose', blocks_key, described, content, ids, blocks, block_rows, other_ids, others, voted_ids, voted_blocks, voted_rows, k, diversity)
$$;
COMMENT ON FUNCTION pix._choose_best(
    text, text, bytea, text[], integer[], integer[], text[], bytea, text[], integer[], integer[], integer, double precision
) IS 'Internal: the best of some items, and which likes each is close to. Errors: PX030, PX131. Runs: coordinator.';
REVOKE ALL ON FUNCTION pix._choose_best(
    text, text, bytea, text[], integer[], integer[], text[], bytea, text[], integer[], integer[], integer, double precision
) FROM PUBLIC, pix_reader, pix_app, pix_admin;

CREATE OR REPLACE FUNCTION pix._model_of_clusters(centres bytea, weights double precision[], OUT described text, OUT content bytea)
LANGUAGE plpython3u STABLE PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
AS $$
from pixelplum.server import call
return call(plpy, GD, '@VERSION@', 'recommendations.of_clusters', centres, weights)
$$;
COMMENT ON FUNCTION pix._model_of_clusters(bytea, double precision[]) IS
'Internal: a model that likes what is near some clusters. Runs: coordinator.';
REVOKE ALL ON FUNCTION pix._model_of_clusters(bytea, double precision[]) FROM PUBLIC, pix_reader, pix_app, pix_admin;

CREATE OR REPLACE FUNCTION pix._model_of_all(blocks_key text, OUT described text, OUT content bytea)
LANGUAGE plpython3u STABLE PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
AS $$
from pixelplum.server import call
return call(plpy, GD, '@VERSION@', 'recommendations.typical', blocks_key)
$$;
COMMENT ON FUNCTION pix._model_of_all(text) IS
'Internal: a model that likes what is typical; NULL if this backend has not opened the blocks. Runs: coordinator.';
REVOKE ALL ON FUNCTION pix._model_of_all(text) FROM PUBLIC, pix_reader, pix_app, pix_admin;

CREATE OR REPLACE FUNCTION pix._pooled_taste(taste text, arrays bytea, OUT described text, OUT content bytea)
LANGUAGE plpython3u STABLE PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
AS $$
from pixelplum.server import call
return call(plpy, GD, '@VERSION@', 'user_models.pooled', taste, arrays)
$$;
COMMENT ON FUNCTION pix._pooled_taste(text, bytea) IS
'Internal: the model of a user of whom nothing is known. Errors: PX131. Runs: coordinator.';
REVOKE ALL ON FUNCTION pix._pooled_taste(text, bytea) FROM PUBLIC, pix_reader, pix_app, pix_admin;

-- For whom nothing is known: what users have in common; else the clusters that others like; else what is typical.
CREATE OR REPLACE FUNCTION pix._pooled_model(model pix.models, pack pix.packs) RETURNS pix.fitted_model
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    taste pix.tastes;
    pooled pix.fitted_model;
    liked record;
BEGIN
    SELECT t.* INTO taste FROM pix.tastes t
    WHERE t.model_name = model.model_name AND t.model_checksum IS NOT DISTINCT FROM model.checksum;
    IF FOUND THEN
        SELECT p.described, p.content INTO pooled.described, pooled.content
        FROM pix._pooled_taste(taste.described::text, taste.content) p;
        pooled.algorithm := 'pooled';
        pooled.reason := 'what users like on the whole';
        RETURN pooled;
    END IF;
    SELECT string_agg(c.centre, ''::bytea ORDER BY c.cluster) AS centres,
        array_agg(coalesce(a.mean, p.alpha / (p.alpha + p.beta), 0.5) ORDER BY c.cluster) AS means, count(a.mean) + count(p.alpha) AS known
    INTO liked
    FROM pix.clusters c
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
    IF liked.known > 0 THEN
        SELECT m.described, m.content INTO pooled.described, pooled.content
        FROM pix._model_of_clusters(
            liked.centres, ARRAY(SELECT u - (SELECT avg(v) FROM unnest(liked.means) v) FROM unnest(liked.means) u)
        ) m;
        pooled.algorithm := 'clusters';
        pooled.reason := 'near clusters that users like on the whole';
        RETURN pooled;
    END IF;
    FOR attempt IN 1 .. 2 LOOP
        SELECT m.described, m.content INTO pooled.described, pooled.content FROM pix._model_of_all(pack.checksum) m;
        IF pooled.described IS NOT NULL THEN
            pooled.algorithm := 'typical';
            pooled.reason := 'typical; nobody has voted yet';
            RETURN pooled;
        END IF;
        PERFORM pix._open_blocks(model.model_name);
    END LOOP;
    PERFORM pix._raise_files_vanish();
END
$$;
COMMENT ON FUNCTION pix._pooled_model(pix.models, pix.packs) IS
'Internal: a model for a user without votes. Errors: PX024, PX094, PX131. Runs: coordinator.';
REVOKE ALL ON FUNCTION pix._pooled_model(pix.models, pix.packs) FROM PUBLIC, pix_reader, pix_app, pix_admin;

CREATE OR REPLACE FUNCTION pix._probability(score double precision, slope double precision, intercept double precision)
RETURNS double precision
LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$SELECT tanh((slope * score + intercept) / 2) / 2 + 0.5$$;
COMMENT ON FUNCTION pix._probability(double precision, double precision, double precision) IS
'Internal: the probability of a like; NULL where scores cannot be turned into probabilities. Runs: either.';
REVOKE ALL ON FUNCTION pix._probability(double precision, double precision, double precision) FROM PUBLIC, pix_reader, pix_app, pix_admin;
GRANT EXECUTE ON FUNCTION pix._probability(double precision, double precision, double precision) TO pix_reader;

CREATE OR REPLACE FUNCTION pix._scan_scores(
    model_name text, described text, content bytea, count integer, conditions text, OUT item_ids text[], OUT vectors bytea
)
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = on SET enable_hashjoin = on SET enable_mergejoin = on SET plan_cache_mode = auto
AS $$
BEGIN
    EXECUTE 'SELECT coalesce(array_agg(b.item_id ORDER BY b.item_id), ''{}''), coalesce(string_agg(b.vector, ''''::bytea ORDER BY b.item_id), '''')
        FROM (
            SELECT s.item_id, s.vector FROM (
                SELECT f.item_id, f.vector, pix._score_vector(f.vector, $2, $3) AS score
                FROM pix.current_features f WHERE f.model_name = $1' || conditions || '
            ) s
            ORDER BY s.score DESC, s.item_id LIMIT $4
        ) b'
    INTO item_ids, vectors USING model_name, described, content, count;
END
$$;
COMMENT ON FUNCTION pix._scan_scores(text, text, bytea, integer, text) IS
'Internal: the best of all vectors that pass, each scored where it is stored. Errors: PX030, PX131. Runs: coordinator.';
REVOKE ALL ON FUNCTION pix._scan_scores(text, text, bytea, integer, text) FROM PUBLIC, pix_reader, pix_app, pix_admin;

-- Being stable, it sees votes, blocks and features of the same moment.
CREATE OR REPLACE FUNCTION pix._rank_items(
    user_id text, k integer, model pix.models, index pix.indexes, trained pix.user_models, votes pix.user_votes,
    diversity double precision, filter pix.item_filter
) RETURNS SETOF pix.recommendation
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED ROWS 10
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET enable_mergejoin = off SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
    used pix.fitted_model;
    known record;
    seen record;
    liked record;
    allowed record;
    filtered text;
    conditions text;
    use_index boolean;
    wanted bigint;
    candidate_ids text[];
    was_opened boolean := false;
    passed record;
    scanned record;
    scanned_after integer;
    searched integer;
    chosen record;
BEGIN
    IF trained.user_id IS NULL THEN
        used := pix._pooled_model(model, pix._packed(model));
    ELSE
        used.described := trained.described::text;
        used.content := trained.content;
        used.algorithm := trained.algorithm;
    END IF;
    SELECT coalesce(array_agg(o.item_id), '{}') AS item_ids INTO known
    FROM pix.opinions o WHERE o.user_id = _rank_items.user_id AND o.signal <> 'skip';
    SELECT coalesce(array_agg(f.block), '{}') AS blocks, coalesce(array_agg(f.block_row), '{}') AS block_rows INTO seen
    FROM pix.features f
    WHERE f.item_id = ANY (known.item_ids) AND f.model_name = model.model_name AND f.packed_in <= votes.packed_in;
    SELECT coalesce(array_agg(l.item_id ORDER BY l.place), '{}') AS item_ids, coalesce(array_agg(l.block ORDER BY l.place), '{}') AS blocks,
        coalesce(array_agg(l.block_row ORDER BY l.place), '{}') AS block_rows
    INTO liked
    FROM (
        SELECT u.* FROM unnest(votes.item_ids, votes.blocks, votes.block_rows, votes.vals)
            WITH ORDINALITY u (item_id, block, block_row, val, place)
        WHERE u.val > 0 ORDER BY u.place LIMIT 200
    ) l;
    conditions := ' AND EXISTS (SELECT FROM pix.items n WHERE n.item_id = f.item_id)';
    IF cardinality(known.item_ids) > 0 THEN
        conditions := conditions || format(' AND f.item_id <> ALL (%L::text[])', known.item_ids);
    END IF;
    SELECT NULL::integer[] AS blocks, NULL::integer[] AS block_rows INTO allowed;
    IF NOT filter IS NULL THEN
        filtered := pix._conditions(filter);
        conditions := filtered || conditions;
        SELECT p.* INTO allowed FROM pix._passing(model.model_name, votes.packed_in, filtered) p;
    END IF;
    use_index := index.index_name IS NOT NULL AND allowed.blocks IS NULL;
    wanted := CASE WHEN diversity > 0 THEN greatest(5 * k, 100) ELSE k + 4 END;
    LOOP
        searched := CASE WHEN use_index THEN index.packed_in ELSE votes.packed_in END;
        candidate_ids := pix._best_candidates(
            votes.blocks_key, CASE WHEN use_index THEN index.design_checksum END, used.described, used.content,
            least(wanted, votes.packed_items)::integer, seen.blocks, seen.block_rows, allowed.blocks, allowed.block_rows
        );
        IF candidate_ids IS NULL THEN
            IF was_opened THEN
                PERFORM pix._raise_files_vanish();
            END IF;
            was_opened := true;
            PERFORM pix._open_blocks(model.model_name);
            IF use_index THEN
                PERFORM pix._open_index(index.index_name);
            END IF;
            CONTINUE;
        END IF;
        EXECUTE 'SELECT coalesce(array_agg(f.item_id), ''{}'') AS item_ids, coalesce(array_agg(f.block), ''{}'') AS blocks,
                coalesce(array_agg(f.block_row), ''{}'') AS block_rows
            FROM pix.current_features f
            WHERE f.item_id = ANY ($1) AND f.model_name = $2 AND f.packed_in <= $3' || conditions
        INTO passed USING candidate_ids, model.model_name, searched;
        IF scanned_after IS DISTINCT FROM searched THEN
            SELECT '{}'::text[] AS item_ids, ''::bytea AS vectors INTO scanned;
            IF EXISTS (
                SELECT FROM pix.features f WHERE f.model_name = model.model_name AND (f.packed_in IS NULL OR f.packed_in > searched)
            ) THEN
                SELECT s.* INTO scanned FROM pix._scan_scores(
                    model.model_name, used.described, used.content, least(wanted, 1000000)::integer,
                    format(' AND (f.packed_in IS NULL OR f.packed_in > %s)', searched) || conditions
                ) s;
            END IF;
            scanned_after := searched;
        END IF;
        EXIT WHEN cardinality(passed.item_ids) >= least(wanted, k)
            OR wanted >= coalesce(cardinality(allowed.blocks), votes.packed_items);
        IF use_index AND wanted > 2000 THEN
            use_index := false;
        ELSE
            wanted := 8 * wanted;
        END IF;
    END LOOP;
    SELECT c.* INTO chosen FROM pix._choose_best(
        votes.blocks_key, used.described, used.content, passed.item_ids, passed.blocks, passed.block_rows, scanned.item_ids,
        scanned.vectors, liked.item_ids, liked.blocks, liked.block_rows, k, diversity
    ) c;
    RETURN QUERY
    SELECT c.place::integer, c.item_id, c.score, pix._probability(c.score, trained.slope, trained.intercept), used.algorithm,
        CASE WHEN trained.user_id IS NULL THEN used.reason
            WHEN cardinality(c.likes) = 1 THEN format('close to %s, which %s liked', c.likes[1], _rank_items.user_id)
            WHEN cardinality(c.likes) > 1 THEN format('close to %s items that %s liked', cardinality(c.likes), _rank_items.user_id)
            WHEN trained.dislikes > 0 THEN format('unlike what %s disliked', _rank_items.user_id)
            ELSE format('unlike what %s liked, but the best there is', _rank_items.user_id) END,
        c.likes
    FROM (
        SELECT u.place, u.item_id, u.score, ARRAY(SELECT jsonb_array_elements_text(u.liked::jsonb)) AS likes
        FROM unnest(chosen.item_ids, chosen.scores, chosen.liked_ids) WITH ORDINALITY u (item_id, score, liked, place)
    ) c
    ORDER BY c.place;
END
$$;
COMMENT ON FUNCTION pix._rank_items(
    text, integer, pix.models, pix.indexes, pix.user_models, pix.user_votes, double precision, pix.item_filter
) IS 'Internal: the best of all items by a model. Errors: those of pix.recommend. Runs: coordinator.';
REVOKE ALL ON FUNCTION pix._rank_items(
    text, integer, pix.models, pix.indexes, pix.user_models, pix.user_votes, double precision, pix.item_filter
) FROM PUBLIC, pix_reader, pix_app, pix_admin;

-- Being stable, it sees votes, models, blocks and features of the same moment.
CREATE OR REPLACE FUNCTION pix._recommend_now(
    user_id text, k integer, algorithm text, model pix.models, index pix.indexes, diversity double precision,
    filter pix.item_filter,
    OUT trained pix.user_models, OUT known_at timestamptz, OUT is_new boolean, OUT answers pix.recommendation[]
)
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    votes pix.user_votes := pix._votes_of(user_id, model);
    fitted record;
BEGIN
    SELECT c.* INTO fitted FROM pix._current_user_model(user_id, model, algorithm, NULL, false, votes) c;
    trained := fitted.current;
    known_at := fitted.known_at;
    is_new := fitted.is_new;
    SELECT array_agg(r ORDER BY r.rank) INTO answers
    FROM pix._rank_items(user_id, k, model, index, trained, votes, diversity, filter) r;
END
$$;
COMMENT ON FUNCTION pix._recommend_now(text, integer, text, pix.models, pix.indexes, double precision, pix.item_filter) IS
'Internal: pix.recommend as an array, and the model that it took, which may be a new one. Errors: those of pix.recommend.
Runs: coordinator.';
REVOKE ALL ON FUNCTION pix._recommend_now(text, integer, text, pix.models, pix.indexes, double precision, pix.item_filter)
FROM PUBLIC, pix_reader, pix_app, pix_admin;

CREATE OR REPLACE FUNCTION pix._recommend(
    user_id text, k integer, algorithm text, model_name text, index_name text, diversity double precision, filter pix.item_filter
) RETURNS SETOF pix.recommendation
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER ROWS 10
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    model pix.models;
    index pix.indexes;
    found record;
BEGIN
    PERFORM pix._require_coordinator('pix.recommend', 'Call it alone: SELECT * FROM pix.recommend(…)');
    PERFORM pix._check_user(user_id);
    IF k IS NULL OR k NOT BETWEEN 1 AND 10000 THEN
        RAISE EXCEPTION USING ERRCODE = 'PX128', MESSAGE = format('k is %s', coalesce(k::text, 'NULL')),
            HINT = 'Ask for 1 to 10,000 items: pix.recommend(user_id, 20).';
    END IF;
    IF diversity IS NULL OR NOT diversity BETWEEN 0 AND 1 THEN
        RAISE EXCEPTION USING ERRCODE = 'PX128', MESSAGE = format('diversity is %s', coalesce(diversity::text, 'NULL')),
            HINT = 'Use a number from 0, the best scores, to 1, the greatest differences.';
    END IF;
    IF index_name IS NOT NULL THEN
        index := pix._find_index(index_name);
    END IF;
    model := pix._model_of(model_name, index, 'cosine');
    IF algorithm IS NOT NULL THEN
        PERFORM pix._check_algorithm(algorithm, '{}', model.dimensions);
    END IF;
    PERFORM pix._packed(model);
    PERFORM pix._use_planner();
    SELECT r.* INTO found FROM pix._recommend_now(user_id, k, algorithm, model, index, diversity, filter) r;
    IF found.is_new THEN
        PERFORM pix._keep_user_model(found.trained, found.known_at);
    END IF;
    RETURN QUERY SELECT u.* FROM unnest(found.answers) u;
END
$$;
COMMENT ON FUNCTION pix._recommend(text, integer, text, text, text, double precision, pix.item_filter) IS
'Internal: pix.recommend, by the owner''s rights. Errors: those of pix.recommend. Runs: coordinator.';
REVOKE ALL ON FUNCTION pix._recommend(text, integer, text, text, text, double precision, pix.item_filter) FROM PUBLIC, pix_reader, pix_app, pix_admin;
GRANT EXECUTE ON FUNCTION pix._recommend(text, integer, text, text, text, double precision, pix.item_filter) TO pix_app;

CREATE OR REPLACE FUNCTION pix.recommend(
    user_id text, k integer DEFAULT 10, algorithm text DEFAULT NULL, model_name text DEFAULT NULL, index_name text DEFAULT NULL,
    diversity double precision DEFAULT 0, candidates text[] DEFAULT NULL, "exclude" text[] DEFAULT NULL,
    filter_label text DEFAULT NULL, filter_brand text DEFAULT NULL, filter_category text DEFAULT NULL,
    min_price numeric DEFAULT NULL, max_price numeric DEFAULT NULL, filter_clustering text DEFAULT NULL,
    filter_cluster integer DEFAULT NULL
) RETURNS SETOF pix.recommendation
LANGUAGE sql VOLATILE PARALLEL UNSAFE ROWS 10
SET search_path = pg_catalog, pg_temp
AS $$
SELECT r.* FROM pix._recommend(
    user_id, k, algorithm, model_name, index_name, diversity,
    ROW(candidates, "exclude", filter_label, filter_brand, filter_category, min_price, max_price,
        filter_clustering, filter_cluster)::pix.item_filter
) r
$$;
COMMENT ON FUNCTION pix.recommend(
    text, integer, text, text, text, double precision, text[], text[], text, text, text, numeric, numeric, text, integer
) IS
'The items that a user will like best, of those they have no opinion of: all are scored by the user''s model, which has seen
all their votes. Somebody without votes gets what users like on the whole.
Arguments: user_id; k, how many, up to 10,000; algorithm, as for pix.train_user_model (NULL: what pix.user_model_policy chooses);
model_name, whose features (NULL: the index''s, or the default model); index_name, whose candidates are looked at
(NULL: all items are, as with a filter); diversity, from 0 to 1: how much items should differ from one another, against how good they are (maximal marginal
relevance); candidates, exclude, filter_label, filter_brand, filter_category, min_price, max_price, filter_clustering and
filter_cluster, as for pix.nearest.
Result: rank, item_id, score (comparable between items of one user), probability of a like (NULL: too few votes to tell),
algorithm, reason in words, liked_ids: up to three items that the user liked and this one is close to.
Errors: PX020 unknown model, PX024 a cache folder that cannot be used, PX060 a call as a part of a larger query on a cluster,
PX090 unknown index, PX092 an index of another model or metric, PX094 a damaged block, PX095 a model without packed features, PX100
unknown clustering, PX101 a cluster without its clustering, PX120 a user_id that is missing or too long, PX128 an argument that cannot be used, PX132 a model of features that were imported again since, PX133 unknown
algorithm, PX134 too few votes for it, PX137 hierarchical without pix.learn_tastes.
Runs: coordinator.
Example: SELECT rank, item_id, score, reason FROM pix.recommend(''ann'', 5);';
REVOKE ALL ON FUNCTION pix.recommend(
    text, integer, text, text, text, double precision, text[], text[], text, text, text, numeric, numeric, text, integer
) FROM PUBLIC, pix_reader, pix_app, pix_admin;
GRANT EXECUTE ON FUNCTION pix.recommend(
    text, integer, text, text, text, double precision, text[], text[], text, text, text, numeric, numeric, text, integer
) TO pix_app;

CREATE OR REPLACE FUNCTION pix._explain(
    blocks_key text, described text, content bytea, vector bytea, voted_ids text[], voted_blocks integer[],
    voted_rows integer[], given double precision[], OUT score double precision, OUT item_ids text[],
    OUT likeness double precision[], OUT vals double precision[]
)
LANGUAGE plpython3u STABLE PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
AS $$
from pixelplum.server import call
return call(plpy, GD, '@VERSION@', 'recommendations.explain', blocks_key, described, content, vector, voted_ids, voted_blocks, voted_rows, given)
$$;
COMMENT ON FUNCTION pix._explain(text, text, bytea, bytea, text[], integer[], integer[], double precision[]) IS
'Internal: the score of an item, and how like it is to what its user has voted on; NULL if this backend has not opened the blocks.
Errors: PX030, PX131. Runs: coordinator.';
REVOKE ALL ON FUNCTION pix._explain(text, text, bytea, bytea, text[], integer[], integer[], double precision[]) FROM PUBLIC, pix_reader, pix_app, pix_admin;

CREATE OR REPLACE FUNCTION pix._find_user_model(user_id text, algorithm text, model pix.models) RETURNS pix.user_models
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    known pix.user_models;
BEGIN
    SELECT m.* INTO known FROM pix.user_models m
    WHERE m.user_id = _find_user_model.user_id AND m.model_name = model.model_name
        AND m.algorithm = coalesce(_find_user_model.algorithm, m.algorithm)
    ORDER BY m.updated_at DESC LIMIT 1;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'PX139',
            MESSAGE = format('User %s has no %smodel on features of %L', coalesce(quote_literal(user_id), 'NULL'), algorithm || ' ', model.model_name),
            HINT = format('SELECT * FROM pix.train_user_model(%L);', user_id);
    END IF;
    PERFORM pix._check_user_model(known, model);
    RETURN known;
END
$$;
COMMENT ON FUNCTION pix._find_user_model(text, text, pix.models) IS
'Internal: a user''s model of an algorithm; NULL: the one that was used last. Errors: PX132, PX139. Runs: coordinator.';
REVOKE ALL ON FUNCTION pix._find_user_model(text, text, pix.models) FROM PUBLIC, pix_reader, pix_app, pix_admin;
GRANT EXECUTE ON FUNCTION pix._find_user_model(text, text, pix.models) TO pix_reader;

CREATE OR REPLACE FUNCTION pix.explain(
    user_id text, item_id text, algorithm text DEFAULT NULL, model_name text DEFAULT NULL, k integer DEFAULT 5
) RETURNS SETOF pix.explanation
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER ROWS 10
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    model pix.models;
    known pix.user_models;
    votes pix.user_votes;
    fitted record;
    query pix.feature_vector;
    told record;
BEGIN
    PERFORM pix._require_coordinator('pix.explain', 'Call it alone: SELECT * FROM pix.explain(…)');
    PERFORM pix._check_k(k);
    model := pix._find_model(model_name);
    votes := pix._votes_of(user_id, model);
    -- As the votes are now, be it stored or not; but no algorithm is trained only to be explained.
    IF algorithm IS NOT NULL THEN
        PERFORM pix._find_user_model(user_id, algorithm, model);
    END IF;
    SELECT c.* INTO fitted FROM pix._current_user_model(user_id, model, algorithm, NULL, false, votes) c;
    known := fitted.current;
    IF known.user_id IS NULL THEN
        known := pix._find_user_model(user_id, algorithm, model);
    END IF;
    SELECT f.vector INTO query FROM pix.current_features f
    WHERE f.item_id = explain.item_id AND f.model_name = model.model_name;
    IF NOT FOUND THEN
        PERFORM pix._raise_no_features(item_id, model.model_name);
    END IF;
    PERFORM pix._check_dimensions(octet_length(query), model);
    FOR attempt IN 1 .. 2 LOOP
        SELECT e.* INTO told FROM pix._explain(
            votes.blocks_key, known.described::text, known.content, query, coalesce(votes.item_ids, '{}'),
            coalesce(votes.blocks, '{}'), coalesce(votes.block_rows, '{}'), coalesce(votes.vals, '{}')
        ) e;
        EXIT WHEN told.score IS NOT NULL;
        IF attempt = 2 THEN
            PERFORM pix._raise_files_vanish();
        END IF;
        PERFORM pix._open_blocks(model.model_name);
    END LOOP;
    RETURN QUERY
    SELECT 'score', NULL::text, told.score, format('by %s, trained on %s likes and %s dislikes', known.algorithm, known.likes, known.dislikes)
    UNION ALL
    SELECT 'probability', NULL, pix._probability(told.score, known.slope, known.intercept), 'of a like'
    WHERE known.slope IS NOT NULL;
    RETURN QUERY
    SELECT CASE WHEN r.is_like THEN 'like' ELSE 'dislike' END, r.item_id, r.likeness,
        format('looks like it (cosine); %s %s it', _user.name, CASE WHEN r.is_like THEN 'liked' ELSE 'disliked' END)
    FROM (
        SELECT u.item_id, u.likeness, u.val > 0 AS is_like,
            row_number() OVER (PARTITION BY u.val > 0 ORDER BY u.place) AS rank
        FROM unnest(told.item_ids, told.likeness, told.vals) WITH ORDINALITY u (item_id, likeness, val, place)
        WHERE u.item_id <> explain.item_id
    ) r, (SELECT explain.user_id AS name) _user
    WHERE r.rank <= k ORDER BY r.is_like DESC, r.rank;
END
$$;
COMMENT ON FUNCTION pix.explain(text, text, text, text, integer) IS
'Why a user''s model thinks of an item what it does: its score, the probability of a like, and which liked and disliked items it
looks most like.
Arguments: user_id; item_id, any with features; algorithm (NULL: what pix.user_model_policy chooses); model_name (NULL: the
default model); k, how many likes and dislikes.
Result: aspect: score, probability (where it is known), like, dislike; item_id of a like or dislike; value: the score, the
probability, or the cosine; note in words.
Errors: PX020 unknown model, PX024 a cache folder that cannot be used, PX030 features of other dimensions, PX033 k below 1, PX040
unknown item, PX041 an item without features, PX060 a call as a part of a larger query on a cluster, PX095 a model without packed
features, PX132 a model of features that were imported again since, PX139 a user without a model.
Runs: coordinator.
Example: SELECT aspect, item_id, value FROM pix.explain(''ann'', ''B005IYS5ZA'');';
REVOKE ALL ON FUNCTION pix.explain(text, text, text, text, integer) FROM PUBLIC, pix_reader, pix_app, pix_admin;
GRANT EXECUTE ON FUNCTION pix.explain(text, text, text, text, integer) TO pix_reader;

CREATE OR REPLACE FUNCTION pix._selected(described text, content bytea, OUT dimensions integer[], OUT weights real[])
LANGUAGE plpython3u STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
from pixelplum.server import call
return call(plpy, GD, '@VERSION@', 'user_models.selected', described, content)
$$;
COMMENT ON FUNCTION pix._selected(text, bytea) IS
'Internal: the dimensions that a linear model gives a weight. Errors: PX131. Runs: either.';
REVOKE ALL ON FUNCTION pix._selected(text, bytea) FROM PUBLIC, pix_reader, pix_app, pix_admin;

CREATE OR REPLACE FUNCTION pix.selected_dimensions(
    user_id text, algorithm text DEFAULT 'sgd_log', model_name text DEFAULT NULL
) RETURNS TABLE (dimension integer, weight real)
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER ROWS 100
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    known pix.user_models;
    told record;
BEGIN
    PERFORM pix._require_coordinator('pix.selected_dimensions', 'Call it alone: SELECT * FROM pix.selected_dimensions(…)');
    known := pix._find_user_model(user_id, algorithm, pix._find_model(model_name));
    SELECT s.* INTO told FROM pix._selected(known.described::text, known.content) s;
    RETURN QUERY SELECT u.dimension, u.weight FROM unnest(told.dimensions, told.weights) WITH ORDINALITY u (dimension, weight, place)
    ORDER BY u.place;
END
$$;
COMMENT ON FUNCTION pix.selected_dimensions(text, text, text) IS
'Which numbers of the features a user''s model looks at: those that the L1 penalty of sgd_log or sgd_hinge has left a weight. They
can be used again: pix.fit_clusters takes dimensions, and so do the parameters of sgd_log and sgd_hinge.
Arguments: user_id, algorithm, model_name (NULL: the default model).
Result: dimension, from 1; weight, the largest first; no rows for models that are not linear.
Errors: PX020 unknown model, PX060 a call as a part of a larger query on a cluster, PX131 a damaged model, PX132 a model of
features that were imported again since, PX139 a user without such a model.
Runs: coordinator.
Example: SELECT * FROM pix.selected_dimensions(''ann'', ''sgd_log'');';
REVOKE ALL ON FUNCTION pix.selected_dimensions(text, text, text) FROM PUBLIC, pix_reader, pix_app, pix_admin;
GRANT EXECUTE ON FUNCTION pix.selected_dimensions(text, text, text) TO pix_reader;
