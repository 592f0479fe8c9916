-- Files of the cache of a host: models, blocks and indexes, restored from the database where they are missing.
-- STABLE: they change files, not the database, and parallel workers run nothing volatile.

-- Which files of a kind the cache of this host lacks, or has damaged.
CREATE OR REPLACE FUNCTION pix_internal.missing_files(checksums text[], kind text) RETURNS text[]
LANGUAGE plpython3u STABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$from pixelplum.server import call; return call(plpy, GD, '@VERSION@', 'files.missing_files', checksums, kind)$$;

-- Appends a part to the file that is being restored.
CREATE OR REPLACE FUNCTION pix_internal.write_file_part(checksum text, part bigint, content bytea) RETURNS void
LANGUAGE plpython3u STABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$from pixelplum.server import call; return call(plpy, GD, '@VERSION@', 'files.write_file_part', checksum, part, content)$$;

-- Checks and names the restored file.
CREATE OR REPLACE FUNCTION pix_internal.finish_file(checksum text, kind text) RETURNS void
LANGUAGE plpython3u STABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$from pixelplum.server import call; return call(plpy, GD, '@VERSION@', 'files.finish_file', checksum, kind)$$;

-- Says that files cannot be kept.
CREATE OR REPLACE FUNCTION pix_internal.raise_files_vanish() RETURNS void
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = 'PX024', MESSAGE = 'Files of the cache folder vanish as soon as they are restored',
        HINT = 'Find out what removes them: SELECT found FROM pix.doctor() WHERE "check" = ''cache'';';
END
$$;
