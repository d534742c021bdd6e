# Looks through the files of a site for what malware leaves. Reads only, as the site's own user, and follows no link.
#   in    SYSTEM_USER
#   out   files=COUNT  suspicious=BASE64 (paths below the site's folder, one a line, 1,000 at most)
#   exit  0 done   70 error=tool-missing, invalid-config
need find grep sed
home=/srv/sites/$SYSTEM_USER
[ -d "$home" ] || fail invalid-config "there is no $home"
out files "$(as_user "$SYSTEM_USER" find -P "$home" -xdev -type f -exec printf 'x%.0s' {} + | wc -c)"
# The test text of the EICAR institute, and PHP that runs what it decodes.
found=$(as_user "$SYSTEM_USER" grep -rIlE -e 'EICAR-STANDARD-ANTIVIRUS-TEST-FILE|eval\(base64_decode\(' -- "$home") || true
out64 suspicious "$(printf '%s\n' "$found" | sed "s|^$home/||" | head -n 1000)"
