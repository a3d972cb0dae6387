-- Roles with the least rights for a ledger in PostgreSQL.
--
-- Run it as a superuser, connected to Nightread's database: psql --dbname=nightread --file=postgresql-roles.sql
-- You can run it before or after the first `nightread db upgrade`, and again at any time.
-- Then give each role a password (\password nightread_app) or another way to sign in.
--
--   nightread_owner    owns the tables and runs the migrations:   NIGHTREAD_MIGRATION_DATABASE_URL
--   nightread_app      all processes of Nightread:                NIGHTREAD_DATABASE_URL
--   nightread_auditor  reads; signs checkpoints, checks:          NIGHTREAD_DATABASE_URL there
--
-- On the audit trail and the record of accesses, the application may only select and insert. It is no owner, so it
-- cannot switch triggers off.
-- On every other table it may change rows: `nightread erase`, as this role, removes texts and leaves the events.

DO $$
DECLARE
    part record;
    wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['nightread_owner', 'nightread_app', 'nightread_auditor'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted) THEN
            EXECUTE format('CREATE ROLE %I LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE', wanted);
        END IF;
        EXECUTE format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), wanted);
        EXECUTE format('GRANT USAGE ON SCHEMA public TO %I', wanted);
    END LOOP;
    REVOKE CREATE ON SCHEMA public FROM PUBLIC;
    GRANT CREATE ON SCHEMA public TO nightread_owner;

    -- Everything that an earlier role made belongs to the owner from now on.
    FOR part IN
        SELECT relname FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
    LOOP
        EXECUTE format('ALTER TABLE public.%I OWNER TO nightread_owner', part.relname);
    END LOOP;
    FOR part IN
        SELECT oid::regprocedure AS signature FROM pg_proc
        WHERE pronamespace = 'public'::regnamespace AND prokind = 'f'
          AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = pg_proc.oid AND deptype = 'e')
    LOOP
        EXECUTE format('ALTER FUNCTION %s OWNER TO nightread_owner', part.signature);
    END LOOP;
END $$;

-- Tables that exist, and tables that a later migration creates.
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO nightread_app;
GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO nightread_app;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO nightread_auditor;
ALTER DEFAULT PRIVILEGES FOR ROLE nightread_owner IN SCHEMA public
    GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO nightread_app;
ALTER DEFAULT PRIVILEGES FOR ROLE nightread_owner IN SCHEMA public
    GRANT USAGE, SELECT ON SEQUENCES TO nightread_app;
ALTER DEFAULT PRIVILEGES FOR ROLE nightread_owner IN SCHEMA public
    GRANT SELECT ON TABLES TO nightread_auditor;

-- `nightread db upgrade` does the same after it has created these tables.
DO $$
DECLARE
    append_only text;
BEGIN
    FOREACH append_only IN ARRAY ARRAY['audit_event', 'access_record', 'access_batch'] LOOP
        IF to_regclass('public.' || append_only) IS NOT NULL THEN
            EXECUTE format('REVOKE UPDATE, DELETE, TRUNCATE ON public.%I FROM nightread_app', append_only);
        END IF;
    END LOOP;
    IF to_regclass('public.alembic_version') IS NOT NULL THEN
        REVOKE INSERT, UPDATE, DELETE, TRUNCATE ON public.alembic_version FROM nightread_app;
    END IF;
END $$;
