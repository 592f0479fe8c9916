-- Which algorithm suits whom: users' votes are split, algorithms compared on the parts, task by task, and what was found
-- can be made the rule by which models are chosen.

-- How algorithms do on a user's votes, as JSON; NULL if this backend has not opened the blocks.
CREATE OR REPLACE FUNCTION pix_internal.compare_algorithms(
    blocks_key text, blocks integer[], positions integer[], vals double precision[], vectors bytea, size bigint,
    algorithms text[], balances text[], search text, seed bigint
) RETURNS text
LANGUAGE plpython3u STABLE PARALLEL SAFE COST 100000000 SET search_path = pg_catalog, pg_temp
AS $$from pixelplum.server import call; return call(plpy, GD, '@VERSION@', 'algorithm_selection.compare_algorithms', blocks_key, blocks, positions, vals, vectors, size, algorithms, balances, search, seed)$$;

-- pix_internal.compare_algorithms for a user.
CREATE OR REPLACE FUNCTION pix_internal.compare_algorithms_of_user(
    user_id text, model pix.models, size bigint, algorithms text[], balances text[], search text, seed bigint
) RETURNS text
LANGUAGE plpgsql STABLE PARALLEL SAFE COST 100000000 SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    votes pix_internal.user_votes := pix_internal.votes_of_user(user_id, model);
    compared text;
BEGIN
    IF coalesce(cardinality(votes.vals), 0) <= size THEN
        RETURN '[]';  -- votes were taken back since
    END IF;
    FOR attempt IN 1 .. 2 LOOP
        compared := pix_internal.compare_algorithms(votes.blocks_key, votes.blocks, votes.positions, votes.vals, NULL,
            size, algorithms, balances, search, seed);
        IF compared IS NOT NULL THEN
            RETURN compared;
        END IF;
        PERFORM pix_internal.open_blocks(model.model_name);
    END LOOP;
    PERFORM pix_internal.raise_files_vanish();
END
$$;

CREATE OR REPLACE PROCEDURE pix.select_algorithms(
    run text, users text[] DEFAULT NULL, sizes bigint[] DEFAULT '{20,40,60,80}',
    balance text[] DEFAULT '{none,oversample,class_weight}',
    algorithms text[] DEFAULT '{xgboost,random_forest,naive_bayes,svm,logistic,sgd_log,nearest}', repeats bigint DEFAULT 5,
    model_name text DEFAULT NULL, search text DEFAULT 'grid', seed bigint DEFAULT 7, chunk_size bigint DEFAULT 100
)
LANGUAGE plpgsql AS $$
BEGIN
    CALL pix_internal.require_no_transaction('pix.select_algorithms');
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    PERFORM pix_internal.require_writable('pix.select_algorithms');
    PERFORM pix_internal.check_name('run', run);
    PERFORM pix_internal.check_list('users', users);
    PERFORM pix_internal.check_list('sizes', sizes);
    PERFORM pix_internal.check_list('balance', balance);
    PERFORM pix_internal.check_list('algorithms', algorithms);
    PERFORM pix_internal.check_range('repeats', repeats, 1, 1000);
    PERFORM pix_internal.check_range('seed', seed, 0, NULL);
    PERFORM pix_internal.check_range('chunk_size', chunk_size, 1, NULL);
    CALL pix_internal.drive_parts('algorithm_selection.compare_some', pg_catalog.jsonb_build_object(
        'run', run, 'model_name', (pix.find_model(model_name)).model_name, 'chunk_size', chunk_size,
        'users', users, 'sizes', sizes, 'balance', balance, 'algorithms', algorithms, 'repeats', repeats, 'search', search, 'seed', seed));
END
$$;
COMMENT ON PROCEDURE pix.select_algorithms IS
'Compares algorithms on users'' votes, into pix.algorithm_selection_results: for each user, size and repeat, votes are split at
random, parameters are chosen by the AUC of decision scores in cross-validation of what is trained on, with each fold balanced
by itself, and the AUC is measured on the votes that none of this has seen. On all CPU cores or segments, committed after each
chunk: stopped at any moment, it goes on when it is called again with the same arguments.
Arguments: run, its name; users (NULL: all who have votes enough); sizes, votes to train on, 6 to 1,900; balance: none,
oversample (the rarer kind is repeated), class_weight; algorithms, as for pix.train_user_model but hierarchical and ensemble;
repeats, how many splits; model_name, whose features (NULL: the default model); search: grid, or random (three of the grid);
seed; chunk_size, tasks per commit.
Result: none.
Errors: PX003 invalid argument, PX020 unknown model, PX061 read-only, PX062 call in a transaction, PX095 no packed
features, PX134 nobody has so many votes, PX140 a run of this name that asked for something
else.
Runs: coordinator, outside a transaction block; the work is done in parallel workers or on the segments.
Example: CALL pix.select_algorithms(''first'', sizes => ''{20}'', algorithms => ''{logistic,nearest}'', repeats => 2);';

CREATE OR REPLACE FUNCTION pix.drop_algorithm_selection(run text) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pix_internal.check_call('pix.drop_algorithm_selection');
    PERFORM pix_internal.lock('algorithm_selections', run);
    PERFORM pix_internal.forget('run', run,
        '{pix_internal.algorithm_selection_tasks, pix.algorithm_selection_results, pix.algorithm_rules}');
    DELETE FROM pix.algorithm_selections s WHERE s.run = drop_algorithm_selection.run;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'PX140', MESSAGE = format('Run %L is not known', left(run, 200)),
            HINT = 'SELECT run FROM pix.algorithm_selections lists the runs.';
    END IF;
