-- What users have in common, and the models of many users at once: in parallel workers, which read votes by themselves and
-- vectors from mapped blocks; or on the segments that hold the users, where votes and vectors are brought.

CREATE OR REPLACE FUNCTION pix._fit_taste(
    blocks_key text, users integer[], halves integer[], blocks integer[], block_rows integer[], vals double precision[],
    OUT described text, OUT content bytea
)
LANGUAGE plpython3u STABLE PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
AS $$
from pixelplum.server import call
return call(plpy, GD, '@VERSION@', 'user_models.fit_taste', blocks_key, users, halves, blocks, block_rows, vals)
$$;
COMMENT ON FUNCTION pix._fit_taste(text, integer[], integer[], integer[], integer[], double precision[]) IS
'Internal: learns what users have in common; NULL if this backend has not opened the blocks. Runs: coordinator.';
REVOKE ALL ON FUNCTION pix._fit_taste(text, integer[], integer[], integer[], integer[], double precision[]) FROM PUBLIC, pix_reader, pix_app, pix_admin;

-- Being stable, it sees votes and blocks of the same moment.
CREATE OR REPLACE FUNCTION pix._taste_of_all(
    model pix.models, OUT users integer, OUT votes integer, OUT described text, OUT content bytea
)
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
SET enable_nestloop = off
AS $$
DECLARE
    pack pix.packs := pix._packed(model);
    said record;
BEGIN
    -- A sample of users, the same each time, and the latest votes of each, tell as much as all.
    SELECT array_agg(v.number::integer ORDER BY v.number, v.rank) AS numbers, array_agg(v.half ORDER BY v.number, v.rank) AS halves,
        array_agg(v.block ORDER BY v.number, v.rank) AS blocks, array_agg(v.block_row ORDER BY v.number, v.rank) AS block_rows, array_agg(v.value ORDER BY v.number, v.rank) AS vals,
        max(v.number)::integer AS users, count(*)::integer AS votes
    INTO said
    FROM (
        SELECT r.block, r.block_row, r.value, r.rank, pix._half(r.user_id) AS half, dense_rank() OVER (ORDER BY md5(r.user_id), r.user_id) AS number
        FROM (
            SELECT o.user_id, f.block, f.block_row, o.value,
                row_number() OVER (PARTITION BY o.user_id ORDER BY o.voted_at DESC, o.vote_id DESC) AS rank
            FROM pix.opinions o JOIN pix.features f ON f.item_id = o.item_id
            WHERE o.value <> 0 AND o.signal <> 'skip' AND f.model_name = model.model_name AND f.packed_in <= pack.packed_in
        ) r
        WHERE r.rank <= 200
    ) v
    WHERE v.number <= 2000;
    users := coalesce(said.users, 0);
    votes := said.votes;
    IF users < 2 THEN
        RAISE EXCEPTION USING ERRCODE = 'PX134',
            MESSAGE = format('%s users have voted on items with features of model %L', users, model.model_name),
            HINT = 'What users have in common takes two of them, better twenty.';
    END IF;
    FOR attempt IN 1 .. 2 LOOP
        SELECT t.described, t.content INTO described, content FROM pix._fit_taste(
            pack.checksum, said.numbers, said.halves, said.blocks, said.block_rows, said.vals
        ) t;
        IF described IS NOT NULL THEN
            RETURN;
        END IF;
        PERFORM pix._open_blocks(model.model_name);
    END LOOP;
    PERFORM pix._raise_files_vanish();
END
$$;
COMMENT ON FUNCTION pix._taste_of_all(pix.models) IS
'Internal: learns what users have in common, from votes and blocks as of now. Errors: PX024, PX094, PX095, PX112, PX134.
Runs: coordinator.';
REVOKE ALL ON FUNCTION pix._taste_of_all(pix.models) FROM PUBLIC, pix_reader, pix_app, pix_admin;

CREATE OR REPLACE FUNCTION pix.learn_tastes(model_name text DEFAULT NULL) RETURNS SETOF pix.taste_summary
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER ROWS 1
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    begun timestamptz := clock_timestamp();
    model pix.models;
    found record;
