/** Small archives shaped like the real applications, made on the spot: no download, no licence. */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

const wordpress: Record<string, string> = {
  "wordpress/index.php":
    '<?php require __DIR__ . "/wp-config.php"; $db = new mysqli("localhost", DB_USER, DB_PASSWORD, DB_NAME, 0, explode(":", DB_HOST)[1] ?? null); echo "blog of ", DB_NAME, " ", $db->server_info;',
  "wordpress/wp-login.php": "<?php echo 'login';",
  "wordpress/wp-load.php": '<?php require_once __DIR__ . "/wp-config.php";',
  "wordpress/wp-settings.php": "<?php",
  "wordpress/wp-config-sample.php": "<?php",
  "wordpress/wp-cron.php": "<?php",
  "wordpress/wp-admin/index.php": "<?php",
  "wordpress/wp-admin/includes/upgrade.php":
    '<?php function wp_install($title, $user, $email, $public, $deprecated = "", $password = "") { $db = new mysqli("localhost", DB_USER, DB_PASSWORD, DB_NAME, 0, explode(":", DB_HOST)[1] ?? null); $db->query("CREATE TABLE IF NOT EXISTS wp_options (option_name VARCHAR(64) PRIMARY KEY, option_value TEXT)"); $q = $db->prepare("REPLACE INTO wp_options VALUES (\'blogname\', ?)"); $q->bind_param("s", $title); $q->execute(); return ["url" => "", "user_id" => 1, "password" => $password, "password_message" => ""]; }',
  "wordpress/wp-includes/version.php": '<?php $wp_version = "6.9-shaped";',
};

const laravel: Record<string, string> = {
  artisan: "#!/usr/bin/env php\n<?php echo 'Laravel-shaped 1.0', PHP_EOL;\n",
  "public/index.php":
    '<?php $env = parse_ini_file(__DIR__ . "/../.env", false, INI_SCANNER_RAW); echo "app ", $env["DB_DATABASE"];',
  "bootstrap/app.php": "<?php",
  "composer.json": "{}",
  ".env.example": "APP_NAME=Shaped\nAPP_KEY=\nDB_CONNECTION=mysql\n",
  "storage/app/.gitignore": "*\n",
  "storage/framework/views/.gitignore": "*\n",
  "storage/logs/.gitignore": "*\n",
};

function pack(folder: string, name: string, files: Record<string, string>): Record<string, string> {
  const from = join(folder, name);
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(from, path)), { recursive: true });
    writeFileSync(join(from, path), text);
  }
  const archive = join(folder, `${name}.tar.gz`);
  execFileSync("tar", ["-czf", archive, "-C", from, "."]);
  const sha256 = createHash("sha256").update(readFileSync(archive)).digest("hex");
  const setting = `CHOM_${name.toUpperCase()}_ARCHIVE`;
  return { [setting]: archive, [`${setting}_SHA256`]: sha256 };
}

/** Makes both archives and answers the provisioning service's settings for them. */
export async function makeArchives(): Promise<{ settings: Record<string, string> }> {
  const folder = mkdtempSync(join(tmpdir(), "chom-archives-"));
  return {
    settings: {
      ...pack(folder, "wordpress", wordpress),
      ...pack(folder, "laravel", laravel),
    },
  };
}
