-- Roles and what they may do with tables, in each database. The roles belong to the whole server, and to people
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