BEGIN
    PERFORM pix._require_coordinator('pix.learn_tastes', 'Call it alone: SELECT * FROM pix.learn_tastes(…)');
    PERFORM pix._require_writable('pix.learn_tastes');
    PERFORM pix._require_read_committed();
    model := pix._find_model(model_name);
    PERFORM pix._packed(model);
    PERFORM pix._use_planner();
    SELECT t.* INTO found FROM pix._taste_of_all(model) t;
    PERFORM pix._lock('tastes', model.model_name);
    DELETE FROM pix.tastes t WHERE t.model_name = model.model_name;
    INSERT INTO pix.tastes (model_name, model_checksum, version, users, votes, described, content, seconds)
    VALUES (
        model.model_name, model.checksum, encode(sha256(found.content), 'hex'), found.users, found.votes, found.described::jsonb,
        found.content, EXTRACT(EPOCH FROM clock_timestamp() - begun)
    );
    RETURN QUERY SELECT t.model_name, t.users, t.votes, t.seconds FROM pix.tastes t WHERE t.model_name = model.model_name;
END
$$;
COMMENT ON FUNCTION pix.learn_tastes(text) IS
'Learns what users have in common: the mean of their tastes, and in which directions these differ, by empirical Bayes over
the latest 200 votes of up to 2,000 users. Models with algorithm hierarchical are shrunk to it, so that the first votes of
somebody new already tell much. pix.train_user_models calls it.
Arguments: model_name, whose features (NULL: the default model). Result: model_name, users and votes that were looked at, seconds.
Errors: PX020 unknown model, PX060 a call as a part of a larger query on a cluster,
PX061 a standby or a read-only transaction, PX095 a model without packed features,
PX112 features that are all the same, PX134 fewer than two users.
Runs: coordinator.
Example: SELECT * FROM pix.learn_tastes();';
REVOKE ALL ON FUNCTION pix.learn_tastes(text) FROM PUBLIC, pix_reader, pix_app, pix_admin;
GRANT EXECUTE ON FUNCTION pix.learn_tastes(text) TO pix_admin;

-- A model whose features are all the same, or votes that were taken back, leave other algorithms to train.
CREATE OR REPLACE FUNCTION pix._try_tastes(model_name text, is_needed boolean) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    reason text;
BEGIN
    PERFORM pix.learn_tastes(model_name);
EXCEPTION WHEN SQLSTATE 'PX112' OR SQLSTATE 'PX134' THEN
    IF is_needed THEN
        RAISE;
    END IF;
    GET STACKED DIAGNOSTICS reason = MESSAGE_TEXT;
    RAISE WARNING 'What users have in common was not learned: %', reason;
END
$$;
COMMENT ON FUNCTION pix._try_tastes(text, boolean) IS
'Internal: pix.learn_tastes; where it is not needed, a warning instead of an error. Runs: coordinator.';
REVOKE ALL ON FUNCTION pix._try_tastes(text, boolean) FROM PUBLIC, pix_reader, pix_app, pix_admin;
GRANT EXECUTE ON FUNCTION pix._try_tastes(text, boolean) TO pix_admin;

CREATE OR REPLACE FUNCTION pix._is_trained(
    user_id text, model pix.models, algorithm text, parameters text, taste text, votes_hash numeric
) RETURNS boolean
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET enable_indexscan = on SET plan_cache_mode = force_generic_plan
AS $$
BEGIN
    RETURN EXISTS (
        SELECT FROM pix.user_models m
        WHERE m.user_id = _is_trained.user_id AND m.model_name = model.model_name AND m.algorithm = _is_trained.algorithm
            AND m.model_checksum IS NOT DISTINCT FROM model.checksum AND m.parameters = _is_trained.parameters::jsonb
            AND (m.algorithm <> 'hierarchical' OR m.taste_version = taste) AND m.votes_hash = _is_trained.votes_hash
            AND m.since_training = 0
    );
END
$$;
COMMENT ON FUNCTION pix._is_trained(text, pix.models, text, text, text, numeric) IS
'Internal: whether a user''s model was trained on these votes. Runs: coordinator, and in parallel workers.';
REVOKE ALL ON FUNCTION pix._is_trained(text, pix.models, text, text, text, numeric) FROM PUBLIC, pix_reader, pix_app, pix_admin;

CREATE OR REPLACE FUNCTION pix._voters(model pix.models, pack pix.packs) RETURNS bigint
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
SET enable_nestloop = off
AS $$
BEGIN
    RETURN (
        SELECT count(DISTINCT n.user_id) FROM pix.interactions n JOIN pix.features f ON f.item_id = n.item_id
        WHERE n.value <> 0 AND n.signal NOT IN ('skip', 'undo')
            AND f.model_name = model.model_name AND f.packed_in <= pack.packed_in
    );
