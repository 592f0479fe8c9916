-- What functions ask first: who may write, who takes turns, what kind of transaction this is.

-- A list is not a table: what reads one by its places, or in Python, would find lists in it.
CREATE OR REPLACE FUNCTION pix._check_list(argument text, elements anyarray) RETURNS void
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF array_ndims(elements) > 1 THEN
        RAISE EXCEPTION USING ERRCODE = 'PX077',
            MESSAGE = format('%s must be a list of one dimension, not an array of %s', argument, array_ndims(elements)),
            HINT = format('Write %s => ''{a,b}'', without braces inside the braces.', argument);
    END IF;
END
$$;
COMMENT ON FUNCTION pix._check_list(text, anyarray) IS
'Internal: refuses an array of more than one dimension. Errors: PX077. Runs: either.';
REVOKE ALL ON FUNCTION pix._check_list(text, anyarray) FROM PUBLIC, pix_reader, pix_app, pix_admin;
GRANT EXECUTE ON FUNCTION pix._check_list(text, anyarray) TO pix_reader;

-- What is written of a bound is what a person would: 100,000 and 0.5.
CREATE OR REPLACE FUNCTION pix._check_range(
    argument text, given double precision, lowest double precision, highest double precision
) RETURNS void
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    low text := CASE WHEN lowest = trunc(lowest) THEN to_char(lowest, 'FM999,999,999,990') ELSE lowest::text END;
    high text := CASE WHEN highest = trunc(highest) THEN to_char(highest, 'FM999,999,999,990') ELSE highest::text END;
BEGIN
    IF given BETWEEN lowest AND coalesce(highest, 'Infinity') THEN
        RETURN;
    END IF;
    RAISE EXCEPTION USING ERRCODE = 'PX128',
        MESSAGE = format('%s must be %s, not %s', argument, coalesce('from ' || low || ' to ' || high, low || ' or more'), coalesce(given::text, 'NULL')),
        HINT = format('Give another one, such as %s => %s, or leave it out to have the default.', argument, lowest);
END
$$;
COMMENT ON FUNCTION pix._check_range(text, double precision, double precision, double precision) IS
'Internal: refuses a number that is missing, NaN or out of its range, both ends of which are in it; highest may be NULL. Errors: PX128. Runs: either.';
REVOKE ALL ON FUNCTION pix._check_range(text, double precision, double precision, double precision) FROM PUBLIC, pix_reader, pix_app, pix_admin;
GRANT EXECUTE ON FUNCTION pix._check_range(text, double precision, double precision, double precision) TO pix_reader;

-- On a standby nothing can be written, and a role may have been told not to. Inlined, as it is asked for every vote: so it has
-- no SET clause, and names everything in full.
CREATE OR REPLACE FUNCTION pix._is_read_only() RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE
AS $$SELECT pg_catalog.current_setting('transaction_read_only')::pg_catalog.bool$$;
COMMENT ON FUNCTION pix._is_read_only() IS 'Internal: whether this transaction can write nothing. Runs: either.';
REVOKE ALL ON FUNCTION pix._is_read_only() FROM PUBLIC, pix_reader, pix_app, pix_admin;
GRANT EXECUTE ON FUNCTION pix._is_read_only() TO pix_reader;

CREATE OR REPLACE FUNCTION pix._require_writable(function text) RETURNS void
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF pix._is_read_only() THEN
        RAISE EXCEPTION USING ERRCODE = 'PX061', MESSAGE = format('%s has to write, and %s', function,
                CASE WHEN pg_is_in_recovery() THEN 'this server is a standby' ELSE 'this transaction is read-only' END),
            HINT = CASE WHEN pg_is_in_recovery() THEN 'Ask the primary server.'
                ELSE 'Use BEGIN READ WRITE, or a role that does not have default_transaction_read_only.' END;
    END IF;
END
$$;
COMMENT ON FUNCTION pix._require_writable(text) IS
'Internal: refuses to go on where nothing can be written, and says where to ask. Errors: PX061. Runs: either.';
REVOKE ALL ON FUNCTION pix._require_writable(text) FROM PUBLIC, pix_reader, pix_app, pix_admin;
GRANT EXECUTE ON FUNCTION pix._require_writable(text) TO pix_reader;

