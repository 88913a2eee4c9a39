"""What people have put onto a table, as statements that put it onto another one: asked of PostgreSQL's own catalogs.

Each query has columns `what`, for errors, and `statement`; its parameters are the oids `old` and `new`, and `kept`,
names of columns that are deliveries' own. The search path is empty, so that all names are whole.
"""

from __future__ import annotations

from typing import Final


def _with(tables: str, query: str) -> str:
    return f"{tables}{query}"


_COLUMNS: Final = """
WITH columns AS (
    SELECT a.*, to_jsonb(a) AS told, d.oid AS default_oid, pg_get_expr(d.adbin, d.adrelid) AS expression
    FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE a.attnum > 0 AND NOT a.attisdropped
),
o AS (SELECT * FROM columns WHERE attrelid = %(old)s),
n AS (SELECT * FROM columns WHERE attrelid = %(new)s),
t AS (SELECT %(new)s::oid::regclass::text AS name)
"""
_INDEXES: Final = """
WITH named AS (
    SELECT i.*, c.relname, c.reltablespace, pg_get_indexdef(c.oid) AS definition,
        format('CREATE %%sINDEX %%I ON %%s', CASE WHEN i.indisunique THEN 'UNIQUE ' ELSE '' END, c.relname,
            i.indrelid::regclass) AS head
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
    WHERE i.indrelid IN (%(old)s, %(new)s) AND i.indisvalid AND NOT EXISTS (
        SELECT FROM pg_constraint k WHERE k.conindid = c.oid AND k.contype IN ('p', 'u', 'x'))
),
indexes AS (
    SELECT *, row_number() OVER (PARTITION BY indrelid, indisunique, body ORDER BY relname) AS number
    FROM named, LATERAL (
        SELECT CASE WHEN starts_with(definition, head) THEN substr(definition, length(head) + 1) END AS body) AS cut
),
i AS (
    SELECT o.*, n.indexrelid AS made, n.relname AS made_name
    FROM indexes o LEFT JOIN indexes n ON n.indrelid = %(new)s
        AND (n.indisunique, n.body, n.number) = (o.indisunique, o.body, o.number)
    WHERE o.indrelid = %(old)s
)
"""
_CONSTRAINTS: Final = """
WITH constraints AS (
    SELECT *, pg_get_constraintdef(oid) AS definition,
        row_number() OVER (PARTITION BY conrelid, pg_get_constraintdef(oid) ORDER BY conname) AS number
    FROM pg_constraint WHERE conrelid IN (%(old)s, %(new)s) AND contype IN ('c', 'f', 'n', 'u', 'x')
),
k AS (
    SELECT o.*, n.conname AS made_name
    FROM constraints o LEFT JOIN constraints n ON n.conrelid = %(new)s
        AND (n.definition, n.number) = (o.definition, o.number)
    WHERE o.conrelid = %(old)s
)
"""
BEFORE: Final = (
    _with(
        _COLUMNS,
        """
    SELECT 'the column ' || o.attname, format('ALTER TABLE %%s ADD COLUMN %%I %%s%%s GENERATED ALWAYS AS (%%s) %%s',
        t.name, o.attname, format_type(o.atttypid, o.atttypmod),
        CASE WHEN o.attcollation NOT IN (0, 100) THEN ' COLLATE ' || o.attcollation::regcollation ELSE '' END,
        o.expression, CASE o.attgenerated WHEN 's' THEN 'STORED' ELSE 'VIRTUAL' END)
    FROM o, t WHERE o.attgenerated <> '' AND o.attname NOT IN (SELECT attname FROM n)
    ORDER BY o.attnum
    """,
    ),
    _with(
        _COLUMNS,
        """
    SELECT 'the settings of column ' || o.attname, format('ALTER TABLE %%s ALTER COLUMN %%I %%s', t.name, o.attname, s)
    FROM t, o JOIN n USING (attname), LATERAL (VALUES
        (CASE WHEN o.atttypid = n.atttypid AND o.attstorage <> n.attstorage THEN 'SET STORAGE ' || CASE o.attstorage
            WHEN 'p' THEN 'PLAIN' WHEN 'e' THEN 'EXTERNAL' WHEN 'm' THEN 'MAIN' ELSE 'EXTENDED' END END),
        (CASE WHEN o.atttypid = n.atttypid AND o.told->>'attcompression' <> n.told->>'attcompression'
            THEN 'SET COMPRESSION ' ||
            CASE o.told->>'attcompression' WHEN 'l' THEN 'lz4' WHEN 'p' THEN 'pglz' ELSE 'default' END END),
        (CASE WHEN coalesce(o.attstattarget, -1) <> coalesce(n.attstattarget, -1)
            THEN 'SET STATISTICS ' || coalesce(o.attstattarget, -1) END),
        (CASE WHEN o.attoptions IS DISTINCT FROM n.attoptions AND o.attoptions IS NOT NULL
            THEN 'SET (' || array_to_string(o.attoptions, ', ') || ')' END),
        (CASE WHEN o.atttypid = n.atttypid AND o.attgenerated = '' AND o.expression IS DISTINCT FROM n.expression
            AND o.expression IS NOT NULL
            THEN 'SET DEFAULT ' || o.expression END),
        (CASE WHEN o.attnotnull AND NOT n.attnotnull AND NOT EXISTS (SELECT FROM pg_constraint k
            WHERE k.conrelid = o.attrelid AND k.contype = 'n' AND k.conkey = ARRAY[o.attnum]) THEN 'SET NOT NULL' END)
    ) AS settings(s) WHERE s IS NOT NULL
    """,
    ),
    """
    WITH r AS (
        SELECT c.oid, c.reltablespace, c.relpersistence, ARRAY(SELECT unnest(c.reloptions)
            UNION ALL SELECT 'toast.' || unnest(x.reloptions)) AS options
        FROM pg_class c LEFT JOIN pg_class x ON x.oid = c.reltoastrelid
    ),
    given AS (SELECT option, at FROM r, unnest(options) WITH ORDINALITY AS o(option, at) WHERE oid = %(old)s),
    made AS (SELECT unnest(options) AS option FROM r WHERE oid = %(new)s)
    SELECT 'its settings', format('ALTER TABLE %%s %%s', %(new)s::oid::regclass, s)
    FROM r o JOIN r n ON n.oid = %(new)s, LATERAL (VALUES
        ((SELECT 'SET (' || string_agg(option, ', ' ORDER BY at) || ')' FROM given
            WHERE option NOT IN (SELECT option FROM made))),
        ((SELECT 'RESET (' || string_agg(split_part(option, '=', 1), ', ') || ')' FROM made
            WHERE split_part(option, '=', 1) NOT IN (SELECT split_part(option, '=', 1) FROM given))),
        (CASE WHEN o.reltablespace <> n.reltablespace THEN (SELECT format('SET TABLESPACE %%I', s.spcname)
            FROM pg_database d JOIN pg_tablespace s ON s.oid = coalesce(nullif(o.reltablespace, 0), d.dattablespace)
            WHERE d.datname = current_database()) END),
        (CASE WHEN o.relpersistence <> n.relpersistence
            THEN CASE o.relpersistence WHEN 'u' THEN 'SET UNLOGGED' ELSE 'SET LOGGED' END END)
    ) AS settings(s) WHERE o.oid = %(old)s AND s IS NOT NULL
    """,
    _with(
        _CONSTRAINTS,
        """
    SELECT 'the constraint ' || conname, format('ALTER TABLE %%s ADD CONSTRAINT %%I %%s', %(new)s::oid::regclass,
        CASE WHEN contype IN ('c', 'f', 'n') THEN conname ELSE
            (SELECT relname FROM pg_class WHERE oid = %(new)s) || '_c' || oid END, definition)
    FROM k WHERE made_name IS NULL ORDER BY contype, conname
    """,
    ),
    _with(
        _INDEXES,
        """
    SELECT 'the index ' || relname, format('SET LOCAL default_tablespace = %%L; CREATE %%sINDEX %%I ON %%s%%s',
        coalesce((SELECT spcname FROM pg_tablespace WHERE oid = reltablespace), ''),
        CASE WHEN indisunique THEN 'UNIQUE ' ELSE '' END,
        (SELECT relname FROM pg_class WHERE oid = %(new)s) || '_i' || indexrelid, %(new)s::oid::regclass, body)
    FROM i WHERE made IS NULL ORDER BY relname
    """,
    ),
)
"""What takes long, for what the new table lacks of it; done while readers have the old one. Indexes, and constraints
that have one, get names of their own until then."""

