# Drops a site's database and its user. May run any number of times.
#   in    SYSTEM_USER  DB_NAME  DB_USER
#   out   removed=yes|no
#   exit  0 done   75 error=service-down   70 error=invalid-config
case $DB_NAME$DB_USER in *[!a-z0-9_]*) fail invalid-config "not a database name: $DB_NAME" ;; esac
case $DB_NAME in s_?*) ;; *) fail invalid-config "not a site's database: $DB_NAME" ;; esac
need mariadb
sql() { mariadb --user=root --batch --skip-column-names --connect-timeout=10; }
printf 'SELECT 1;\n' | sql >/dev/null || fail service-down "MariaDB does not answer root on its socket"
removed=no
found=$(printf "SELECT 1 FROM information_schema.schemata WHERE schema_name = '%s';\n" "$DB_NAME" | sql)
[ -z "$found" ] || removed=yes
sql >&2 <<SQL || fail unexpected "the database cannot be dropped"
DROP USER IF EXISTS \`$DB_USER\`@localhost;
DROP DATABASE IF EXISTS \`$DB_NAME\`;
SQL
rm -f -- "/etc/chom/sites/$SYSTEM_USER/db.cnf"
out removed "$removed"
