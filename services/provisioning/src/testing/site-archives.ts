/** Test support: small archives shaped like WordPress and Laravel, and one that is up to no good. */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { type ApplicationArchive, applicationArchive } from "../application-archive.ts";

/** What our configuration and our installer use of WordPress, on a real database. */
const wordpress: Readonly<Record<string, string>> = {
  "wordpress/index.php": `<?php
require __DIR__ . '/wp-load.php';
if (!is_blog_installed()) { header('Location: /wp-admin/install.php', true, 302); exit; }
$row = $link->query("SELECT title, email FROM wp_site")->fetch_assoc();
echo 'blog ', $row['title'], ' ', WP_HOME, ' edit=', DISALLOW_FILE_EDIT ? 'no' : 'yes';`,
  "wordpress/wp-load.php": `<?php
define('ABSPATH', __DIR__ . '/');
require __DIR__ . '/wp-config.php';`,
  "wordpress/wp-settings.php": `<?php
$wp_version = '6.0-shape';
list($host, $socket) = explode(':', DB_HOST);
$link = new mysqli($host, DB_USER, DB_PASSWORD, DB_NAME, 0, $socket);
if (strlen(AUTH_KEY) !== 64) { exit('no salts'); }
function is_blog_installed() { global $link; return $link->query("SHOW TABLES LIKE 'wp_site'")->num_rows > 0; }
function wp_slash($text) { return $text; }
function is_wp_error($what) { return false; }
function username_exists($user) { global $link;
  $row = $link->query("SELECT id FROM wp_users WHERE login = '$user'")->fetch_assoc(); return $row ? $row['id'] : false; }
function get_userdata($id) { global $link;
  return (object) $link->query("SELECT pass AS user_pass FROM wp_users WHERE id = $id")->fetch_assoc(); }
function wp_check_password($password, $hash) { return password_verify($password, $hash); }
function wp_set_password($password, $id) { global $link;
  $link->query("UPDATE wp_users SET pass = '" . password_hash($password, PASSWORD_DEFAULT) . "' WHERE id = $id"); }`,
  "wordpress/wp-admin/includes/upgrade.php": `<?php
function wp_install($title, $user, $email, $public, $deprecated, $password) { global $link;
  $link->query('CREATE TABLE wp_users (id INT PRIMARY KEY AUTO_INCREMENT, login TEXT, pass TEXT)');
  $link->query("INSERT INTO wp_users (login, pass) VALUES ('$user', '" . password_hash($password, PASSWORD_DEFAULT) . "')");
  $link->query('CREATE TABLE wp_site (title TEXT, email TEXT)');
  $link->query("INSERT INTO wp_site VALUES ('$title', '$email')"); }`,
  "wordpress/wp-cron.php": "<?php",
  "wordpress/wp-content/uploads/shell.php": "<?php echo 'must never run';",
};

/** Laravel's folders with a front page that reads the environment and the database. */
const laravel: Readonly<Record<string, string>> = {
  artisan: "<?php",
  "public/index.php": `<?php
$env = parse_ini_file(__DIR__ . '/../.env', false, INI_SCANNER_RAW);
$db = new PDO('mysql:unix_socket=' . $env['DB_SOCKET'] . ';dbname=' . $env['DB_DATABASE'], $env['DB_USERNAME'], $env['DB_PASSWORD']);
file_put_contents(__DIR__ . '/../storage/logs/laravel.log', 'x', FILE_APPEND);
file_put_contents(__DIR__ . '/../storage/app/public/stored.txt', 'stored');
echo 'laravel ', $env['APP_ENV'], ' ', strlen(base64_decode(substr($env['APP_KEY'], 7))), ' ', $db->query('SELECT 40 + 2')->fetchColumn();`,
  "storage/app/.gitignore": "*",
  "vendor/autoload.php": "<?php",
};

function pack(folder: string, name: string, args: readonly string[]): ApplicationArchive {
  const path = join(folder, `${name}.tar.gz`);
  execFileSync("tar", ["-czf", path, "-C", join(folder, name), ...args]);
  return applicationArchive(path, createHash("sha256").update(readFileSync(path)).digest("hex"));
}

function lay(folder: string, name: string, files: Readonly<Record<string, string>>): void {
  for (const [path, text] of Object.entries(files)) {
    const at = join(folder, name, path);
    mkdirSync(dirname(at), { recursive: true });
    writeFileSync(at, text);
  }
}

export function wordpressArchive(folder: string): ApplicationArchive {
  lay(folder, "wordpress-shape", wordpress);
  return pack(folder, "wordpress-shape", ["wordpress"]);
}

export function laravelArchive(folder: string, extra: Readonly<Record<string, string>> = {}) {
  const name = `laravel-shape-${Object.keys(extra).length}`;
  lay(folder, name, { ...laravel, ...extra });
  return pack(folder, name, ["."]);
}

/** Has the right files and one name that leads three folders up. */
export function escapingArchive(folder: string): ApplicationArchive {
  lay(folder, "escaping", { ...laravel, evil: "owned" });
  return pack(folder, "escaping", ["-P", "--transform=s,^./evil$,../../../evil,", "."]);
}

/** Has the right files and a link to a file of the server's. */
export function linkingArchive(folder: string): ApplicationArchive {
  lay(folder, "linking", laravel);
  execFileSync("ln", ["-sfn", "/etc/passwd", join(folder, "linking/public/users")]);
  return pack(folder, "linking", ["."]);
}
