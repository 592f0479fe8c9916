-- What users have in common, and the models of many users at once: in parallel workers, which read votes by themselves and
-- vectors from mapped blocks; or on the segments that hold the users, where votes and vectors are brought.

CREATE OR REPLACE FUNCTION pix.fit_common_taste(model_name text DEFAULT NULL) RETURNS SETOF pix.common_taste_summary
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER ROWS 1 SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pix_internal.check_call('pix.fit_common_taste');
    PERFORM pix_internal.drive('common_taste.fit_common_taste', jsonb_build_object('model_name', model_name));
    RETURN QUERY SELECT t.model_name, t.users, t.votes, t.seconds FROM pix.common_taste t
    WHERE t.model_name = (pix.find_model(fit_common_taste.model_name)).model_name;
END
$$;
COMMENT ON FUNCTION pix.fit_common_taste IS
'Learns what users have in common: the mean of their tastes, and in which directions these differ, by empirical Bayes over the
latest 200 votes of up to 2,000 users. Models with algorithm hierarchical are shrunk to it, so that the first votes of
somebody new already tell much. pix.train_user_models calls it.
Arguments: model_name, whose features (NULL: the default model).
Result: model_name, users and votes that were looked at, seconds.
Errors: PX020 unknown model, PX060 call on segments, PX061 read-only, PX095 no packed features, PX112 features all the
same, PX134 fewer than two users.
Runs: coordinator.
Example: SELECT * FROM pix.fit_common_taste();';

-- pix.fit_common_taste; where it is not needed, a warning instead of an error.
-- A model whose features are all the same, or votes that were taken back, leave other algorithms to train.
CREATE OR REPLACE FUNCTION pix_internal.try_common_taste(model_name text, is_needed boolean) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    reason text;
BEGIN
    PERFORM pix.fit_common_taste(model_name);
EXCEPTION WHEN SQLSTATE 'PX112' OR SQLSTATE 'PX134' THEN
    IF is_needed THEN
        RAISE;
    END IF;
    GET STACKED DIAGNOSTICS reason = MESSAGE_TEXT;
    RAISE WARNING 'What users have in common was not learned: %', reason;
END
$$;

-- How many users have voted on items with packed features.
CREATE OR REPLACE FUNCTION pix_internal.count_voters(model pix.models, pack pix_internal.packs) RETURNS bigint
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp SET enable_nestloop = off AS $$
BEGIN
    RETURN (
        SELECT count(DISTINCT n.user_id) FROM pix.interactions n JOIN pix.features f ON f.item_id = n.item_id
        WHERE n.value <> 0 AND n.signal NOT IN ('skip', 'undo')
            AND f.model_name = model.model_name AND f.packed_in <= pack.packed_in
    );
END
$$;

-- Trains the model of a user, unless it was trained on these votes.
-- For a worker: NULL if there is nothing to do.
CREATE OR REPLACE FUNCTION pix_internal.train_voter(
    user_id text, model pix.models, algorithm text, parameters jsonb, taste text
) RETURNS pix_internal.fitted_model
LANGUAGE plpgsql STABLE PARALLEL SAFE COST 1000000 SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
SET enable_indexscan = on SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    votes pix_internal.user_votes := pix_internal.votes_of_user(user_id, model);
    counts record;
    used text := algorithm;