END
$$;
COMMENT ON FUNCTION pix.drop_algorithm_selection IS
'Forgets a run of pix.select_algorithms, its results, and the rules that pix.fit_algorithm_rules has made of them.
Arguments: run.
Result: none.
Errors: PX060 call on segments, PX061 read-only, PX140 unknown run.
Runs: coordinator.
Example: SELECT pix.drop_algorithm_selection(''first'');';

CREATE OR REPLACE VIEW pix.algorithm_selection_progress AS
SELECT s.run, count(t.run) AS pending
FROM pix.algorithm_selections s LEFT JOIN pix_internal.algorithm_selection_tasks t ON t.run = s.run GROUP BY s.run;
COMMENT ON VIEW pix.algorithm_selection_progress IS
'How many splits of votes a run of pix.select_algorithms has still to try: 0 when it is done.';

CREATE OR REPLACE VIEW pix.algorithm_ranking AS
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
        FROM pix.algorithm_selection_results r GROUP BY r.run, r.size, r.algorithm, r.balance, r.user_id
    ) u
    GROUP BY u.run, u.size, u.algorithm, u.balance
) m;
COMMENT ON VIEW pix.algorithm_ranking IS
'How algorithms did in runs of pix.select_algorithms, for BI tools, the best of each size first: the mean AUC on votes that
were not seen, its 95 % interval, and what cross-validation had promised.';

CREATE OR REPLACE FUNCTION pix.fit_algorithm_rules(run text, min_users bigint DEFAULT 3) RETURNS SETOF pix.algorithm_rules
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    weighted text[] := pix_internal.algorithms_with('user model', '{has_class_weight}');
BEGIN
    PERFORM pix_internal.check_call('pix.fit_algorithm_rules');
    IF NOT EXISTS (SELECT FROM pix.algorithm_selections s WHERE s.run = fit_algorithm_rules.run) THEN
        RAISE EXCEPTION USING ERRCODE = 'PX140', MESSAGE = format('Run %L is not known', left(run, 200)),
            HINT = 'SELECT run FROM pix.algorithm_selections lists the runs.';
    END IF;
    PERFORM pix_internal.check_range('min_users', min_users, 1);
    PERFORM pix_internal.lock('algorithm_rules', 'learned');
    DELETE FROM pix.algorithm_rules p WHERE p.run IS NOT NULL;
    INSERT INTO pix.algorithm_rules (priority, algorithm, needs_common_taste, min_votes, max_votes, min_likes,
        min_dislikes, min_fraction, max_fraction, run, reason)
    SELECT 1100 + row_number() OVER (ORDER BY b.size, b.bucket), b.algorithm, false,
        coalesce((b.size + b.smaller + 1) / 2, b.size), (b.size + b.larger + 1) / 2 - 1, 2, 2,
        CASE WHEN b.bucket > 0 THEN b.edges[b.bucket] END, CASE WHEN b.bucket < 2 THEN b.edges[b.bucket + 1] END, fit_algorithm_rules.run,
        format('AUC %s over %s users, with balance %s, in run %s', round(b.auc::numeric, 3), b.users, b.balance, fit_algorithm_rules.run)
    FROM (
        SELECT DISTINCT ON (a.size, a.bucket) a.*, ARRAY[0.2, 0.5] AS edges,
            (SELECT max(s.size) FROM pix.algorithm_selection_results s WHERE s.run = fit_algorithm_rules.run AND s.size < a.size) AS smaller,
            (SELECT min(s.size) FROM pix.algorithm_selection_results s WHERE s.run = fit_algorithm_rules.run AND s.size > a.size) AS larger
        FROM (
            SELECT u.size, u.bucket, u.algorithm, u.balance, count(*) AS users, avg(u.auc) AS auc FROM (
                SELECT r.size, r.algorithm, r.balance, r.user_id, avg(r.test_auc) AS auc,
                    CASE WHEN avg(r.likes) < 0.2 * r.size THEN 0 WHEN avg(r.likes) < 0.5 * r.size THEN 1 ELSE 2 END AS bucket
                FROM pix.algorithm_selection_results r
                WHERE r.run = fit_algorithm_rules.run AND r.test_auc IS NOT NULL AND r.balance = CASE
                    WHEN r.algorithm = ANY (weighted) THEN 'class_weight' ELSE 'none' END
                GROUP BY r.size, r.algorithm, r.balance, r.user_id
            ) u
            GROUP BY u.size, u.bucket, u.algorithm, u.balance
        ) a
        WHERE a.users >= min_users
        ORDER BY a.size, a.bucket, a.auc DESC, a.algorithm, a.balance
    ) b;
    RETURN QUERY SELECT p.* FROM pix.algorithm_rules p WHERE p.run = fit_algorithm_rules.run ORDER BY p.priority;
END
$$;
COMMENT ON FUNCTION pix.fit_algorithm_rules IS
'Makes rules of a run of pix.select_algorithms: for each size, and for few (under 20 %), some and many (50 % or more) likes
among the votes, the algorithm with the best AUC on votes that were not seen, as it is trained for users: with class weights,
where it has them. They take the place of rules of an earlier run, and come into pix.algorithm_rules after the rules for
hierarchical and for likes alone, before the others that come along: rows of the table can be deleted, or given another
priority.
Arguments: run; min_users, how many a rule must have been tried on.
Result: the new rows of pix.algorithm_rules.
Errors: PX003 invalid argument, PX060 call on segments, PX061 read-only, PX140 unknown run.
Runs: coordinator.
Example: SELECT priority, algorithm, min_votes, max_votes, reason FROM pix.fit_algorithm_rules(''first'', 1);';