END
$$;
COMMENT ON FUNCTION pix._voters(pix.models, pix.packs) IS
'Internal: how many users have voted on items with packed features. Runs: coordinator; the work is done on the segments.';
REVOKE ALL ON FUNCTION pix._voters(pix.models, pix.packs) FROM PUBLIC, pix_reader, pix_app, pix_admin;
GRANT EXECUTE ON FUNCTION pix._voters(pix.models, pix.packs) TO pix_admin;

-- For a worker: NULL if there is nothing to do.
CREATE OR REPLACE FUNCTION pix._train_voter(
    user_id text, model pix.models, algorithm text, parameters jsonb, taste text
) RETURNS pix.fitted_model
LANGUAGE plpgsql STABLE PARALLEL SAFE COST 1000000
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    votes pix.user_votes := pix._votes_of(user_id, model);
    said record;
    used text := algorithm;
BEGIN
    SELECT count(*) FILTER (WHERE u.val > 0)::integer AS likes, count(*) FILTER (WHERE u.val < 0)::integer AS dislikes,
        coalesce(sum(u.hash), 0) AS hash INTO said
    FROM unnest(votes.vals, votes.hashes) u (val, hash);
    used := coalesce(used, pix._choose_algorithm(said.likes, said.dislikes, taste IS NOT NULL));
    IF used IS NULL OR said.likes + said.dislikes = 0
        OR pix._is_trained(user_id, model, used, parameters ->> used, taste, said.hash)
    THEN
        RETURN NULL;
    END IF;
    RETURN pix._learn(model.model_name, taste, used, parameters ->> used, votes, NULL, pix._half(user_id));
END
$$;
COMMENT ON FUNCTION pix._train_voter(text, pix.models, text, jsonb, text) IS
'Internal: trains the model of a user, unless it was trained on these votes. Runs: coordinator, and in parallel workers.';
REVOKE ALL ON FUNCTION pix._train_voter(text, pix.models, text, jsonb, text) FROM PUBLIC, pix_reader, pix_app, pix_admin;

-- As in pix._embed_chunk, CREATE TABLE AS is what is planned in parallel.
CREATE OR REPLACE FUNCTION pix._train_chunk(
    low text, high text, users text[], model_name text, algorithm text, parameters jsonb
) RETURNS bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_indexscan = off
SET enable_bitmapscan = off
SET enable_nestloop = off
SET min_parallel_table_scan_size = 0
SET parallel_setup_cost = 0
SET parallel_tuple_cost = 0
SET jit = off
AS $$
DECLARE
    model pix.models := pix._find_model(model_name);
    pack pix.packs := pix._packed(model);
    given jsonb;
    done bigint;
