-- Which algorithm suits whom: users' votes are split, algorithms compared on the parts, task by task, and what was found
-- can be made the rule by which models are chosen.

CREATE OR REPLACE FUNCTION pix._check_selection(algorithms text[], balances text[], search text) RETURNS void
LANGUAGE plpython3u IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
from pixelplum.server import call
return call(plpy, GD, '@VERSION@', 'model_selection.check', algorithms, balances, search)
$$;
COMMENT ON FUNCTION pix._check_selection(text[], text[], text) IS
'Internal: refuses what cannot be compared. Errors: PX133, PX135. Runs: either.';
REVOKE ALL ON FUNCTION pix._check_selection(text[], text[], text) FROM PUBLIC, pix_reader, pix_app, pix_admin;
GRANT EXECUTE ON FUNCTION pix._check_selection(text[], text[], text) TO pix_admin;

CREATE OR REPLACE FUNCTION pix._compare_algorithms(
    blocks_key text, blocks integer[], block_rows integer[], vals double precision[], vectors bytea, size integer,
    algorithms text[], balances text[], search text, seed integer
) RETURNS text
LANGUAGE plpython3u STABLE PARALLEL SAFE COST 100000000
SET search_path = pg_catalog, pg_temp
AS $$
from pixelplum.server import call
return call(plpy, GD, '@VERSION@', 'model_selection.compare', blocks_key, blocks, block_rows, vals, vectors, size, algorithms, balances, search, seed)
$$;
COMMENT ON FUNCTION pix._compare_algorithms(
    text, integer[], integer[], double precision[], bytea, integer, text[], text[], text, integer
) IS
'Internal: how algorithms do on a user''s votes, as JSON; NULL if this backend has not opened the blocks. Runs: either.';
REVOKE ALL ON FUNCTION pix._compare_algorithms(
    text, integer[], integer[], double precision[], bytea, integer, text[], text[], text, integer
) FROM PUBLIC, pix_reader, pix_app, pix_admin;

CREATE OR REPLACE FUNCTION pix._compare_for(
    user_id text, model pix.models, size integer, algorithms text[], balances text[], search text, seed integer
) RETURNS text
LANGUAGE plpgsql STABLE PARALLEL SAFE COST 100000000
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    votes pix.user_votes := pix._votes_of(user_id, model);
    compared text;
BEGIN
    IF coalesce(cardinality(votes.vals), 0) <= size THEN
        RETURN '[]';  -- votes were taken back meanwhile
    END IF;
    FOR attempt IN 1 .. 2 LOOP
        compared := pix._compare_algorithms(
            votes.blocks_key, votes.blocks, votes.block_rows, votes.vals, NULL, size, algorithms, balances, search, seed
        );
        IF compared IS NOT NULL THEN
            RETURN compared;
        END IF;
        PERFORM pix._open_blocks(model.model_name);
    END LOOP;
    PERFORM pix._raise_files_vanish();
END
$$;
COMMENT ON FUNCTION pix._compare_for(text, pix.models, integer, text[], text[], text, integer) IS
'Internal: pix._compare_algorithms for a user. Errors: PX024, PX094. Runs: coordinator, and in parallel workers.';
REVOKE ALL ON FUNCTION pix._compare_for(text, pix.models, integer, text[], text[], text, integer) FROM PUBLIC, pix_reader, pix_app, pix_admin;

-- As in pix._embed_chunk, CREATE TABLE AS is what is planned in parallel.
CREATE OR REPLACE FUNCTION pix._select_chunk(run text, last_place integer)
RETURNS void
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
    known pix.model_selections;
    model pix.models;
    pack pix.packs;
    asked jsonb;
    algorithms text[];
    balances text[];
    seed integer;
