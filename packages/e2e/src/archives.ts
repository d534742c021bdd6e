/** Applications to provision: the real WordPress, and a small archive shaped like a Laravel application. */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { toStderr } from "@chom/stack/progress";
import { scratchFolder } from "@chom/stack/scratch-folder";
import { ensureWordpressArchive } from "@chom/stack/wordpress-archive";

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

/** Makes both archives and answers the provisioning service's settings for them; `remove` takes them away. */
export async function makeArchives(): Promise<{
  settings: Record<string, string>;
  remove: () => void;
}> {
  const { path: folder, remove } = scratchFolder("archives");
  const wordpress = await ensureWordpressArchive(toStderr);
  return {
    remove,
    settings: {
      CHOM_WORDPRESS_ARCHIVE: wordpress.path,
      CHOM_WORDPRESS_ARCHIVE_SHA256: wordpress.sha256,
      ...pack(folder, "laravel", laravel),
    },
  };
}
