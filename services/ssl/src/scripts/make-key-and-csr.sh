# Makes a key that never leaves this server and a request signed with it. The same version gets the same key again,
# so it may run any number of times.
#   in    SYSTEM_USER  VERSION  DOMAIN
#   out   csr=<PEM as base64>
#   exit  0 done   75 error=disk-full   70 error=tool-missing, invalid-config, permission-denied
need openssl install
folder=/etc/chom/tls/$SYSTEM_USER/$VERSION
umask 077
install -d -m 0700 -- /etc/chom/tls "/etc/chom/tls/$SYSTEM_USER" "$folder"
disk_check "$folder" 1048576

is_key() { openssl pkey -in "$1" -noout 2>/dev/null; }
if ! is_key "$folder/key.pem"; then
  openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 2>/dev/null |
    write_file "$folder/key.pem" 0600 root:root
  is_key "$folder/key.pem" || fail permission-denied "openssl made no key"
fi
csr=$(openssl req -new -sha256 -key "$folder/key.pem" -subj / -addext "subjectAltName=DNS:$DOMAIN") ||
  fail invalid-config "openssl made no request for $DOMAIN"
out64 csr "$csr"