BEGIN
    SELECT s.* INTO known FROM pix.model_selections s WHERE s.run = _select_chunk.run;
    model := pix._find_model(known.model_name);
    pack := pix._packed(model);
    asked := known.parameters;
    algorithms := ARRAY(SELECT jsonb_array_elements_text(asked -> 'algorithms'));
    balances := ARRAY(SELECT jsonb_array_elements_text(asked -> 'balance'));
    seed := (asked ->> 'seed')::integer;
    PERFORM pix._check_selection(algorithms, balances, asked ->> 'search');
    PERFORM pix._use_planner();
    PERFORM set_config(
        'max_parallel_workers_per_gather', CASE WHEN pix._is_cluster() THEN 0 ELSE pix._cores() - 1 END::text, true
    );
    IF to_regclass('pg_temp.pix_compared') IS NOT NULL THEN
        DROP TABLE pg_temp.pix_compared;
    END IF;
    IF pix._is_cluster() THEN
        EXECUTE
            'CREATE TEMP TABLE pix_compared ON COMMIT DROP AS
             SELECT t.user_id, t.size, t.repeat, pix._compare_algorithms(
                NULL, NULL, NULL, g.vals, g.vectors, t.size, $5, $6, $7, (($8::bigint + t.repeat) % 2147483647)::integer
             ) AS compared
             FROM pix.model_selection_tasks t
             JOIN (
                SELECT v.user_id, array_agg(v.value ORDER BY v.rank) AS vals, string_agg(v.vector, ''''::bytea ORDER BY v.rank) AS vectors,
                    count(*) AS votes
                FROM (
                    SELECT o.user_id, o.value, f.vector,
                        row_number() OVER (PARTITION BY o.user_id ORDER BY o.voted_at DESC, o.vote_id DESC) AS rank
                    FROM pix.opinions o JOIN pix.features f ON f.item_id = o.item_id
                    WHERE o.user_id IN (SELECT w.user_id FROM pix.model_selection_tasks w WHERE w.run = $1 AND w.place <= $2)
                        AND o.value <> 0 AND o.signal <> ''skip'' AND f.model_name = $3 AND f.packed_in <= $4
                ) v
                WHERE v.rank <= 2000 GROUP BY v.user_id
             ) g ON g.user_id = t.user_id
             WHERE t.run = $1 AND t.place <= $2 AND g.votes > t.size
             DISTRIBUTED BY (user_id)'
        USING run, last_place, model.model_name, pack.packed_in, algorithms, balances, asked ->> 'search', seed;
    ELSE
        CREATE TEMP TABLE pix_compared ON COMMIT DROP AS
        SELECT t.user_id, t.size, t.repeat, pix._compare_for(
            t.user_id, model, t.size, algorithms, balances, asked ->> 'search',
            ((seed::bigint + t.repeat) % 2147483647)::integer
        ) AS compared
        FROM pix.model_selection_tasks t WHERE t.run = _select_chunk.run AND t.place <= last_place;
    END IF;
    INSERT INTO pix.model_selection_results (
        run, user_id, size, repeat, balance, algorithm, likes, test_auc, cv_auc, fit_seconds, predict_seconds, parameters, reason
    )
    SELECT _select_chunk.run, c.user_id, c.size, c.repeat, e.row ->> 'balance', e.row ->> 'algorithm', (e.row ->> 'likes')::integer,
        (e.row ->> 'test_auc')::double precision, (e.row ->> 'cv_auc')::double precision,
        (e.row ->> 'fit_seconds')::double precision, (e.row ->> 'predict_seconds')::double precision, e.row -> 'parameters',
        e.row ->> 'reason'
    FROM pg_temp.pix_compared c CROSS JOIN LATERAL jsonb_array_elements(c.compared::jsonb) e (row);
    DELETE FROM pix.model_selection_tasks t WHERE t.run = _select_chunk.run AND t.place <= last_place;
END
$$;
COMMENT ON FUNCTION pix._select_chunk(text, integer) IS
'Internal: does the next tasks of a run. Runs: coordinator; the work is done in parallel workers or on the segments.';
REVOKE ALL ON FUNCTION pix._select_chunk(text, integer) FROM PUBLIC, pix_reader, pix_app, pix_admin;
GRANT EXECUTE ON FUNCTION pix._select_chunk(text, integer) TO pix_admin;

CREATE OR REPLACE PROCEDURE pix.select_models(
    run text, users text[] DEFAULT NULL, sizes integer[] DEFAULT '{20,40,60,80}',
    balance text[] DEFAULT '{none,oversample,class_weight}',
    algorithms text[] DEFAULT '{xgboost,random_forest,naive_bayes,svm,logistic,sgd_log,nearest}', repeats integer DEFAULT 5,
    model_name text DEFAULT NULL, search text DEFAULT 'grid', seed integer DEFAULT 7, chunk_size integer DEFAULT 100
)
LANGUAGE plpgsql
AS $$
DECLARE
    model pix.models := pix._find_model(model_name);
    pack pix.packs;
    asked jsonb;
    known pix.model_selections;
    place integer;
BEGIN
    CALL pix._require_no_transaction('pix.select_models');
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    PERFORM pix._require_writable('pix.select_models');
    IF run IS NULL OR octet_length(run) NOT BETWEEN 1 AND 200 THEN
        RAISE EXCEPTION USING ERRCODE = 'PX140', MESSAGE = format('A run cannot be named %s', coalesce(quote_literal(run), 'NULL')),
            HINT = 'Use a name of 1 to 200 bytes.';
    END IF;
    PERFORM pix._check_list('users', users);
    PERFORM pix._check_list('sizes', sizes);
    PERFORM pix._check_list('balance', balance);
    PERFORM pix._check_list('algorithms', algorithms);
    PERFORM pix._check_selection(coalesce(algorithms, '{}'), coalesce(balance, '{}'), search);
    PERFORM pix._check_range('repeats', repeats, 1, 1000);
    PERFORM pix._check_range('seed', seed, 0, NULL);
    PERFORM pix._check_range('chunk_size', chunk_size, 1, NULL);
    IF coalesce(cardinality(sizes), 0) = 0 OR EXISTS (SELECT FROM unnest(sizes) s WHERE s IS NULL OR s NOT BETWEEN 6 AND 1900) THEN
        RAISE EXCEPTION USING ERRCODE = 'PX128', MESSAGE = 'sizes must be numbers of votes from 6 to 1,900, and at least one',
            HINT = 'For example sizes => ''{20,40}''.';
    END IF;
    algorithms := ARRAY(SELECT u.a FROM unnest(algorithms) WITH ORDINALITY u (a, number) GROUP BY u.a ORDER BY min(u.number));
    balance := ARRAY(SELECT u.b FROM unnest(balance) WITH ORDINALITY u (b, number) GROUP BY u.b ORDER BY min(u.number));
    pack := pix._packed(model);
    PERFORM pix._use_planner();
    PERFORM pix._lock('model_selections', run);
    asked := jsonb_build_object(
        'users', users, 'sizes', sizes, 'balance', balance, 'algorithms', algorithms, 'repeats', repeats, 'search', search, 'seed', seed
    );
    SELECT s.* INTO known FROM pix.model_selections s WHERE s.run = select_models.run;
    IF FOUND AND (known.parameters <> asked OR known.model_name <> model.model_name OR known.model_checksum IS DISTINCT FROM model.checksum) THEN
        RAISE EXCEPTION USING ERRCODE = 'PX140', MESSAGE = format('There is a run %L, which asked for something else', run),
            HINT = format('Use another name, or SELECT pix.drop_model_selection(%L);', run);
    ELSIF NOT FOUND THEN
        INSERT INTO pix.model_selections (run, model_name, model_checksum, parameters)
        VALUES (select_models.run, model.model_name, model.checksum, asked);
        INSERT INTO pix.model_selection_tasks (run, user_id, size, repeat, place)
        SELECT select_models.run, t.user_id, t.size, t.repeat, row_number() OVER (ORDER BY t.repeat, md5(t.user_id), t.size)
        FROM (
            SELECT v.user_id, s.size, r.repeat
            FROM (
                SELECT o.user_id, count(*) AS votes FROM pix.opinions o JOIN pix.features f ON f.item_id = o.item_id
                WHERE o.value <> 0 AND o.signal <> 'skip' AND f.model_name = model.model_name AND f.packed_in <= pack.packed_in
                    AND (users IS NULL OR o.user_id = ANY (users))
                GROUP BY o.user_id
            ) v
            JOIN (SELECT DISTINCT u AS size FROM unnest(sizes) u) s ON v.votes >= s.size + 2
            CROSS JOIN generate_series(1, repeats) r (repeat)
        ) t;
        IF NOT FOUND THEN
            RAISE EXCEPTION USING ERRCODE = 'PX134', MESSAGE = 'Nobody has more votes than are to be trained on',
                HINT = 'Use smaller sizes: sizes => ''{10,20}''.';
        END IF;
    END IF;
    IF NOT pix._is_cluster() THEN
        PERFORM pix._open_blocks(model.model_name);
    END IF;
    COMMIT;
    LOOP
        PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
        PERFORM pix._lock('model_selections', run);
        SELECT max(n.place) INTO place FROM (
            SELECT t.place FROM pix.model_selection_tasks t WHERE t.run = select_models.run ORDER BY t.place LIMIT chunk_size
        ) n;
        EXIT WHEN place IS NULL;
        PERFORM pix._select_chunk(run, place);
        COMMIT;
    END LOOP;
END
$$;
COMMENT ON PROCEDURE
    pix.select_models(text, text[], integer[], text[], text[], integer, text, text, integer, integer) IS
'Compares algorithms on users'' votes, into pix.model_selection_results: for each user, size and repeat, votes are split at random,
parameters are chosen by the AUC of decision scores in cross-validation of what is trained on, with each fold balanced by itself,
and the AUC is measured on the votes that none of this has seen. On all CPU cores or segments, committed after each chunk: stopped
at any moment, it goes on when it is called again with the same arguments.
Arguments: run, its name; users (NULL: all who have votes enough); sizes, votes to train on, 6 to 1,900; balance: none, oversample
(the rarer kind is repeated), class_weight; algorithms, as for pix.train_user_model but hierarchical and ensemble; repeats, how many
splits; model_name, whose features (NULL: the default model); search: grid, or random (three of the grid); seed; chunk_size, tasks per commit.
Errors: PX061 a standby or a read-only transaction, PX062 a call in a transaction,
PX020 unknown model, PX095 a model without packed features, PX128 an argument that cannot be used, PX133 unknown algorithm,
PX134 nobody has so many votes, PX135 unknown balance or search, PX140 a run of this name that asked for something else.
Runs: coordinator, outside a transaction block; the work is done in parallel workers or on the segments.
Example: CALL pix.select_models(''first'', sizes => ''{20}'', algorithms => ''{logistic,nearest}'', repeats => 2);';
REVOKE ALL ON PROCEDURE
    pix.select_models(text, text[], integer[], text[], text[], integer, text, text, integer, integer)
FROM PUBLIC, pix_reader, pix_app, pix_admin;
GRANT EXECUTE ON PROCEDURE
    pix.select_models(text, text[], integer[], text[], text[], integer, text, text, integer, integer)
TO pix_admin;

CREATE OR REPLACE FUNCTION pix.drop_model_selection(run text) RETURNS boolean
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    was_there boolean;
BEGIN
    PERFORM pix._require_coordinator('pix.drop_model_selection', 'Call it alone: SELECT pix.drop_model_selection(…)');
    PERFORM pix._require_writable('pix.drop_model_selection');
    PERFORM pix._lock('model_selections', run);
    DELETE FROM pix.model_selection_tasks t WHERE t.run = drop_model_selection.run;
    DELETE FROM pix.model_selection_results r WHERE r.run = drop_model_selection.run;
    DELETE FROM pix.user_model_policy p WHERE p.run = drop_model_selection.run;
    DELETE FROM pix.model_selections s WHERE s.run = drop_model_selection.run;
    was_there := FOUND;
    RETURN was_there;
END
$$;
COMMENT ON FUNCTION pix.drop_model_selection(text) IS
'Forgets a run of pix.select_models, its results, and the rules that pix.learn_model_policy has made of them.
Arguments: run. Result: whether there was one.
Errors: PX060 a call as a part of a larger query on a cluster,
PX061 a standby or a read-only transaction.
Runs: coordinator.
Example: SELECT pix.drop_model_selection(''first'');';
REVOKE ALL ON FUNCTION pix.drop_model_selection(text) FROM PUBLIC, pix_reader, pix_app, pix_admin;
GRANT EXECUTE ON FUNCTION pix.drop_model_selection(text) TO pix_admin;

CREATE OR REPLACE VIEW pix.model_ranking AS
SELECT m.run, m.size, rank() OVER (PARTITION BY m.run, m.size ORDER BY m.mean_auc DESC NULLS LAST) AS rank, m.algorithm, m.balance,
    m.users, m.mean_auc, m.mean_auc - 1.96 * m.deviation / sqrt(m.users) AS low,
    m.mean_auc + 1.96 * m.deviation / sqrt(m.users) AS high, m.cv_auc, m.cv_auc - m.mean_auc AS gap, m.fit_seconds,
    m.predict_seconds, m.without_result
FROM (
    SELECT u.run, u.size, u.algorithm, u.balance, count(u.test_auc) AS users, avg(u.test_auc) AS mean_auc,
        stddev_samp(u.test_auc) AS deviation, avg(u.cv_auc) AS cv_auc, avg(u.fit_seconds) AS fit_seconds,
        avg(u.predict_seconds) AS predict_seconds, sum(u.without_result)::bigint AS without_result
    FROM (
        SELECT r.run, r.size, r.algorithm, r.balance, r.user_id, avg(r.test_auc) AS test_auc, avg(r.cv_auc) AS cv_auc,
            avg(r.fit_seconds) AS fit_seconds, avg(r.predict_seconds) AS predict_seconds,
            count(*) FILTER (WHERE r.test_auc IS NULL) AS without_result
        FROM pix.model_selection_results r GROUP BY r.run, r.size, r.algorithm, r.balance, r.user_id
    ) u
    GROUP BY u.run, u.size, u.algorithm, u.balance
) m;
COMMENT ON VIEW pix.model_ranking IS
'How algorithms did in runs of pix.select_models, for BI tools: rank among those of a size; users; the mean over users of the AUC on
votes that were not seen, and its 95 % interval from low to high; cv_auc, what cross-validation had promised, and the gap;
seconds to train and to predict; without_result, splits that had no AUC.';
REVOKE ALL ON pix.model_ranking FROM PUBLIC, pix_reader, pix_app, pix_admin;
GRANT SELECT ON pix.model_ranking TO pix_reader;

CREATE OR REPLACE FUNCTION pix.learn_model_policy(run text, min_users integer DEFAULT 3) RETURNS SETOF pix.user_model_policy
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM pix._require_coordinator('pix.learn_model_policy', 'Call it alone: SELECT * FROM pix.learn_model_policy(…)');
    PERFORM pix._require_writable('pix.learn_model_policy');
    IF NOT EXISTS (SELECT FROM pix.model_selections s WHERE s.run = learn_model_policy.run) THEN
        RAISE EXCEPTION USING ERRCODE = 'PX140', MESSAGE = format('There is no run %s', coalesce(quote_literal(run), 'NULL')),
            HINT = 'SELECT run FROM pix.model_selections lists them.';
    END IF;
    IF min_users IS NULL OR min_users < 1 THEN
        RAISE EXCEPTION USING ERRCODE = 'PX128', MESSAGE = format('min_users is %s', coalesce(min_users::text, 'NULL')),
            HINT = 'Use 1 or more: a rule that one user speaks for is a guess.';
    END IF;
    PERFORM pix._lock('user_model_policy', 'learned');
    DELETE FROM pix.user_model_policy p WHERE p.run IS NOT NULL;
    INSERT INTO pix.user_model_policy (
        priority, algorithm, needs_taste, min_votes, max_votes, min_likes, min_dislikes, min_share, max_share, run, reason
    )
    SELECT 1100 + row_number() OVER (ORDER BY b.size, b.bucket), b.algorithm, false,
        coalesce((b.size + b.smaller + 1) / 2, b.size), (b.size + b.larger + 1) / 2 - 1, 2, 2,
        CASE WHEN b.bucket > 0 THEN b.edges[b.bucket] END, CASE WHEN b.bucket < 2 THEN b.edges[b.bucket + 1] END, learn_model_policy.run,
        format('AUC %s over %s users, with balance %s, in run %s', round(b.auc::numeric, 3), b.users, b.balance, learn_model_policy.run)
    FROM (
        SELECT DISTINCT ON (a.size, a.bucket) a.*, ARRAY[0.2, 0.5] AS edges,
            (SELECT max(s.size) FROM pix.model_selection_results s WHERE s.run = learn_model_policy.run AND s.size < a.size) AS smaller,
            (SELECT min(s.size) FROM pix.model_selection_results s WHERE s.run = learn_model_policy.run AND s.size > a.size) AS larger
        FROM (
            SELECT u.size, u.bucket, u.algorithm, u.balance, count(*) AS users, avg(u.auc) AS auc
            FROM (
                SELECT r.size, r.algorithm, r.balance, r.user_id, avg(r.test_auc) AS auc,
                    CASE WHEN avg(r.likes) < 0.2 * r.size THEN 0 WHEN avg(r.likes) < 0.5 * r.size THEN 1 ELSE 2 END AS bucket
                FROM pix.model_selection_results r
                WHERE r.run = learn_model_policy.run AND r.test_auc IS NOT NULL AND r.balance = CASE
                    WHEN r.algorithm IN ('naive_bayes', 'nearest', 'centroid', 'one_class') THEN 'none' ELSE 'class_weight' END
                GROUP BY r.size, r.algorithm, r.balance, r.user_id
            ) u
            GROUP BY u.size, u.bucket, u.algorithm, u.balance
        ) a
        WHERE a.users >= min_users
        ORDER BY a.size, a.bucket, a.auc DESC, a.algorithm, a.balance
    ) b;
    RETURN QUERY SELECT p.* FROM pix.user_model_policy p WHERE p.run = learn_model_policy.run ORDER BY p.priority;
END
$$;
COMMENT ON FUNCTION pix.learn_model_policy(text, integer) IS
'Makes rules of a run of pix.select_models: for each size, and for few (under 20 %), some and many (50 % or more) likes among the votes, the
algorithm with the best AUC on votes that were not seen, as it is trained for users: with class weights, where it has them. They take the place of rules of an earlier run, and come into
pix.user_model_policy after the rules for hierarchical and for likes alone, before the others that come along: rows of the table
can be deleted, or given another priority.
Arguments: run; min_users, how many a rule must have been tried on.
Result: the new rows of pix.user_model_policy.
Errors: PX060 a call as a part of a larger query on a cluster,
PX061 a standby or a read-only transaction, PX128 a min_users below 1, PX140 unknown run.
Runs: coordinator.
Example: SELECT priority, algorithm, min_votes, max_votes, reason FROM pix.learn_model_policy(''first'', 1);';
REVOKE ALL ON FUNCTION pix.learn_model_policy(text, integer) FROM PUBLIC, pix_reader, pix_app, pix_admin;
GRANT EXECUTE ON FUNCTION pix.learn_model_policy(text, integer) TO pix_admin;