BEGIN
    SELECT count(*) FILTER (WHERE u.val > 0)::integer AS likes, count(*) FILTER (WHERE u.val < 0)::integer AS dislikes,
        coalesce(sum(u.hash), 0)::text AS hash INTO counts
    FROM unnest(votes.vals, votes.hashes) u (val, hash);
    used := coalesce(used, pix_internal.choose_algorithm(counts.likes, counts.dislikes, taste IS NOT NULL));
    IF used IS NULL OR counts.likes + counts.dislikes = 0 OR EXISTS (
        SELECT FROM pix.user_models m
        WHERE m.user_id = train_voter.user_id AND m.model_name = model.model_name AND m.algorithm = used
            AND m.model_checksum IS NOT DISTINCT FROM model.checksum AND m.parameters = (train_voter.parameters ->> used)::jsonb
            AND m.common_taste_version IS NOT DISTINCT FROM
                CASE WHEN used = ANY (pix_internal.algorithms_with('user model', '{needs_common_taste}')) THEN taste END
            AND m.votes_hash = counts.hash AND m.since_training = 0
    ) THEN
        RETURN NULL;
    END IF;
    RETURN pix_internal.train_on_votes(model.model_name, taste, used, parameters ->> used, votes, NULL, pix_internal.half_of(user_id));
END
$$;

-- Trains the models of users from one name to another, by the owner's rights.
CREATE OR REPLACE FUNCTION pix_internal.train_chunk(
    low text, high text, users text[], model_name text, algorithm text, parameters jsonb
) RETURNS bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    model pix.models := pix.find_model(model_name);
    pack pix_internal.packs := pix_internal.find_pack(model);
    complete_parameters jsonb;
    tasteful text[] := pix_internal.algorithms_with('user model', '{needs_common_taste}');
    done bigint;
