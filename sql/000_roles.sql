-- Roles and what they may do with tables, in each database anew. The roles belong to the whole server, and to people
-- who were granted them: they are never dropped here.

DO $$
DECLARE
    role_name text;
BEGIN
    FOREACH role_name IN ARRAY ARRAY['pix_reader', 'pix_app', 'pix_admin'] LOOP
        IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = role_name) THEN
            BEGIN
                EXECUTE pg_catalog.format('CREATE ROLE %I NOLOGIN', role_name);
            EXCEPTION WHEN duplicate_object OR unique_violation THEN
                NULL;  -- another database made it just now
            END;
        END IF;
    END LOOP;
    -- Loading and extracting use temporary tables, which a careful owner keeps from PUBLIC.
    EXECUTE pg_catalog.format('GRANT TEMPORARY ON DATABASE %I TO pix_admin', pg_catalog.current_database());
END
$$;

GRANT pix_reader TO pix_app;
GRANT pix_app TO pix_admin;

-- Whatever was granted once and is not granted below, or beside a function or view, is taken back.
REVOKE ALL ON SCHEMA pix FROM PUBLIC, pix_reader, pix_app, pix_admin;
REVOKE ALL ON ALL SEQUENCES IN SCHEMA pix FROM PUBLIC, pix_reader, pix_app, pix_admin;

GRANT USAGE ON SCHEMA pix TO pix_reader;
DO $$
DECLARE
    named record;
BEGIN
    FOR named IN
        SELECT t.oid::pg_catalog.regtype AS name FROM pg_catalog.pg_type t LEFT JOIN pg_catalog.pg_class c ON c.oid = t.typrelid
        WHERE t.typnamespace = 'pix'::pg_catalog.regnamespace AND (t.typtype = 'd' OR c.relkind = 'c')
    LOOP
        EXECUTE pg_catalog.format('REVOKE ALL ON TYPE %s FROM PUBLIC, pix_reader, pix_app, pix_admin', named.name);
        EXECUTE pg_catalog.format('GRANT USAGE ON TYPE %s TO pix_reader', named.name);
    END LOOP;
    FOR named IN
        SELECT c.oid::pg_catalog.regclass AS name FROM pg_catalog.pg_class c
        WHERE c.relnamespace = 'pix'::pg_catalog.regnamespace AND c.relkind = 'r'
            AND c.relname <> 'alembic_version'
    LOOP
        EXECUTE pg_catalog.format('REVOKE ALL ON %s FROM PUBLIC, pix_reader, pix_app, pix_admin', named.name);
        EXECUTE pg_catalog.format('GRANT SELECT ON %s TO pix_reader', named.name);
    END LOOP;
END
$$;

-- What people bring, and what comes of it that no backend opens. All else is written by the owner's functions alone: bytes that
-- are opened in a backend, such as parts of models and indexes, blocks and users' models, and whatever says how to read them.
GRANT INSERT, UPDATE, DELETE ON
    pix.settings, pix.items, pix.images, pix.labels, pix.extraction_failures, pix.extraction_runs, pix.predictions,
    pix.neighbors, pix.neighbor_graphs, pix.cluster_members, pix.map_points, pix.users, pix.signals, pix.interactions,
    pix.impressions, pix.arms, pix.arm_priors, pix.simulations, pix.simulation_curves, pix.user_model_failures,
    pix.user_model_policy, pix.recommendations, pix.model_selections, pix.model_selection_tasks, pix.model_selection_results,
    pix.recommender_evaluations
TO pix_admin;
GRANT INSERT (item_id, model_name, model_checksum, image_sha256, vector, extracted_at),
    UPDATE (item_id, model_name, model_checksum, image_sha256, vector, extracted_at), DELETE
ON pix.features TO pix_admin;
-- A model whose features are loaded from elsewhere: it has no network.
GRANT INSERT (model_name, dimensions, source) ON pix.models TO pix_admin;