-- A procedure: whether its caller may commit is told only by trying, and PL/pgSQL cannot catch what that raises. It has to work
-- where the package is missing, which is told afterwards.
CREATE OR REPLACE PROCEDURE pix._require_no_transaction(procedure text)
LANGUAGE plpython3u
AS $$
try:
    plpy.commit()
except plpy.SPIError:
    may_commit = False
else:
    may_commit = True
if not may_commit:
    plpy.error(
        f'{procedure} commits what it has done, and so it cannot be a part of a transaction', sqlstate='PX062',
        hint=f'Call it alone: CALL {procedure}(…); in a connection with autocommit, not between BEGIN and COMMIT, not with other '
        'statements in one string, and not in a function.'
    )
$$;
COMMENT ON PROCEDURE pix._require_no_transaction(text) IS
'Internal: refuses to go on in a transaction of the caller''s, and commits what there is in its own. Errors: PX062.
Runs: coordinator.';
REVOKE ALL ON PROCEDURE pix._require_no_transaction(text) FROM PUBLIC, pix_reader, pix_app, pix_admin;
GRANT EXECUTE ON PROCEDURE pix._require_no_transaction(text) TO pix_reader;

-- Whoever waited for a lock has to see what was done until then.
CREATE OR REPLACE FUNCTION pix._require_read_committed() RETURNS void
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF current_setting('transaction_isolation') IN ('repeatable read', 'serializable') THEN
        RAISE EXCEPTION USING ERRCODE = 'PX130',
            MESSAGE = format('Whoever takes turns has to see what others wrote before: not in a transaction that is %s',
                current_setting('transaction_isolation')),
            HINT = 'Use BEGIN ISOLATION LEVEL READ COMMITTED, or no transaction of your own.';
    END IF;
END
$$;
COMMENT ON FUNCTION pix._require_read_committed() IS
'Internal: refuses to work on what was true when the transaction began. Errors: PX130. Runs: either.';
REVOKE ALL ON FUNCTION pix._require_read_committed() FROM PUBLIC, pix_reader, pix_app, pix_admin;
GRANT EXECUTE ON FUNCTION pix._require_read_committed() TO pix_reader;

-- Advisory locks would do, but anybody who may connect can take those. A row of a cluster's table is locked with the whole
-- table; so there it is the table that is written, in a mode that keeps out nobody else.
CREATE OR REPLACE FUNCTION pix._lock(subject text, name text) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF pix._is_cluster() THEN
        EXECUTE format('LOCK TABLE pix.%I IN SHARE UPDATE EXCLUSIVE MODE', subject);
    ELSE
        INSERT INTO pix.locks (subject, name) VALUES (_lock.subject, coalesce(_lock.name, '')) ON CONFLICT DO NOTHING;
        PERFORM FROM pix.locks l WHERE l.subject = _lock.subject AND l.name = coalesce(_lock.name, '') FOR UPDATE;
    END IF;
END
$$;
COMMENT ON FUNCTION pix._lock(text, text) IS
'Internal: who writes something of a table takes turns with others who do, until the end of the transaction. Runs: coordinator.';
REVOKE ALL ON FUNCTION pix._lock(text, text) FROM PUBLIC, pix_reader, pix_app, pix_admin;
GRANT EXECUTE ON FUNCTION pix._lock(text, text) TO pix_admin;

CREATE OR REPLACE FUNCTION pix._try_lock(subject text, name text) RETURNS boolean
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '50ms'
AS $$
BEGIN
    PERFORM pix._lock(subject, name);
    RETURN true;
EXCEPTION WHEN lock_not_available THEN
    RETURN false;
END
$$;
COMMENT ON FUNCTION pix._try_lock(text, text) IS
'Internal: as pix._lock, but tells whether it got its turn at once. Runs: coordinator.';
REVOKE ALL ON FUNCTION pix._try_lock(text, text) FROM PUBLIC, pix_reader, pix_app, pix_admin;
GRANT EXECUTE ON FUNCTION pix._try_lock(text, text) TO pix_admin;