VIEWS: Final = """
SELECT DISTINCT 'the view ' || v.oid::regclass, format('CREATE OR REPLACE VIEW %%s%%s AS %%s', v.oid::regclass,
    ' WITH (' || array_to_string(v.reloptions, ', ') || ')', pg_get_viewdef(v.oid)), v.oid::regclass::text
FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid JOIN pg_class v ON v.oid = r.ev_class
WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = %(old)s
    AND v.relkind = 'v'
"""
"""Views on the table itself, as they are to be made when the new one has its name; the third column is theirs."""

AFTER: Final = (
    _with(
        _INDEXES,
        """
    SELECT 'the index ' || relname, format('ALTER INDEX %%s RENAME TO %%I', made::regclass, relname) FROM i
    UNION ALL SELECT 'the comment of index ' || relname, format('COMMENT ON INDEX %%s IS %%L',
        indexrelid::regclass, obj_description(indexrelid)) FROM i WHERE obj_description(indexrelid) IS NOT NULL
    UNION ALL SELECT 'the index ' || relname, format('ALTER TABLE %%s CLUSTER ON %%I', indrelid::regclass, relname)
        FROM i WHERE indisclustered
    UNION ALL SELECT 'the index ' || relname, format('ALTER TABLE %%s REPLICA IDENTITY USING INDEX %%I',
        indrelid::regclass, relname) FROM i WHERE indisreplident
    """,
    ),
    _with(
        _CONSTRAINTS,
        """
    SELECT 'the constraint ' || conname, format('ALTER TABLE %%s RENAME CONSTRAINT %%I TO %%I', conrelid::regclass,
        made_name, conname) FROM k WHERE made_name <> conname
    UNION ALL SELECT 'the comment of constraint ' || conname, format('COMMENT ON CONSTRAINT %%I ON %%s IS %%L', conname,
        conrelid::regclass, obj_description(oid)) FROM k WHERE obj_description(oid) IS NOT NULL
    """,
    ),
    """
    SELECT 'its owner', format('ALTER TABLE %%s OWNER TO %%I', o.oid::regclass, pg_get_userbyid(o.relowner))
    FROM pg_class o JOIN pg_class n ON n.oid = %(new)s AND n.relowner <> o.relowner WHERE o.oid = %(old)s
    UNION ALL
    SELECT 'its replica identity', format('ALTER TABLE %%s REPLICA IDENTITY %%s', oid::regclass,
        CASE relreplident WHEN 'f' THEN 'FULL' ELSE 'NOTHING' END)
    FROM pg_class WHERE oid = %(old)s AND relreplident IN ('f', 'n')
    """,
    """
    SELECT DISTINCT 'its grants', format('REVOKE ALL ON TABLE %%s FROM %%s', o.oid::regclass,
        CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(g.grantee)) END)
    FROM pg_class o JOIN pg_class n ON n.oid = %(new)s, aclexplode(coalesce(n.relacl, acldefault('r', o.relowner))) g
    WHERE o.oid = %(old)s AND (o.relacl, o.relowner) IS DISTINCT FROM (n.relacl, n.relowner)
    """,
    """
    WITH granted AS (
        SELECT c.oid::regclass AS name, g.*, NULL::name AS attname
        FROM pg_class c JOIN pg_class n ON n.oid = %(new)s,
            aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) g
        WHERE c.oid = %(old)s AND (c.relacl, c.relowner) IS DISTINCT FROM (n.relacl, n.relowner)
        UNION ALL
        SELECT a.attrelid::regclass, g.*, a.attname FROM pg_attribute a, aclexplode(a.attacl) g
        WHERE a.attrelid = %(old)s AND NOT a.attisdropped
            AND a.attname IN (SELECT attname FROM pg_attribute WHERE attrelid = %(new)s)
    )
    SELECT 'its grants', format('GRANT %%s%%s ON TABLE %%s TO %%s%%s', privilege_type,
        ' (' || quote_ident(attname) || ')', name,
        CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END,
        CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
    FROM granted
    """,
    _with(
        _COLUMNS,
        """
    SELECT 'its comment', format('COMMENT ON TABLE %%s IS %%L', %(old)s::oid::regclass,
        obj_description(%(old)s, 'pg_class'))
    WHERE obj_description(%(old)s, 'pg_class') IS NOT NULL
    UNION ALL
    SELECT 'the comment of column ' || o.attname, format('COMMENT ON COLUMN %%s.%%I IS %%L', o.attrelid::regclass,
        o.attname, col_description(o.attrelid, o.attnum))
    FROM o JOIN n USING (attname) WHERE col_description(o.attrelid, o.attnum) IS NOT NULL
    """,
    ),
    """
    SELECT 'the statistics ' || stxname, pg_get_statisticsobjdef(oid) FROM pg_statistic_ext WHERE stxrelid = %(old)s
    """,
    """
    SELECT 'the policy ' || p.polname, format('CREATE POLICY %%I ON %%s AS %%s FOR %%s TO %%s%%s%%s', p.polname,
        p.polrelid::regclass, CASE WHEN p.polpermissive THEN 'PERMISSIVE' ELSE 'RESTRICTIVE' END,
        CASE p.polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE' WHEN 'd' THEN 'DELETE'
            ELSE 'ALL' END,
        (SELECT string_agg(CASE r WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(r)) END, ', ')
            FROM unnest(p.polroles) r),
        ' USING (' || pg_get_expr(p.polqual, p.polrelid) || ')',
        ' WITH CHECK (' || pg_get_expr(p.polwithcheck, p.polrelid) || ')')
    FROM pg_policy p WHERE p.polrelid = %(old)s
    UNION ALL
    SELECT 'its row security', format('ALTER TABLE %%s %%s ROW LEVEL SECURITY', oid::regclass, s)
    FROM pg_class, LATERAL (VALUES (CASE WHEN relrowsecurity THEN 'ENABLE' END),
        (CASE WHEN relforcerowsecurity THEN 'FORCE' END)) AS settings(s)
    WHERE oid = %(old)s AND s IS NOT NULL
    """,
    """
    SELECT 'the trigger ' || tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE tgrelid = %(old)s AND NOT tgisinternal
    UNION ALL
    SELECT 'the trigger ' || tgname, format('ALTER TABLE %%s %%s TRIGGER %%I', tgrelid::regclass,
        CASE tgenabled WHEN 'D' THEN 'DISABLE' WHEN 'R' THEN 'ENABLE REPLICA' ELSE 'ENABLE ALWAYS' END, tgname)
    FROM pg_trigger WHERE tgrelid = %(old)s AND NOT tgisinternal AND tgenabled <> 'O'
    """,
)
"""What is done in a moment, when the new table has the old one's name and that one is gone."""

