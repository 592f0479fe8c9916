-- Recommendations for everybody, into a table: for BI tools, and for jobs that send e-mail.

CREATE OR REPLACE PROCEDURE pix.recommend_all(
    k bigint DEFAULT 10, users text[] DEFAULT NULL, algorithm text DEFAULT NULL, model_name text DEFAULT NULL
)
LANGUAGE plpgsql AS $$
DECLARE
    begun timestamptz := pg_catalog.clock_timestamp();
BEGIN
    CALL pix_internal.require_no_transaction('pix.recommend_all');
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    PERFORM pix_internal.require_writable('pix.recommend_all');
    PERFORM pix_internal.check_range('k', k, 1, 1000);
    CALL pix.train_user_models(algorithm, users, model_name);
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    CALL pix_internal.drive_parts('recommend_all.recommend_some', pg_catalog.jsonb_build_object(
        'k', k, 'users', users, 'algorithm', algorithm, 'model_name', (pix.find_model(model_name)).model_name,
        'since', begun));
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