BEGIN
    SELECT jsonb_object_agg(g.key, pix_internal.check_algorithm(g.key, (g.value::jsonb - 'loss')::text, model.dimensions)) INTO complete_parameters
    FROM jsonb_each_text(parameters) g;
    PERFORM pix_internal.use_planner();
    PERFORM pix_internal.use_workers();
    PERFORM pix_internal.drop_temporary('pix_trained');
    IF pix_internal.is_distributed() THEN
        EXECUTE
            'CREATE TEMP TABLE pix_trained ON COMMIT DROP AS
             SELECT g.user_id, g.taste,
                pix_internal.train_on_votes($1, g.taste, g.used, $3 ->> g.used, g.votes, g.vectors, pix_internal.half_of(g.user_id)) AS fitted
             FROM (
                SELECT r.user_id, coalesce($2, pix_internal.choose_algorithm(r.likes, r.dislikes, t.version IS NOT NULL)) AS used,
                    r.votes, r.vectors, r.hash, t.version AS taste
                FROM (
                    SELECT v.user_id, sum(v.hash)::text AS hash, count(*) FILTER (WHERE v.value > 0)::integer AS likes,
                        count(*) FILTER (WHERE v.value < 0)::integer AS dislikes,
                        string_agg(v.vector, ''''::bytea ORDER BY v.rank) AS vectors,
                        ROW(array_agg(v.item_id ORDER BY v.rank), NULL, NULL, array_agg(v.value ORDER BY v.rank),
                            array_agg(v.vote_id ORDER BY v.rank), array_agg(v.hash ORDER BY v.rank), NULL, NULL,
                            NULL)::pix_internal.user_votes AS votes
                    FROM (
                        SELECT o.user_id, o.item_id, o.value, o.vote_id, f.vector, hashint8extended(o.vote_id, f.packed_in) AS hash,
                            row_number() OVER (PARTITION BY o.user_id ORDER BY o.voted_at DESC, o.vote_id DESC) AS rank
                        FROM pix.opinions o JOIN pix.features f ON f.item_id = o.item_id JOIN pix_internal.packs p ON p.model_name = f.model_name
                        WHERE o.user_id > $4 AND o.user_id <= $5 AND ($6 IS NULL OR o.user_id = ANY ($6))
                            AND o.value <> 0 AND o.signal <> ''skip'' AND f.model_name = $1 AND f.packed_in <= p.packed_in
                    ) v
                    WHERE v.rank <= 2000
                    GROUP BY v.user_id
                ) r
                LEFT JOIN pix.common_taste t ON t.model_name = $1 AND t.model_checksum IS NOT DISTINCT FROM $7
             ) g
             WHERE g.used IS NOT NULL AND NOT EXISTS (
                SELECT FROM pix.user_models m WHERE m.user_id = g.user_id AND m.model_name = $1 AND m.algorithm = g.used
                    AND m.model_checksum IS NOT DISTINCT FROM $7 AND m.parameters = ($3 ->> g.used)::jsonb
                    AND m.common_taste_version IS NOT DISTINCT FROM CASE WHEN g.used = ANY ($8) THEN g.taste END
                    AND m.votes_hash = g.hash AND m.since_training = 0
             )
             DISTRIBUTED BY (user_id)'
        USING model.model_name, algorithm, complete_parameters, low, high, users, model.checksum, tasteful;
    ELSE
        CREATE TEMP TABLE pix_trained ON COMMIT DROP AS
        SELECT u.user_id, t.taste, pix_internal.train_voter(u.user_id, model, algorithm, complete_parameters, t.taste) AS fitted
        FROM pix.users u CROSS JOIN (SELECT pix_internal.common_taste_version(model) AS taste) t
        WHERE u.user_id > low AND u.user_id <= high AND (users IS NULL OR u.user_id = ANY (users));
    END IF;
    DELETE FROM pix.user_model_failures x WHERE x.model_name = model.model_name
        AND EXISTS (SELECT FROM pg_temp.pix_trained t WHERE t.user_id = x.user_id AND (t.fitted).algorithm = x.algorithm);
    DELETE FROM pix.user_models m
    WHERE m.model_name = model.model_name AND m.model_checksum IS DISTINCT FROM model.checksum
        AND m.user_id > low AND m.user_id <= high AND (users IS NULL OR m.user_id = ANY (users));
    INSERT INTO pix.user_model_failures (user_id, model_name, algorithm, sqlstate, reason)
    SELECT t.user_id, model.model_name, (t.fitted).algorithm, (t.fitted).sqlstate, (t.fitted).reason
    FROM pg_temp.pix_trained t WHERE (t.fitted).reason IS NOT NULL;
    INSERT INTO pix.user_models (user_id, model_name, algorithm, model_checksum, parameters, common_taste_version,
        likes, dislikes, watermark, votes_hash, since_training, described, content, slope, intercept, auc,
        contradictions, seconds)
    SELECT t.user_id, model.model_name, f.algorithm, model.checksum, f.parameters::jsonb,
        CASE WHEN f.algorithm = ANY (tasteful) THEN t.taste END, f.likes, f.dislikes, f.watermark, f.votes_hash, 0,
        f.described::jsonb, f.content, f.slope, f.intercept, f.auc, f.contradictions, f.seconds
    FROM pg_temp.pix_trained t CROSS JOIN LATERAL unnest(ARRAY[t.fitted]) f WHERE f.described IS NOT NULL
    ORDER BY t.user_id
    ON CONFLICT ON CONSTRAINT user_models_pkey DO UPDATE SET
        model_checksum = excluded.model_checksum, parameters = excluded.parameters, common_taste_version = excluded.common_taste_version,
        likes = excluded.likes, dislikes = excluded.dislikes, watermark = excluded.watermark,
        votes_hash = excluded.votes_hash, since_training = excluded.since_training, described = excluded.described,
        content = excluded.content, slope = excluded.slope, intercept = excluded.intercept, auc = excluded.auc,
        contradictions = excluded.contradictions, seconds = excluded.seconds, trained_at = excluded.trained_at,
        updated_at = excluded.updated_at;
    GET DIAGNOSTICS done = ROW_COUNT;
    RETURN done;
END
$$;

CREATE OR REPLACE PROCEDURE pix.train_user_models(
    algorithm text DEFAULT NULL, users text[] DEFAULT NULL, model_name text DEFAULT NULL, parameters jsonb DEFAULT NULL,
    chunk_size bigint DEFAULT 2000
)
LANGUAGE plpgsql AS $$
DECLARE
    model pix.models := pix.find_model(model_name);
    pack pix_internal.packs;
    complete_parameters jsonb;
    low text := '';
    high text;
BEGIN
    CALL pix_internal.require_no_transaction('pix.train_user_models');
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    PERFORM pix_internal.require_writable('pix.train_user_models');
    PERFORM pix_internal.check_list('users', users);
    PERFORM pix_internal.check_range('chunk_size', chunk_size, 1);
    IF algorithm IS NULL AND parameters IS NOT NULL THEN
        PERFORM pix_internal.refuse('Parameters need the algorithm that they are of', 'Name it: algorithm => ''sgd_log''.');
    END IF;
    SELECT jsonb_object_agg(a.name, pix_internal.check_algorithm(a.name, coalesce(parameters::text, '{}'), model.dimensions)) INTO complete_parameters
    FROM (
        SELECT algorithm AS name WHERE algorithm IS NOT NULL
        UNION SELECT p.algorithm FROM pix.algorithm_rules p WHERE train_user_models.algorithm IS NULL
    ) a;
    pack := pix_internal.find_pack(model);
    PERFORM pix_internal.use_planner();
    IF algorithm = ANY (pix_internal.algorithms_with('user model', '{needs_common_taste}')) OR (
        algorithm IS NULL AND EXISTS (SELECT FROM pix.algorithm_rules p WHERE p.needs_common_taste) AND pix_internal.count_voters(model, pack) >= 10
    ) THEN
        PERFORM pix_internal.try_common_taste(model.model_name, algorithm IS NOT NULL);
    END IF;
    IF users IS NOT NULL THEN
        DELETE FROM pix.user_model_failures x
        WHERE x.user_id = ANY (users) AND x.model_name = model.model_name AND x.sqlstate = 'PX138';
        INSERT INTO pix.user_model_failures (user_id, model_name, algorithm, sqlstate, reason)
        SELECT DISTINCT n.user_id, model.model_name, coalesce(train_user_models.algorithm, 'any'), 'PX138', 'The user is not known'
        FROM unnest(users) n (user_id)
        WHERE n.user_id IS NOT NULL AND NOT EXISTS (SELECT FROM pix.users u WHERE u.user_id = n.user_id);
    END IF;
    -- Restored by one, mapped by all.
    IF NOT pix_internal.is_distributed() THEN
        PERFORM pix_internal.open_blocks(model.model_name);
    END IF;
    COMMIT;
    LOOP
        PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
        SELECT max(c.user_id) INTO high FROM (
            SELECT u.user_id FROM pix.users u
            WHERE u.user_id > low AND (users IS NULL OR u.user_id = ANY (users)) ORDER BY u.user_id LIMIT chunk_size
        ) c;
        EXIT WHEN high IS NULL;
        PERFORM pix_internal.train_chunk(low, high, users, model.model_name, algorithm, complete_parameters);
        low := high;
        COMMIT;
    END LOOP;
END
$$;
COMMENT ON PROCEDURE pix.train_user_models IS
'Trains the models of all users whose votes have changed since, on all CPU cores or segments, and commits after each chunk. It
can be stopped at any moment and called again. A user whose model cannot be trained is a row of pix.user_model_failures and
stops nobody. Where algorithm is hierarchical, or NULL and ten users have voted, pix.fit_common_taste is called first: when it
learns something else, all hierarchical models are trained again, a millisecond each.
Arguments: algorithm (NULL: for each user what pix.algorithm_rules chooses); users (NULL: all); model_name, whose features
(NULL: the default model); parameters of the algorithm (NULL: its defaults), as for pix.train_user_model; chunk_size, users
per commit.
Result: none.
Errors: PX003 invalid argument, PX020 unknown model, PX061 read-only, PX062 call in a transaction, PX095 no packed
features, PX134 hierarchical with fewer than two users who have voted.
Runs: coordinator, outside a transaction block; the work is done in parallel workers or on the segments.
Example: CALL pix.train_user_models(''centroid'');';
