-- How well recommendations would have met what users liked afterwards.

CREATE OR REPLACE FUNCTION pix.evaluate_recommenders(
    run text, recommenders text[] DEFAULT '{rules,popularity,random}', k bigint DEFAULT 10, split text DEFAULT 'last',
    model_name text DEFAULT NULL, test_fraction double precision DEFAULT 0.2, max_users bigint DEFAULT 1000, seed bigint DEFAULT 7
) RETURNS SETOF pix.recommender_evaluations
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    recommender text;
BEGIN
    PERFORM pix_internal.check_call('pix.evaluate_recommenders');
    PERFORM pix_internal.check_name('run', run);
    PERFORM pix_internal.check_choice('split', split, '{last,time}');
    PERFORM pix_internal.check_range('k', k, 1, 1000);
    PERFORM pix_internal.check_range('test_fraction', test_fraction, 0.01, 0.99);
    PERFORM pix_internal.check_range('max_users', max_users, 1, NULL);
    PERFORM pix_internal.check_range('seed', seed, 0, NULL);
    PERFORM pix_internal.check_list('recommenders', recommenders);
    IF coalesce(cardinality(recommenders), 0) = 0 THEN
        PERFORM pix_internal.refuse('recommenders must be at least one', 'Name some: rules, popularity, random, or algorithms.');
    END IF;
    FOREACH recommender IN ARRAY recommenders LOOP
        PERFORM pix_internal.check_choice('recommenders', recommender,
            ARRAY['rules', 'popularity', 'random'] || pix_internal.algorithms_with('user model', '{}'));
    END LOOP;
    PERFORM pix_internal.drive('evaluation.evaluate_recommenders', jsonb_build_object(
        'run', run, 'recommenders', recommenders, 'k', k, 'split', split, 'model_name', model_name,
        'test_fraction', test_fraction, 'max_users', max_users, 'seed', seed));
    RETURN QUERY SELECT e.* FROM pix.recommender_evaluations e WHERE e.run = evaluate_recommenders.run ORDER BY e.metric, e.value DESC;
END
$$;
COMMENT ON FUNCTION pix.evaluate_recommenders IS
'How well recommendations would have met what users liked afterwards: models are trained on each user''s earlier votes, all
items that they did not know are ranked, and what they liked afterwards is looked for. Kept in pix.recommender_evaluations, in
the place of an earlier run of this name.
Arguments: run, its name; recommenders: rules (what pix.algorithm_rules chooses), algorithms as for pix.train_user_model, and
for comparison popularity and random; k, how many are recommended; split: last (each user''s last like, and what came after it,
is held out) or time (the newest votes of all); model_name, whose features (NULL: the default model); test_fraction, of the
votes, that split time holds out; max_users, a random sample; seed. Of each user the latest 500 opinions are looked at.
Result: for each recommender and metric, value and 95 % interval over users from low to high: auc (how probably an item that
was liked is ranked before any other that was not known), precision and ndcg of the first k, diversity (mean of 1 - cosine
between these), coverage (fraction of all items that somebody is recommended); users: on how many it was measured.
Errors: PX003 invalid argument, PX020 unknown model, PX024 unusable cache folder, PX060 call on segments, PX061
read-only, PX095 no packed features, PX134 too few votes.
Runs: coordinator.
Example: SELECT recommender, metric, value FROM pix.evaluate_recommenders(''first'', ''{rules,random}'', k => 5);';
