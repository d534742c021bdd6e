# Makes a site's database and its user, and gives the user the wanted password, whatever it was before.
# May run any number of times: record and server agree afterwards.
#   in    SYSTEM_USER  DB_NAME  DB_USER  DB_PASSWORD (secret)
#   out   created=yes|no (the database)  socket=<path>
#   exit  0 done   75 error=service-down   70 error=db-auth, invalid-config, tool-missing
need mariadb od
case $DB_NAME$DB_USER in *[!a-z0-9_]*) fail invalid-config "not a database name: $DB_NAME" ;; esac
case $DB_PASSWORD in *[!A-Za-z0-9]* | '') fail invalid-config "the password is not of A-Z a-z 0-9" ;; esac

sql() { mariadb --user=root --batch --skip-column-names --connect-timeout=10; }
printf 'SELECT 1;\n' | sql >/dev/null || fail service-down "MariaDB does not answer root on its socket"

created=no
found=$(printf "SELECT 1 FROM information_schema.schemata WHERE schema_name = '%s';\n" "$DB_NAME" | sql)
[ -n "$found" ] || created=yes
password=$(printf %s "$DB_PASSWORD" | od -An -v -tx1 | tr -d ' \n')
# In a grant the name is a pattern, in which _ stands for any character.
pattern=$(printf %s "$DB_NAME" | sed 's/_/\\_/g')
sql >&2 <<SQL || fail db-auth "the database or its user cannot be made"
SET SESSION sql_log_off = 1;
SET SESSION sql_mode = '';
CREATE DATABASE IF NOT EXISTS \`$DB_NAME\` CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci;
SET @password = QUOTE(CONVERT(UNHEX('$password') USING utf8mb4));
EXECUTE IMMEDIATE CONCAT('CREATE USER IF NOT EXISTS \`$DB_USER\`@localhost IDENTIFIED BY ', @password);
EXECUTE IMMEDIATE CONCAT('ALTER USER \`$DB_USER\`@localhost IDENTIFIED BY ', @password);
GRANT ALL PRIVILEGES ON \`$pattern\`.* TO \`$DB_USER\`@localhost;
SQL

socket=$(printf 'SELECT @@socket;\n' | sql)
install -d -m 0700 -- "/etc/chom/sites/$SYSTEM_USER"
write_file "/etc/chom/sites/$SYSTEM_USER/db.cnf" 0600 root:root <<CNF
[client]
user="$DB_USER"
password="$DB_PASSWORD"
socket="$socket"
CNF
printf 'SELECT 1;\n' | mariadb --defaults-file="/etc/chom/sites/$SYSTEM_USER/db.cnf" -- "$DB_NAME" >/dev/null ||
  fail db-auth "the site's database user cannot log in"
out created "$created"
out socket "$socket"