BEGIN
    SELECT jsonb_object_agg(g.key, pix._check_algorithm(g.key, (g.value::jsonb - 'loss')::text, model.dimensions)) INTO given
    FROM jsonb_each_text(parameters) g;
    PERFORM pix._use_planner();
    PERFORM set_config(
        'max_parallel_workers_per_gather', CASE WHEN pix._is_cluster() THEN 0 ELSE pix._cores() - 1 END::text, true
    );
    IF to_regclass('pg_temp.pix_trained') IS NOT NULL THEN
        DROP TABLE pg_temp.pix_trained;
    END IF;
    IF pix._is_cluster() THEN
        EXECUTE
            'CREATE TEMP TABLE pix_trained ON COMMIT DROP AS
             SELECT g.user_id, g.taste,
                pix._learn($1, g.taste, g.used, $3 ->> g.used, g.votes, g.vectors, pix._half(g.user_id)) AS fitted
             FROM (
                SELECT r.user_id, coalesce($2, pix._choose_algorithm(r.likes, r.dislikes, t.version IS NOT NULL)) AS used,
                    r.votes, r.vectors, r.hash, t.version AS taste
                FROM (
                    SELECT v.user_id, sum(v.hash) AS hash, count(*) FILTER (WHERE v.value > 0)::integer AS likes,
                        count(*) FILTER (WHERE v.value < 0)::integer AS dislikes,
                        string_agg(v.vector, ''''::bytea ORDER BY v.rank) AS vectors,
                        ROW(
                            array_agg(v.item_id ORDER BY v.rank), NULL, NULL, array_agg(v.value ORDER BY v.rank),
                            array_agg(v.vote_id ORDER BY v.rank), array_agg(v.hash ORDER BY v.rank), NULL, NULL, NULL
                        )::pix.user_votes AS votes
                    FROM (
                        SELECT o.user_id, o.item_id, o.value, o.vote_id, f.vector, hashint8extended(o.vote_id, f.packed_in) AS hash,
                            row_number() OVER (PARTITION BY o.user_id ORDER BY o.voted_at DESC, o.vote_id DESC) AS rank
                        FROM pix.opinions o JOIN pix.features f ON f.item_id = o.item_id JOIN pix.packs p ON p.model_name = f.model_name
                        WHERE o.user_id > $4 AND o.user_id <= $5 AND ($6 IS NULL OR o.user_id = ANY ($6))
                            AND o.value <> 0 AND o.signal <> ''skip'' AND f.model_name = $1 AND f.packed_in <= p.packed_in
                    ) v
                    WHERE v.rank <= 2000
                    GROUP BY v.user_id
                ) r
                LEFT JOIN pix.tastes t ON t.model_name = $1 AND t.model_checksum IS NOT DISTINCT FROM $7
             ) g
             WHERE g.used IS NOT NULL AND NOT EXISTS (
                SELECT FROM pix.user_models m
                WHERE m.user_id = g.user_id AND m.model_name = $1 AND m.algorithm = g.used
                    AND m.model_checksum IS NOT DISTINCT FROM $7 AND m.parameters = ($3 ->> g.used)::jsonb
                    AND (m.algorithm <> ''hierarchical'' OR m.taste_version = g.taste) AND m.votes_hash = g.hash
                    AND m.since_training = 0
             )
             DISTRIBUTED BY (user_id)'
        USING model.model_name, algorithm, given, low, high, users, model.checksum;
    ELSE
        CREATE TEMP TABLE pix_trained ON COMMIT DROP AS
        SELECT u.user_id, t.taste, pix._train_voter(u.user_id, model, algorithm, given, t.taste) AS fitted
        FROM pix.users u CROSS JOIN (SELECT pix._taste_version(model) AS taste) t
        WHERE u.user_id > low AND u.user_id <= high AND (users IS NULL OR u.user_id = ANY (users));
    END IF;
    DELETE FROM pix.user_model_failures x
    WHERE x.model_name = model.model_name
        AND EXISTS (SELECT FROM pg_temp.pix_trained t WHERE t.user_id = x.user_id AND (t.fitted).algorithm = x.algorithm);
    DELETE FROM pix.user_models m
    WHERE m.model_name = model.model_name AND m.model_checksum IS DISTINCT FROM model.checksum
        AND m.user_id > low AND m.user_id <= high AND (users IS NULL OR m.user_id = ANY (users));
    INSERT INTO pix.user_model_failures (user_id, model_name, algorithm, sqlstate, reason)
    SELECT t.user_id, model.model_name, (t.fitted).algorithm, (t.fitted).sqlstate, (t.fitted).reason
    FROM pg_temp.pix_trained t WHERE (t.fitted).reason IS NOT NULL;
    INSERT INTO pix.user_models (
        user_id, model_name, algorithm, model_checksum, parameters, taste_version, likes, dislikes, watermark, votes_hash,
        since_training, described, content, slope, intercept, auc, contradictions, seconds
    )
    SELECT t.user_id, model.model_name, f.algorithm, model.checksum, f.parameters::jsonb,
        CASE WHEN f.algorithm = 'hierarchical' THEN t.taste END, f.likes, f.dislikes, f.watermark, f.votes_hash, 0,
        f.described::jsonb, f.content, f.slope, f.intercept, f.auc, f.contradictions, f.seconds
    FROM pg_temp.pix_trained t CROSS JOIN LATERAL unnest(ARRAY[t.fitted]) f
    WHERE f.described IS NOT NULL
    ORDER BY t.user_id
    ON CONFLICT ON CONSTRAINT user_models_pkey DO UPDATE SET
        model_checksum = excluded.model_checksum, parameters = excluded.parameters, taste_version = excluded.taste_version,
        likes = excluded.likes, dislikes = excluded.dislikes, watermark = excluded.watermark,
        votes_hash = excluded.votes_hash, since_training = excluded.since_training, described = excluded.described,
        content = excluded.content, slope = excluded.slope, intercept = excluded.intercept, auc = excluded.auc,
        contradictions = excluded.contradictions, seconds = excluded.seconds, trained_at = excluded.trained_at,
        updated_at = excluded.updated_at;
    GET DIAGNOSTICS done = ROW_COUNT;
    RETURN done;
END
$$;
COMMENT ON FUNCTION pix._train_chunk(text, text, text[], text, text, jsonb) IS
'Internal: trains the models of users from one name to another, by the owner''s rights. Runs: coordinator; the work is done in parallel workers or on
the segments.';
REVOKE ALL ON FUNCTION pix._train_chunk(text, text, text[], text, text, jsonb) FROM PUBLIC, pix_reader, pix_app, pix_admin;
GRANT EXECUTE ON FUNCTION pix._train_chunk(text, text, text[], text, text, jsonb) TO pix_admin;

CREATE OR REPLACE PROCEDURE pix.train_user_models(
    algorithm text DEFAULT NULL, users text[] DEFAULT NULL, model_name text DEFAULT NULL, parameters jsonb DEFAULT NULL,
    chunk_size integer DEFAULT 2000
)
LANGUAGE plpgsql
AS $$
DECLARE
    model pix.models := pix._find_model(model_name);
    pack pix.packs;
    given jsonb;
    low text := '';
    high text;
BEGIN
    CALL pix._require_no_transaction('pix.train_user_models');
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    PERFORM pix._require_writable('pix.train_user_models');
    PERFORM pix._check_list('users', users);
    IF chunk_size IS NULL OR chunk_size < 1 THEN
        RAISE EXCEPTION USING ERRCODE = 'PX050', MESSAGE = format('chunk_size is %s', chunk_size),
            HINT = 'Use a chunk_size of at least 1; 2000 is the default.';
    END IF;
    IF algorithm IS NULL AND parameters IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'PX135', MESSAGE = 'Parameters need the algorithm that they are of',
            HINT = 'Name it: algorithm => ''sgd_log''.';
    END IF;
    SELECT jsonb_object_agg(a.name, pix._check_algorithm(a.name, coalesce(parameters::text, '{}'), model.dimensions)) INTO given
    FROM (
        SELECT algorithm AS name WHERE algorithm IS NOT NULL
        UNION SELECT p.algorithm FROM pix.user_model_policy p WHERE train_user_models.algorithm IS NULL
    ) a;
    pack := pix._packed(model);
    PERFORM pix._use_planner();
    IF algorithm = 'hierarchical' OR (
        algorithm IS NULL AND EXISTS (SELECT FROM pix.user_model_policy p WHERE p.needs_taste) AND pix._voters(model, pack) >= 10
    ) THEN
        PERFORM pix._try_tastes(model.model_name, algorithm IS NOT NULL);
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
    IF NOT pix._is_cluster() THEN
        PERFORM pix._open_blocks(model.model_name);
    END IF;
    COMMIT;
    LOOP
        PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
        SELECT max(c.user_id) INTO high FROM (
            SELECT u.user_id FROM pix.users u
            WHERE u.user_id > low AND (users IS NULL OR u.user_id = ANY (users)) ORDER BY u.user_id LIMIT chunk_size
        ) c;
        EXIT WHEN high IS NULL;
        PERFORM pix._train_chunk(low, high, users, model.model_name, algorithm, given);
        low := high;
        COMMIT;
    END LOOP;
END
$$;
COMMENT ON PROCEDURE pix.train_user_models(text, text[], text, jsonb, integer) IS
'Trains the models of all users whose votes have changed since, on all CPU cores or segments, and commits after each chunk. It
can be stopped at any moment and called again. A user whose model cannot be trained is a row of pix.user_model_failures and
stops nobody. Where algorithm is hierarchical, or NULL and ten users have voted, pix.learn_tastes is called first: when it learns
something else, all hierarchical models are trained anew, a millisecond each.
Arguments: algorithm (NULL: for each user what pix.user_model_policy chooses); users (NULL: all); model_name, whose features
(NULL: the default model); parameters of the algorithm (NULL: its defaults), as for pix.train_user_model; chunk_size, users per
commit.
Errors: PX061 a standby or a read-only transaction, PX062 a call in a transaction,
PX020 unknown model, PX050 a chunk_size below 1, PX095 a model without packed features, PX133 unknown algorithm, PX134
hierarchical with fewer than two users who have voted, PX135 a parameter that cannot be used.
Runs: coordinator, outside a transaction block; the work is done in parallel workers or on the segments.
Example: CALL pix.train_user_models(''centroid'');';
REVOKE ALL ON PROCEDURE pix.train_user_models(text, text[], text, jsonb, integer) FROM PUBLIC, pix_reader, pix_app, pix_admin;
GRANT EXECUTE ON PROCEDURE pix.train_user_models(text, text[], text, jsonb, integer) TO pix_admin;
