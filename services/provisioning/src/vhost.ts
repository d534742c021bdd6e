/** The nginx server of a site, as text. Values come from closed grammars; anything else is refused here again. */
import { SiteKind } from "@chom/proto/chom/provisioning/v1/provisioning";
import { permanent } from "@chom/shared/failure/failure";
import { domainProblem } from "@chom/shared/input/host";
import { siteUserProblem } from "@chom/shared/input/names";
import { needsPhp, webRootOf } from "./site-kind.ts";

export type VhostSettings = {
  readonly domain: string;
  readonly systemUser: string;
  readonly rootPath: string;
  readonly kind: SiteKind;
  /** Whether the server speaks IPv6: nginx refuses a listen line that the kernel does not know. */
  readonly ipv6: boolean;
};

const php = (systemUser: string): string => `
    location ~ \\.php$ {
        try_files $uri =404;
        include fastcgi_params;
        fastcgi_param SCRIPT_FILENAME $realpath_root$fastcgi_script_name;
        fastcgi_param DOCUMENT_ROOT $realpath_root;
        fastcgi_param HTTP_PROXY "";
        fastcgi_read_timeout 120s;
        fastcgi_pass unix:/run/php/${systemUser}.sock;
    }
`;

// Uploaded files are never programs.
const wordpress = `
    location ~* ^/wp-content/(?:uploads|upgrade)/.*\\.php$ {
        deny all;
    }
    location ~* ^/(?:wp-config\\.php|xmlrpc\\.php|readme\\.html|license\\.txt)$ {
        deny all;
    }
`;

/** The file's text. It holds no secret; the TLS part and other jobs' parts come by its include line. */
export function renderVhost({ domain, systemUser, rootPath, kind, ipv6 }: VhostSettings): string {
  const problem = domainProblem(domain);
  if (problem) throw permanent("invalid-config", `the domain ${problem}`);
  if (siteUserProblem(systemUser) || rootPath !== `/srv/sites/${systemUser}`) {
    throw permanent("invalid-config", `not a site's folder: ${rootPath}`);
  }
  const front = needsPhp(kind) ? "try_files $uri $uri/ /index.php?$query_string;" : "";
  return `# Made by CHOM. Changes here are overwritten; parts of other jobs are in /etc/nginx/chom/${systemUser}.
server {
    listen 80;
${ipv6 ? "    listen [::]:80;\n" : ""}    server_name ${domain};
    root ${webRootOf(kind, rootPath)};
    index ${needsPhp(kind) ? "index.php index.html" : "index.html"};
    access_log /var/log/nginx/${systemUser}.access.log;
    error_log /var/log/nginx/${systemUser}.error.log;
    client_max_body_size 64m;
    # A link may only lead to files of the site's own user: nginx itself could read every site.
    disable_symlinks if_not_owner from=${rootPath};
    include /etc/nginx/chom/${systemUser}/*.conf;

    set $chom_closed no;
    if (-f /var/lib/chom/maintenance/${systemUser}) {
        set $chom_closed yes;
    }
    if ($uri ~ ^/\\.well-known/acme-challenge/) {
        set $chom_closed no;
    }
    if ($chom_closed = yes) {
        return 503;
    }
    error_page 503 @chom_closed;
    location @chom_closed {
        add_header Retry-After 120 always;
        default_type text/plain;
        return 503 "This site is being worked on. Please come back in a few minutes.\\n";
    }

    location ^~ /.well-known/acme-challenge/ {
        root /var/lib/chom/acme;
        disable_symlinks off;
        default_type text/plain;
        try_files $uri =404;
    }
    location ~ /\\.(?!well-known/) {
        deny all;
    }
    location ~* \\.(?:sql|bak|orig|save|swp|sh|pem|key)$ {
        deny all;
    }
${kind === SiteKind.WORDPRESS ? wordpress : ""}    location / {
        ${front || "try_files $uri $uri/ =404;"}
    }
${needsPhp(kind) ? php(systemUser) : ""}}
`;
}