NEVER: Final = """
SELECT pg_describe_object(d.classid, d.objid, d.objsubid)
FROM pg_depend d
LEFT JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid
LEFT JOIN pg_class v ON v.oid = r.ev_class
LEFT JOIN pg_constraint k ON d.classid = 'pg_constraint'::regclass AND k.oid = d.objid
LEFT JOIN pg_trigger g ON d.classid = 'pg_trigger'::regclass AND g.oid = d.objid
LEFT JOIN pg_policy p ON d.classid = 'pg_policy'::regclass AND p.oid = d.objid
WHERE d.deptype <> 'i' AND (
        d.refclassid = 'pg_class'::regclass AND (d.refobjid = %(old)s
            OR d.refobjid IN (SELECT indexrelid FROM pg_index WHERE indrelid = %(old)s))
        OR d.refclassid = 'pg_type'::regclass AND d.refobjid IN (
            SELECT unnest(ARRAY[t.oid, t.typarray]) FROM pg_type t WHERE t.typrelid = %(old)s))
    AND v.relkind IS DISTINCT FROM 'v' AND k.conrelid IS DISTINCT FROM %(old)s AND p.polrelid IS DISTINCT FROM %(old)s
    AND (g.oid IS NULL OR g.tgrelid <> %(old)s AND NOT g.tgisinternal)
    AND d.classid NOT IN ('pg_attrdef'::regclass, 'pg_statistic_ext'::regclass)
    AND NOT (d.classid = 'pg_class'::regclass AND (d.objid = %(old)s
        OR d.objid IN (SELECT indexrelid FROM pg_index WHERE indrelid = %(old)s)))
UNION
SELECT 'column ' || attname FROM pg_attribute WHERE attrelid = %(old)s AND attnum > 0 AND NOT attisdropped
    AND attgenerated = '' AND attname <> ALL(%(kept)s)
UNION
SELECT 'table ' || inhparent::regclass || ', of which it is a part' FROM pg_inherits WHERE inhrelid = %(old)s
UNION
SELECT 'a security label' FROM pg_seclabel WHERE classoid = 'pg_class'::regclass AND objoid = %(old)s
ORDER BY 1
"""
"""What no other table can be given: what depends on this one and is no view, rows of other tables that refer to its
own, columns whose values only it has."""
